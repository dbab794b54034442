"""Packing: best-fit decreasing, read by eye and by property."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import workloads
from virnucpro.engine.packing import distinct, pack
from virnucpro.reading.proteins import MAX_RESIDUES
from virnucpro.reading.reads import Read
from virnucpro.reading.windows import windows


def planned(lengths, budget):
    """The members of each pack."""
    plan = pack(np.array(lengths, dtype=int), budget)
    members = np.split(plan.order_S, np.cumsum(plan.sizes_P)[:-1]) if len(plan.sizes_P) else []
    return [part.tolist() for part in members]


@pytest.mark.parametrize(
    "lengths, budget, packs",
    [
        ([], 10, []),
        ([3], 10, [[0]]),
        ([4, 7, 3, 6], 10, [[1, 2], [3, 0]]),  # 7 3, 6 4
        ([5, 5, 5], 10, [[0, 1], [2]]),  # exactly full; equal lengths in order
        ([6, 8, 2], 10, [[1, 2], [0]]),  # the 2 goes where it fits best
        ([99, 1, 12, 99], 10, [[0], [3], [2], [1]]),  # too long for any pack: alone
        ([1, 2, 3], 1, [[2], [1], [0]]),  # --deterministic: every sequence alone
    ],
)
def test_packing(lengths, budget, packs):
    assert planned(lengths, budget) == packs


def test_a_plan_names_lengths_in_packed_order():
    plan = pack(np.array([4, 7, 3, 6]), 10)
    assert plan.order_S.tolist() == [1, 2, 3, 0]
    assert plan.lengths_S.tolist() == [7, 3, 6, 4]
    assert plan.sizes_P.tolist() == [2, 2]
    assert plan.lengths_S.sum() == 20


@given(st.lists(st.integers(1, 60), max_size=80), st.integers(1, 50))
def test_every_sequence_once_and_no_pack_over_its_budget(lengths, budget):
    packs = planned(lengths, budget)
    assert sorted(i for members in packs for i in members) == list(range(len(lengths)))
    for members in packs:
        own = [lengths[i] for i in members]
        assert sum(own) <= budget or len(own) == 1
        assert own == sorted(own, reverse=True)
    # Best fit opens a pack only where no other has room: two half-empty ones cannot be.
    half_empty = [members for members in packs if 2 * sum(lengths[i] for i in members) <= budget]
    assert len(half_empty) <= 1


@pytest.mark.parametrize(
    "texts, once, places",
    [
        ("", "", None),
        ("abc", "abc", None),
        ("aba", "ab", [0, 1, 0]),
        ("bbbb", "b", [0, 0, 0, 0]),
        ("cabbac", "cab", [0, 1, 2, 2, 1, 0]),
    ],
)
def test_each_text_once(texts, once, places):
    found, places_S = distinct(list(texts))
    assert (found, None if places_S is None else places_S.tolist()) == (list(once), places)


@given(st.lists(st.binary(max_size=2)))
def test_texts_come_back_at_their_places(texts):
    once, places_S = distinct(texts)
    assert len(set(once)) == len(once)
    assert (places_S is None) == (len(once) == len(texts))
    if places_S is not None:
        assert [once[place] for place in places_S] == texts
        assert places_S.dtype == np.int64


@pytest.mark.parametrize("budget", [8192, 16384])
def test_packs_of_the_usual_windows_are_99_percent_full(budget):
    reads = (Read(name, sequence) for name, sequence in workloads.proteins(10_000))
    tokens = packs = 0
    for window in windows(reads, "protein", 500, 2048, budget):
        plan = pack(np.array([min(piece.length, MAX_RESIDUES) + 2 for piece in window.pieces]), budget)
        tokens, packs = tokens + plan.lengths_S.sum(), packs + len(plan.sizes_P)
    assert tokens == 2_199_078  # see test_workloads
    assert tokens / (packs * budget) >= 0.99
