"""The benchmarks' reference knows nothing of the package, and agrees with it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.support import reference
from virnucpro.reading.chunks import Chunk, chunk_spans
from virnucpro.reading.frames import open_frames

DNA = st.text("ACGT", min_size=1, max_size=80)


@pytest.mark.parametrize(
    "dna, size, expected",
    [
        ("ACGTA", 5, ["ACGTA"]),
        ("ACGTAC", 5, ["ACGTA", "GTAC"]),
        ("AAAAACCCCCG", 5, ["AAAAA", "AACCC", "CCCCG"]),
    ],
)
def test_chunks(dna, size, expected):
    assert reference.chunks(dna, size) == expected


def test_open_frames():
    assert reference.open_frames("ATGGCCTAA") == [
        ("F2", "WP", "TGGCCTA"),
        ("F3", "GL", "GGCCTAA"),
        ("R1", "LGH", "TTAGGCCAT"),
        ("R3", "RP", "AGGCCAT"),
    ]


@given(DNA, st.integers(1, 30))
def test_chunks_are_the_package_s(dna, size):
    assert reference.chunks(dna, size) == [dna[start:end] for start, end in chunk_spans(len(dna), size)]


@given(DNA)
def test_open_frames_are_the_package_s(dna):
    package = [(frame.name[-2:], frame.residues, frame.nucleotides) for frame in open_frames(Chunk("x", dna))]
    assert reference.open_frames(dna) == package
