"""Verdicts: ties, maxima, and the contig call's arithmetic as literals."""

import numpy as np
import pytest

from virnucpro.output.verdicts import ChunkVerdict, chunk_verdicts, contig_call


@pytest.mark.parametrize(
    "frames, others, virus, is_virus",
    [
        ([(0.9, 0.1)], 0.9, 0.1, False),
        ([(0.9, 0.1), (0.05, 0.95)], 0.9, 0.95, True),  # each maximum by itself
        ([(0.7, 0.3), (0.3, 0.7)], 0.7, 0.7, True),  # a tie is a virus
    ],
)
def test_chunk_verdict(frames, others, virus, is_virus):
    (verdict,) = chunk_verdicts(["c"], np.zeros(len(frames), int), np.array(frames)).values()
    assert verdict == ("c", others, virus)
    assert verdict.is_virus == is_virus


def test_verdicts_go_by_the_place_of_the_chunk():
    verdicts = chunk_verdicts("abcd", np.array([1, 3, 3]), np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]]))
    assert verdicts == {1: ("b", 0.9, 0.1), 3: ("d", 0.7, 0.6)}


VIRAL, OTHER, BOTH, NEITHER = (0.1, 0.9), (0.9, 0.1), (0.8, 0.8), (0.5, 0.5)


@pytest.mark.parametrize(
    "chunks, expected",
    [
        ([VIRAL] * 5, ("Viral", "high_confidence", 0.8, 5, 5, 0, 0, 1.0, 0.0)),
        ([VIRAL] * 4, ("Viral", "low_confidence", 0.8, 4, 4, 0, 0, 1.0, 0.0)),  # few chunks
        ([OTHER] * 5, ("Non-viral", "high_confidence", -0.8, 5, 0, 5, 0, 0.0, 1.0)),
        # (5 * 0.8 - 1 * 0.8) / 6 = 0.533
        ([VIRAL] * 5 + [OTHER], ("Viral", "moderate_confidence", 0.533, 6, 5, 1, 0, 0.833, 0.167)),
        ([VIRAL] * 3 + [OTHER] * 3, ("Ambiguous", "review", 0.0, 6, 3, 3, 0, 0.5, 0.5)),
        # chunks with both scores high leave the shares, and their weight is 0
        ([VIRAL] * 5 + [BOTH] * 5, ("Viral", "high_confidence", 0.8, 10, 5, 0, 5, 1.0, 0.0)),
        ([BOTH] * 5, ("Ambiguous", "review", 0.0, 5, 0, 0, 5, 0.0, 0.0)),
        ([NEITHER] * 5, ("Ambiguous", "review", 0.0, 5, 0, 0, 0, 0.0, 0.0)),
        # no chunk confident by itself
        ([(0.25, 0.75)] * 5, ("Viral", "low_confidence", 0.5, 5, 0, 0, 0, 0.0, 0.0)),
        ([(0.25, 0.75)] * 4, ("Viral", "review", 0.5, 4, 0, 0, 0, 0.0, 0.0)),
        # weights: delta 0.8 has sqrt 0.894, delta -0.2 has 0.447: (0.716 - 0.089) / 1.342 = 0.467
        ([VIRAL, (0.6, 0.4)] * 3, ("Viral", "moderate_confidence", 0.467, 6, 3, 0, 0, 0.5, 0.0)),
    ],
)
def test_contig_call(chunks, expected):
    verdicts = [ChunkVerdict(f"c_chunk_{i}", *pair) for i, pair in enumerate(chunks, start=1)]
    call = contig_call("c", verdicts)
    assert (call.call, call.tier, call.weighted_delta, call.n_chunks) == expected[:4]
    assert (call.n_confident_viral, call.n_confident_nonviral, call.n_ambiguous) == expected[4:7]
    assert (call.viral_proportion, call.nonviral_proportion) == expected[7:]
