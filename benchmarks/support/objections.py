"""Objections: what speaks against a success among the runs that are in no pair, as a sentence; else None."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.support import evidence, pairs
from benchmarks.support.sides import Side

if TYPE_CHECKING:
    from benchmarks.support.verdict import Verdict


def of_runs(alone: list[dict], verdict: Verdict, candidate: Side) -> str | None:
    """What speaks against a verdict of success: the medians, or a run of the candidate that is in no pair."""
    befores = [before for before, _ in verdict.pairs]
    every = [run["seconds"] for run in candidate.runs]
    if median(befores) / median(every) < verdict.question.target:
        return f"The medians of all runs are {median(befores):.1f} and {median(every):.1f} s: less than the target."
    for run in alone:
        if run["commit"] in candidate.commits and min(befores) / run["seconds"] < verdict.question.target:
            return f"A run that is in no pair ({run['seconds']:.1f} s, {evidence.moment(run)}) speaks against it."
    return None


def beside(sitting: list[dict], sides: dict[str, Side], candidate: Side, target: float) -> str | None:
    """What speaks against it in a sitting that does not count: a pair of runs under the target. Else whoever spoils a
    file of evidence would choose which sittings count."""
    for side in sides.values():
        for before, after in pairs.paired(side.within(sitting), candidate.within(sitting))[0]:
            if before / after < target:
                return f"A pair of a sitting that was left out ({before:.1f} and {after:.1f} s) speaks against it."
    return None


def nearby(verdict: Verdict, others: list[dict]) -> str | None:
    """What speaks against it at about the same time, in runs of either package that are counted to no sitting: a start
    of the machine, a GPU, a suite or an environment is a word in a file, by which a run would be put away."""
    (before, after), claim = verdict.asked, verdict.question.claim
    judged = [run for side in verdict.sides for run in side.runs]
    begun, ended = min(run["begun"] for run in judged), max(run["ended"] for run in judged)
    slow, fast = ([pair[place] for pair in verdict.pairs] for place in (0, 1))
    for run in others:
        near = run["begun"] - ended <= pairs.GAP and begun - run["ended"] <= pairs.GAP
        if run["workload"] != verdict.question.workload or not near:
            continue
        if (run["benchmark"], run["commit"] in before.measured) == (claim.against, True):
            ratio = run["seconds"] / max(fast)
        elif (run["benchmark"], run["commit"] in after.measured) == (claim.benchmark, True):
            ratio = min(slow) / run["seconds"]
        else:
            continue
        if ratio < verdict.question.target:
            what = f"{run['commit'][:8]} ({run['seconds']:.1f} s, {evidence.moment(run)})"
            return f"A run of {what}, at about the same time and counted to no sitting, speaks against it."
    return None
