"""Pairs: runs of two commits in turn, and the interval of how many times as fast one is.

Of one machine in one sitting: the clock of a GPU, its heat and its neighbours are the same for both sides then. Every
run counts; none is left out, and none replaces another.
"""

from __future__ import annotations

import itertools
import math
import random
from statistics import fmean

GAP = 1800  # s between two runs, more than which makes two sittings
CONFIDENCE = 0.95
EXACT, RESAMPLES = 6, 20_000  # pairs of which all resamples are looked at; how many else

Pair = tuple[float, float]  # seconds of the baseline and of the candidate


def sittings(runs: list[dict]) -> list[list[dict]]:
    """Evidence of runs, in order of time, by sitting: one start of one machine, one GPU, one suite, no long gap."""
    found: list[list[dict]] = []
    for run in sorted(runs, key=lambda run: run["begun"]):
        last = found[-1][-1] if found else None
        if last and place(last) == place(run) and run["begun"] - last["ended"] <= GAP:
            found[-1].append(run)
        else:
            found.append([run])
    return found


def place(run: dict) -> tuple:
    suite = run["suite"].get("tree") or run["suite"].get("commit")
    return run["machine"].get("boot"), (run["gpu"] or {}).get("uuid"), suite, run["environment"]


def paired(baseline: list[dict], candidate: list[dict]) -> tuple[list[Pair], list[dict]]:
    """Pairs of neighbours in time, and the runs that are in none: those of sittings with one side only.

    Where a side has several runs in a row, their mean is one half of a pair; what is left over at the end of a sitting
    joins the last run of its side.
    """
    pairs, alone, after = [], [], {id(run) for run in candidate}
    for sitting in sittings(baseline + candidate):
        blocks = [list(block) for _, block in itertools.groupby(sitting, key=lambda run: id(run) in after)]
        if len(blocks) < 2:
            alone += sitting
            continue
        if len(blocks) % 2:
            left = blocks.pop()
            blocks[-2] += left
        for one, other in zip(blocks[::2], blocks[1::2]):
            slow, fast = (other, one) if id(one[0]) in after else (one, other)
            pairs.append((fmean(run["seconds"] for run in slow), fmean(run["seconds"] for run in fast)))
    return pairs, alone


def ratio(pairs: list[Pair]) -> float:
    """How many times as fast the candidate is: the geometric mean over pairs."""
    return math.exp(fmean(math.log(before / after) for before, after in pairs))


def interval(pairs: list[Pair], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Of `ratio`: percentiles of a bootstrap over pairs (Efron and Tibshirani 1993, chapter 13); all resamples of a few
    pairs, else a fixed choice of them. Of three pairs it is from the least to the largest."""
    if len(pairs) <= EXACT:
        resamples = itertools.product(pairs, repeat=len(pairs))
    else:
        rng = random.Random(0)
        resamples = (rng.choices(pairs, k=len(pairs)) for _ in range(RESAMPLES))
    ratios = sorted(ratio(list(each)) for each in resamples)
    tail = int((1 - confidence) / 2 * len(ratios))
    return ratios[tail], ratios[-1 - tail]
