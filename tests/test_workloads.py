"""Workloads and synthetic weights of benchmarks/: what later measurements rest on."""

import subprocess
import sys
from collections import Counter

import pytest
from conftest import ROOT

from benchmarks import workloads
from virnucpro.reading.chunks import Chunk, chunk_spans
from virnucpro.reading.frames import CODONS, open_frames


@pytest.mark.parametrize("name", workloads.WORKLOADS)
def test_bytes_are_the_pinned_ones(tmp_path, name):
    assert workloads.write_workload(name, tmp_path).stat().st_size > 10_000


def test_other_bytes_are_refused(tmp_path, monkeypatch):
    changed = workloads.Workload(workloads.proteins, 499, workloads.WORKLOADS["proteins-small"].sha256)
    monkeypatch.setitem(workloads.WORKLOADS, "proteins-small", changed)
    with pytest.raises(RuntimeError, match="times would not be comparable"):
        workloads.write_workload("proteins-small", tmp_path)
    assert not list(tmp_path.iterdir())


def test_proteins_10k_have_the_stated_lengths():
    lengths = [len(sequence) for _, sequence in workloads.proteins(10_000)]
    assert sum(lengths) + 2 * len(lengths) == 2_199_078  # tokens with <cls> and <eos>
    share = Counter("50-100" if n <= 100 else "100-300" if n <= 300 else "300-500" if n <= 500 else "" for n in lengths)
    assert share["50-100"] == pytest.approx(4_000, abs=150)
    assert share["100-300"] == pytest.approx(3_500, abs=150)
    assert share["300-500"] == pytest.approx(2_000, abs=150)


def test_every_read_and_every_chunk_of_a_contig_has_an_open_frame():
    for name, sequence in workloads.reads(300):
        assert 100 <= len(sequence) <= 500
        assert list(open_frames(Chunk(name, sequence)))
    chunks = [
        Chunk(name, sequence[start:end])
        for name, sequence in workloads.contigs(300)
        for start, end in chunk_spans(len(sequence), 500)
    ]
    assert len(chunks) == 300
    assert all(list(open_frames(chunk)) for chunk in chunks)


def test_the_generators_codons_are_the_genetic_code():
    table = {codon: residue for residue, codons in workloads.CODONS.items() for codon in codons.split()}
    assert table == {codon: residue for codon, residue in CODONS.items() if residue != "*"}


def test_benchmarks_do_not_import_the_package():
    script = (
        "import sys, benchmarks.workloads, benchmarks.synthetic_weights\n"
        "assert not [name for name in sys.modules if name.startswith('virnucpro')]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
