"""Intermediate files: byte for byte those of an independent script, whole or not at all."""

import pytest
from conftest import DATA

from virnucpro.output.fasta_files import tee_fasta
from virnucpro.reading.proteins import MAX_RESIDUES, clean
from virnucpro.reading.reads import Read, read_records

NAMES = ("chunks.fa", "nucleotide.fa", "protein.faa")


@pytest.mark.parametrize("chunk_size", [300, 500])
def test_files_of_dna_byte_by_byte(tmp_path, chunk_size):
    # The expected files were made by an independent script with Biopython.
    reads = list(read_records(str(DATA / "small.fa")))
    passed = tee_fasta(reads, *(tmp_path / name for name in NAMES), "nucleotide", chunk_size)
    assert list(passed) == reads
    expected = (f"small_chunked{chunk_size}.fa", f"small_nucleotide_{chunk_size}.fa", f"small_protein_{chunk_size}.faa")
    for made, wanted in zip(NAMES, expected):
        assert (tmp_path / made).read_bytes() == (DATA / wanted).read_bytes(), made
    assert {path.name for path in tmp_path.iterdir()} == set(NAMES)


def test_proteins_have_one_file(tmp_path):
    reads = [Read("p", "MKVL"), Read("q", "mjk**"), Read("none", "*"), Read("long", "MK" * 600)]
    passed = tee_fasta(reads, *(tmp_path / name for name in NAMES), "protein", 500)
    assert list(passed) == reads
    assert [path.name for path in tmp_path.iterdir()] == ["protein.faa"]
    assert (tmp_path / "protein.faa").read_text() == f">p\nMKVL\n>q\nMXK\n>long\n{'MK' * 512}\n"


@pytest.mark.parametrize("kind", ["nucleotide", "protein"])
def test_no_file_takes_its_name_before_the_stream_has_ended_well(tmp_path, kind):
    def broken():
        yield Read("a", "ATGGCC")
        raise ValueError("no more")

    paths = [tmp_path / name for name in NAMES]
    with pytest.raises(ValueError, match="no more"):
        list(tee_fasta(broken(), *paths, kind, 500))
    assert not list(tmp_path.iterdir())

    stopped = tee_fasta([Read("a", "ATGGCC"), Read("b", "ATGGCC")], *paths, kind, 500)
    next(stopped)
    next(stopped)
    assert not any(path.exists() for path in paths)
    stopped.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "sequence, cleaned",
    [
        ("MKVLAAGIVGLCAKAYEQ", ("MKVLAAGIVGLCAKAYEQ", 0)),
        ("mkvl*", ("MKVL", 0)),  # a closing stop is no residue
        ("MK**", ("MK", 0)),
        ("M*K", ("MXK", 1)),  # a stop inside is an unknown one
        ("MJ1K", ("MXXK", 2)),
        ("MXxK", ("MXXK", 0)),  # X as given is not counted
        ("BUZO.-", ("BUZO.-", 0)),  # ESM-2 has these
        ("*", ("", 0)),
        ("", ("", 0)),
        ("M" * 2000, ("M" * 2000, 0)),  # cutting is not its business
    ],
)
def test_proteins_are_spelt_in_the_alphabet_of_esm2(sequence, cleaned):
    assert clean(sequence) == cleaned


def test_residues_that_count():
    assert MAX_RESIDUES == 1024
