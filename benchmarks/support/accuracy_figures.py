"""Accuracy figures: whether the candidate tells viruses from others as well as the baseline, by what asv stored of
`accuracy.Accuracy` and `AccuracyInt8`.

Every machine that has a figure of the candidate counts, for a bad one is bad wherever it was seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.support import stand_in
from benchmarks.support.claims import AGREEMENT, AUROC_LOST, Claim
from benchmarks.support.results import ABSENT, MEASURED, SKIPPED, CommitResults, Results, Value

BENCHMARK = "accuracy.Accuracy"
OF_PRECISION = {"": BENCHMARK, "int8": f"{BENCHMARK}Int8"}
AUROC, SHARE = "track_auroc", "track_agreement"


@dataclass(frozen=True)
class AccuracyFigures:
    """Figures of one machine, of each side the commits of its package. AUROC: from 0 to 1; share: % of the chunks with
    the label of float32."""

    machine: str
    before: list[Value]  # AUROC of the baseline; none where it was not measured there
    after: list[Value]  # of the candidate
    shares: list[Value]  # of the candidate

    def row(self) -> list[str]:
        """Machine, AUROC of either side, share; the candidate's worst."""
        before = f"{median(_numbers(self.before)):.4f}" if self.before else "not measured"
        return [self.machine, before, f"{min(_numbers(self.after)):.4f}", f"{min(_numbers(self.shares)):.2f}"]

    def worse(self, candidate: str) -> Iterator[str]:
        """What speaks against the candidate, a sentence each."""
        where = f"{candidate} on {self.machine}"
        everything = [*self.before, *self.after, *self.shares]
        if any(value.status != MEASURED for value in everything):
            yield f"{where}: a figure of its accuracy, or of the baseline's, failed or is missing: measure it again."
        elif len(versions := {str(value.version) for value in everything}) > 1:
            yield f"{where}: figures of accuracy have versions {' and '.join(sorted(versions))}: measure both again."
        elif not all(0 <= value.number <= 1 for value in [*self.before, *self.after]):
            yield f"{where}: an AUROC is not from 0 to 1: measure it again."
        else:
            lost = median(_numbers(self.before)) - min(_numbers(self.after)) if self.before else 0.0
            if round(lost, 9) > AUROC_LOST:
                yield f"{where}: its AUROC is {lost:.6g} below the baseline's; at most {AUROC_LOST:g} is allowed."
            if not AGREEMENT <= (least := min(_numbers(self.shares))) <= 100:
                yield (
                    f"{where}: {least:.9g} % of the labelled chunks have the label of float32; at least "
                    f"{AGREEMENT:g} % are asked for."
                )


def _numbers(values: Iterable[Value]) -> list[float]:
    return [math.nan if value.number is None else value.number for value in values]


def of_machines(
    repo: Path, results: Path, workload: str, baseline: str, candidate: str, claim: Claim
) -> list[AccuracyFigures]:
    """Of each machine that has a figure of the candidate.

    Raises:
        benchmarks.support.results.BadResults, and what `stand_in.find` raises.
    """
    everything, found = Results.load(results), []
    theirs, ours = OF_PRECISION[""], OF_PRECISION[claim.precision]
    for machine in everything.machines():
        commits = everything.commits(machine)
        before = _of(repo, baseline, commits, theirs, workload)
        after = _of(repo, candidate, commits, ours, workload)
        if after:
            figures = ((before, theirs, AUROC), (after, ours, AUROC), (after, ours, SHARE))
            of_sides = ([each.value(f"{key}.{name}", workload) for each in side] for side, key, name in figures)
            found.append(AccuracyFigures(machine, *of_sides))
    return found


def _of(
    repo: Path, revision: str, commits: Iterable[CommitResults], benchmark: str, workload: str
) -> list[CommitResults]:
    """Of the commits with the revision's package those that have a figure, or failed to have it."""
    there = {
        each.commit: each
        for each in commits
        if any(each.value(f"{benchmark}.{name}", workload).status not in (ABSENT, SKIPPED) for name in (AUROC, SHARE))
    }
    asked = stand_in.find(repo, revision, there)
    return [there[commit] for commit in asked.measured] if asked else []
