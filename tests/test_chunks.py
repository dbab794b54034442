"""Chunks: the published tool's cuts, as literals and as properties."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.reading.chunks import chunk_spans, chunks
from virnucpro.reading.reads import Read


@pytest.mark.parametrize(
    "length, chunk_size, spans",
    [
        (0, 500, []),
        (1, 500, [(0, 1)]),
        (499, 500, [(0, 499)]),
        (500, 500, [(0, 500)]),
        (501, 500, [(0, 500), (250, 501)]),
        (1000, 500, [(0, 500), (500, 1000)]),
        (1001, 500, [(0, 500), (333, 833), (666, 1001)]),
        (1499, 500, [(0, 500), (499, 999), (999, 1499)]),
        (301, 300, [(0, 300), (150, 301)]),
        (700, 300, [(0, 300), (233, 533), (466, 700)]),
    ],
)
def test_spans(length, chunk_size, spans):
    assert chunk_spans(length, chunk_size) == spans


@given(length=st.integers(1, 20_000), chunk_size=st.integers(3, 1_000))
def test_chunks_cover_the_read_without_gaps(length, chunk_size):
    spans = chunk_spans(length, chunk_size)
    assert len(spans) == -(-length // chunk_size)
    assert spans[0][0] == 0
    assert spans[-1][1] == length
    assert all(0 < end - start <= chunk_size for start, end in spans)
    assert all(end - start == chunk_size for start, end in spans[:-1])
    assert all(start <= earlier_end for (_, earlier_end), (start, _) in pairwise(spans))  # no gap
    assert all(earlier < start for (earlier, _), (start, _) in pairwise(spans))


def test_chunks_have_names_and_keep_case():
    assert [(chunk.name, chunk.sequence) for chunk in chunks(Read("r|1", "acgTNacg"), 4)] == [
        ("r|1_chunk_1", "acgT"),
        ("r|1_chunk_2", "Nacg"),
    ]
