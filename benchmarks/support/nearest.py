"""Nearest: the commit of which something is claimed, where the newest was not measured."""

from __future__ import annotations

from benchmarks.support import evidence, pairs, stand_in
from benchmarks.support.results import Results
from benchmarks.support.sides import commits_measured
from benchmarks.support.verdict import Question


def nearest(question: Question) -> str | None:
    """The candidate if it was measured, or another with its package; else the commit before it that was, other than the
    baseline; None if there is none. Of a commit that ran only beside others, fast enough, nothing is claimed yet.

    Raises:
        What `verdict.judge` raises.
    """
    folder, repo, claim = question.results / question.machine, question.repo, question.claim
    results, runs = Results.load(question.results, question.machine), evidence.load(folder)
    slow, measured = commits_measured(results, runs, question.machine, question.workload, claim)
    if before := stand_in.find(repo, question.baseline, slow):
        of_baseline, of_candidate = (
            [run for run in runs if (run["benchmark"], run["workload"]) == (each, question.workload)]
            for each in (claim.against, claim.benchmark)
        )
        mine = [run for run in of_baseline if run["commit"] in before.measured]
        mine += [run for run in of_candidate if run["commit"] not in before.measured]
        aside = {*before.measured, *_unclaimed(mine, before.measured, question.target)}
        measured = [commit for commit in measured if commit not in aside]
    if stand_in.find(repo, question.candidate, measured):
        return question.candidate
    return stand_in.before(repo, question.candidate, measured)


def _unclaimed(runs: list[dict], baseline: tuple[str, ...], target: float) -> set[str]:
    """Commits that ran in no sitting of the baseline's, as where two others were compared. One that misses the target
    against any run of the baseline is none: it would pass for want of pairs."""
    commits = {run["commit"] for run in runs}
    least = min((run["seconds"] for run in runs if run["commit"] in baseline), default=0.0)
    for sitting in pairs.sittings(runs):
        if any(run["commit"] in baseline for run in sitting):
            commits -= {run["commit"] for run in sitting}
    return commits - {run["commit"] for run in runs if least < target * run["seconds"]}
