"""Record: the steps in which all that is judged is measured, and which of them are done; for run.py of the bundle."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Iterator
from itertools import product
from pathlib import Path

from benchmarks.support.claims import CLAIMS, of_workload
from benchmarks.support.output import whole_file

FALLBACK = 0.5  # of the limit: what a step is taken to need that was never seen
COMMAND = r"{benchmark}\..*{workload}.*{workers}"
ONE_PROTEIN = r"start_up\.OneProtein\..*{workload}"
ACCURACY_OF = r"accuracy\..*{workload}"
STEADY = {  # each a step
    "gpu-10k": [rf"steady\.Steady{which}\..*{{workload}}" for which in ("State", "Fp16", "Int8")],
    "cpu-small": [r"steady\.SteadyState\..*{workload}"],
}


class Taken:
    """Steps that are done, and the seconds of each; kept in a file, so that a later call goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def note(self, step: str, seconds: float) -> None:
        self.seconds[step] = seconds
        with whole_file(self.path) as file:
            json.dump(self.seconds, file)

    def guess(self, commit: str, bench: list[str], limit: float) -> float:
        """Seconds that a step will take: as long as the same took, at most; several benchmarks at once, which commits
        of one age are measured by, as long as they took for any."""
        words = " ".join(bench)
        same = [took for step, took in self.seconds.items() if step.endswith(f"{commit} {words}")]
        like = [took for step, took in self.seconds.items() if len(bench) > 1 and step.endswith(f" {words}")]
        return max(same or like or [FALLBACK * limit])


ACCURACY, REST = "accuracy", "rest"  # what is in no pair


def recorded(
    commits: list[str], hashes: dict[str, str], folder: Path, on_gpu: bool, only: Collection[str] = ()
) -> Iterator[tuple[str, list[str]]]:
    """Steps of --record: commit, and which benchmarks.

    Input by input: the newest commit in its own precision and in those that something is claimed of, then v1.0, whose
    run is the other half of each pair. v1.0 is measured with each number of workers that it may have, one after the
    other, and then with the one that is best here, until there are pairs enough of that.

    Args:
        only: Kinds of input to measure, ACCURACY, and REST for what else is in no pair; none for all.
    """
    workload, settings, pairs = ("gpu-10k", ["one", "default"], 3) if on_gpu else ("cpu-small", ["default"], 5)
    newest, first = commits[:2]
    own = list(dict.fromkeys(claim.against for claim in CLAIMS.values()))  # in a commit's own precision
    claimed: dict[str, list[str]] = {}
    for claim in of_workload(workload):
        if not only or claim.kind in only:
            claimed.setdefault(claim.against, [claim.against]).append(claim.benchmark)

    def commands(benchmarks: Iterable[str], workers: str = "default") -> list[str]:
        return [COMMAND.format(benchmark=re.escape(each), workload=workload, workers=workers) for each in benchmarks]

    for against, halves in claimed.items():
        judged = list(dict.fromkeys(halves))
        yield newest, commands(judged)
        for workers in settings:  # of which one will be in pairs: the newest commit need not run for each
            yield first, commands([against], workers)
        best = fastest(folder, hashes[first], settings, workload, against)
        for _ in range(pairs - 1):
            yield newest, commands(judged)
            yield first, commands([against], best)
    if not only or ACCURACY in only:
        yield from ((commit, [ACCURACY_OF.format(workload=workload)]) for commit in commits)
    if only and REST not in only:
        return
    in_pairs = list(dict.fromkeys(claim for each in of_workload(workload) for claim in (each.against, each.benchmark)))
    every = dict.fromkeys([*own, *in_pairs])
    done = {newest: in_pairs, first: in_pairs}
    for commit in commits:
        left = [each for each in every if each not in done.get(commit, [])]
        yield commit, [*commands(left), ONE_PROTEIN.format(workload=workload)]
        if commit != first:  # which has no engine to be warm
            yield from ((commit, [regex.format(workload=workload)]) for regex in STEADY[workload])


def fastest(folder: Path, commit: str, settings: list[str], workload: str, benchmark: str) -> str:
    """Of the settings of v1.0 that with the least median, as far as the results here tell; else the first."""
    found = {}
    for path in folder.glob(f"{commit[:8]}-*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        row = dict(zip(content["result_columns"], content["results"].get(f"{benchmark}.track_wall_seconds", [])))
        for (name, workers), value in zip(product(*row.get("params", [])), row.get("result") or []):
            if name == repr(workload) and value is not None and value == value:
                found[workers.strip("'")] = value
    return min(settings, key=lambda each: found.get(each, math.inf))
