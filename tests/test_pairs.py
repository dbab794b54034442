"""Pairs of runs in turn, and the interval of their ratio: from tables that can be checked by eye."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.support import pairs

RUNS = st.lists(st.tuples(st.sampled_from("bc"), st.floats(1.0, 1000.0)), min_size=2, max_size=12)
RATIOS = st.lists(st.tuples(st.floats(1.0, 1000.0), st.floats(1.0, 1000.0)), min_size=1, max_size=8)


def evidence(commit: str, begun: float, seconds: float, boot: str = "one") -> dict:
    place = {"machine": {"boot": boot}, "gpu": None, "suite": {"commit": "s"}, "environment": "e"}
    return place | {"commit": commit, "begun": begun, "ended": begun + seconds, "seconds": seconds}


def in_turn(text: str, rest: float = 30.0) -> tuple[list[dict], list[dict]]:
    """Runs of the baseline (b) and the candidate (c): "c10 b50" took 10 and 50 s, one after the other; "|" is a day."""
    runs, now = [], 0.0
    for word in text.split():
        if word == "|":
            now += 86_400
            continue
        runs.append(evidence(word[0], now, float(word[1:])))
        now += float(word[1:]) + rest
    return [run for run in runs if run["commit"] == "b"], [run for run in runs if run["commit"] == "c"]


@pytest.mark.parametrize("text, found, alone", [
    ("c10 b50 c10 b60 c12 b48", [(50, 10), (60, 10), (48, 12)], []),
    ("b50 c10 b60 c12", [(50, 10), (60, 12)], []),
    ("c10 c14 b50 c12 b60", [(50, 12), (60, 12)], []),  # the mean of two in a row
    ("c10 b50 c14", [(50, 12)], []),  # what is left over joins its own side
    ("c10 b50 b70", [(60, 10)], []),
    ("c10 b50 | c11", [(50, 10)], [11]),
    ("c10 c11 c12", [], [10, 11, 12]),
    ("c10 b50 | c20 b60", [(50, 10), (60, 20)], []),
])  # fmt: skip
def test_neighbours_are_pairs_and_every_run_counts(text, found, alone):
    made, rest = pairs.paired(*in_turn(text))
    assert (made, [run["seconds"] for run in rest]) == (found, alone)


@pytest.mark.parametrize("change", ["boot", "gpu", "suite", "environment"])
def test_a_pair_is_of_one_machine_and_one_sitting(change):
    one, other = evidence("c", 0, 10), evidence("b", 40, 50)
    other |= {
        "boot": {"machine": {"boot": "two"}},
        "gpu": {"gpu": {"uuid": "GPU-2"}},
        "suite": {"suite": {"commit": "t"}},
        "environment": {"environment": "f"},
    }[change]
    assert pairs.paired([other], [one]) == ([], [one, other])


@given(RUNS)
def test_no_run_is_left_out(runs):
    baseline, candidate = in_turn(" ".join(f"{side}{seconds:.3f}" for side, seconds in runs))
    if not (baseline and candidate):
        return
    made, alone = pairs.paired(baseline, candidate)
    assert alone == [] and len(made) >= 1
    for side, place in ((baseline, 0), (candidate, 1)):
        each = [pair[place] for pair in made]
        seconds = [run["seconds"] for run in side]
        assert min(seconds) - 1e-9 <= min(each) <= max(each) <= max(seconds) + 1e-9


@pytest.mark.parametrize("found, ratio, low, high", [
    ([(50, 10)], 5.0, 5.0, 5.0),
    ([(50, 10), (50, 10), (50, 10)], 5.0, 5.0, 5.0),
    ([(40, 10), (50, 10), (62.5, 10)], 5.0, 4.0, 6.25),  # of three pairs it is from the least to the largest
    ([(16, 4), (16, 4), (16, 4), (16, 4), (64, 4)], 4 ** 1.2, 4.0, 4 ** 1.6),
])  # fmt: skip
def test_the_interval_of_a_few_pairs_is_exact(found, ratio, low, high):
    assert (pairs.ratio(found), *pairs.interval(found)) == pytest.approx((ratio, low, high))


def test_the_interval_of_many_pairs_is_that_of_all_resamples():
    found = [(10.0 + number, 2.0 + number % 3) for number in range(7)]
    every = sorted(pairs.ratio(list(each)) for each in itertools.product(found, repeat=7))
    exact = every[int(0.025 * len(every))], every[-1 - int(0.025 * len(every))]
    # 20,000 resamples give the 2.5th percentile to a tenth of a percent of their number, three times its error
    edges = [every[int(share * len(every))] for share in (0.0217, 0.0283, 0.9717, 0.9783)]
    low, high = pairs.interval(found)
    assert edges[0] <= low <= edges[1] and edges[2] <= high <= edges[3]
    assert (low, high) == pytest.approx(exact, rel=0.02)


@given(RATIOS)
def test_the_interval_holds_the_ratio_and_lies_between_the_extremes(found):
    low, high = pairs.interval(found)
    each = [before / after for before, after in found]
    assert min(each) * 0.999 <= low <= pairs.ratio(found) * 1.001
    assert pairs.ratio(found) * 0.999 <= high <= max(each) * 1.001
    assert not math.isnan(low + high)
