"""Sides: what is known of the commits of one package, for one number of workers: asv's figures and the evidence."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.support.claims import Claim
from benchmarks.support.results import ABSENT, FAILED, MEASURED, SKIPPED, CommitResults, Results, Value
from benchmarks.support.stand_in import Asked

MEMORY = ("gpu_memory", "host_memory")
FIGURES = {"seconds": "wall_seconds", "error": "error", **{name: name for name in MEMORY}}  # evidence's names: asv's


def keys_of(benchmark: str) -> dict[str, str]:
    """By which asv knows what is judged of a benchmark, by evidence's names."""
    return {name: f"{benchmark}.track_{figure}" for name, figure in FIGURES.items()}


@dataclass(frozen=True)
class Side:
    """What is known of the commits of one package on one machine, in one environment, for one number of workers."""

    name: str  # "v1.0", for messages
    benchmark: str
    asked: str  # the commit of that name
    status: str  # of results.Value: of all of them
    results: list[CommitResults]
    seconds: list[Value]  # one for each of these
    error: list[Value]
    memory: dict[str, list[Value]]  # likewise, by the names in evidence
    runs: list[dict]  # evidence, oldest first

    @property
    def commits(self) -> list[str]:
        return [each.commit for each in self.results]

    def within(self, runs: list[dict]) -> list[dict]:
        """Its runs that are among these."""
        known = set(map(id, runs))
        return [run for run in self.runs if id(run) in known]


def commits_measured(
    results: Results, runs: list[dict], machine: str, workload: str, claim: Claim
) -> tuple[list[str], list[str]]:
    """Commits that have the figure, or evidence of it, of the claim's baseline and of its candidate; that which was
    measured last first. Where v1.0 cannot have the candidate's it has skipped it, which is no measurement."""
    lacking = (ABSENT,) if claim.benchmark == claim.against else (ABSENT, SKIPPED)
    return (
        _commits_with(results, runs, machine, workload, claim.against, (ABSENT,)),
        _commits_with(results, runs, machine, workload, claim.benchmark, lacking),
    )


def _commits_with(
    results: Results, runs: list[dict], machine: str, workload: str, benchmark: str, lacking: tuple[str, ...]
) -> list[str]:
    last: dict[str, float] = {}
    key = keys_of(benchmark)["seconds"]
    for each in results.commits(machine):
        if each.value(key, workload, "default").status not in lacking:
            last[each.commit] = max(file.started(key) for file in each.files) / 1000
    for run in runs:
        if (run["benchmark"], run["workload"]) == (benchmark, workload):
            last[run["commit"]] = max(run["begun"], last.get(run["commit"], 0.0))
    return sorted(last, key=lambda commit: -last[commit])


def known_of(results: Results, machine: str, commit: str) -> CommitResults:
    """What asv stored of a commit, which may be nothing."""
    return results.of(machine, commit) or CommitResults(machine, commit, 0, ())


def side_of(
    results: Results, machine: str, asked: Asked, benchmark: str, workers: str, runs: list[dict], env: str | None,
    work: str,
) -> Side:  # fmt: skip
    """All measured commits of one package, with one number of workers; and those of which there is evidence alone."""
    within = [known_of(results, machine, commit).within(env) for commit in asked.measured]
    keys = keys_of(benchmark)
    seconds, error = ([each.value(keys[name], work, workers) for each in within] for name in ("seconds", "error"))
    versions = {value.version for value in seconds if value.status == MEASURED}
    wanted = (benchmark, work, workers, env)
    names = ("benchmark", "workload", "workers", "environment")
    mine = [run for run in runs if tuple(run[name] for name in names) == wanted and run["commit"] in asked.measured]
    mine = [run for run in mine if run["version"] in versions]
    statuses = {value.status for value in seconds}
    status = next(each for each in (FAILED, MEASURED, SKIPPED, ABSENT) if each in statuses)  # one failure is one
    if status == MEASURED:
        there = {run["commit"] for run in mine}
        kept = [n for n, value in enumerate(seconds) if value.status == MEASURED or within[n].commit in there]
        within, seconds, error = ([each[number] for number in kept] for each in (within, seconds, error))
        status = FAILED if any(value.status == FAILED for value in error) else status
    memory = {name: [each.value(keys[name], work, workers) for each in within] for name in MEMORY}
    return Side(asked.revision, benchmark, asked.commit, status, within, seconds, error, memory, mine)
