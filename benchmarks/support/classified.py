"""Classified: whether the candidate tells viruses from others as well as the baseline, by what asv stored of
`accuracy.Accuracy` and `AccuracyInt8`.

It hangs on the package and its kernels, not on the speed of a machine: every machine that measured both counts.
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
class Classified:
    """Figures of one machine, of each side the commits of its package. AUROC: from 0 to 1; share: % of the chunks with
    the label of float32."""

    machine: str
    before: list[Value]  # AUROC
    after: list[Value]  # likewise
    shares: list[Value]  # of the candidate

    def row(self) -> list[str]:
        """Machine, AUROC of either side, share; the candidate's worst."""
        figures = [median(_numbers(self.before)), min(_numbers(self.after)), min(_numbers(self.shares))]
        return [self.machine, *map("{:.4f}".format, figures[:2]), f"{figures[2]:.2f}"]

    @property
    def lost(self) -> float:
        """By how much the candidate's least AUROC is below the baseline's."""
        return median(_numbers(self.before)) - min(_numbers(self.after))


def _numbers(values: Iterable[Value]) -> list[float]:
    return [math.nan if value.number is None else value.number for value in values]


def of_machines(
    repo: Path, results: Path, workload: str, baseline: str, candidate: str, claim: Claim
) -> list[Classified]:
    """Of each machine that has figures of both sides.

    Raises:
        benchmarks.support.results.BadResults, and what `stand_in.find` raises.
    """
    everything, found = Results.load(results), []
    theirs, ours = OF_PRECISION[""], OF_PRECISION[claim.precision]
    for machine in everything.machines():
        commits = everything.commits(machine)
        before = _of(repo, baseline, commits, theirs, workload)
        after = _of(repo, candidate, commits, ours, workload)
        if before and after:
            figures = ((before, theirs, AUROC), (after, ours, AUROC), (after, ours, SHARE))
            of_sides = ([each.value(f"{key}.{name}", workload) for each in side] for side, key, name in figures)
            found.append(Classified(machine, *of_sides))
    return found


def _of(
    repo: Path, revision: str, commits: Iterable[CommitResults], benchmark: str, workload: str
) -> list[CommitResults]:
    """Of the commits with the revision's package those that have the figure, or failed to have it."""
    there = {
        each.commit: each
        for each in commits
        if each.value(f"{benchmark}.{AUROC}", workload).status not in (ABSENT, SKIPPED)
    }
    asked = stand_in.find(repo, revision, there)
    return [there[commit] for commit in asked.measured] if asked else []


def worse(found: Iterable[Classified], candidate: str) -> Iterator[str]:
    """What speaks against the candidate, a sentence each."""
    for each in found:
        where = f"{candidate} on {each.machine}"
        everything = [*each.before, *each.after, *each.shares]
        if any(value.status != MEASURED for value in everything):
            yield f"{where}: a figure of its accuracy, or of the baseline's, failed: measure it again."
        elif len(versions := {str(value.version) for value in everything}) > 1:
            yield f"{where}: figures of accuracy have versions {' and '.join(sorted(versions))}: measure both again."
        elif not all(0 <= value.number <= 1 for value in [*each.before, *each.after]):
            yield f"{where}: an AUROC is not from 0 to 1: measure it again."
        else:
            if not each.lost <= AUROC_LOST:
                yield f"{where}: its AUROC is {each.lost:.4f} below the baseline's; at most {AUROC_LOST:g} is allowed."
            least = min(value.number for value in each.shares)
            if not AGREEMENT <= least <= 100:
                yield (
                    f"{where}: {least:.4g} % of the labelled chunks have the label of float32; at least "
                    f"{AGREEMENT:g} % are asked for."
                )
