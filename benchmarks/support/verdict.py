"""Verdict: is a commit as much faster than another as it is said to be? What asv and its evidence stored is read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.releases import read_releases
from benchmarks.results import ABSENT, FAILED, SKIPPED, BadResults, Results
from benchmarks.support import evidence, pairs, stand_in, validity
from benchmarks.support.git import DEEPEN, is_shallow

BENCHMARK = "commands.EmbedProteins"
SECONDS, ERROR = f"{BENCHMARK}.track_wall_seconds", f"{BENCHMARK}.track_error"
TARGET = 4.5  # times as fast: the claim
WORKERS = {"gpu-10k": ("default", "one"), "cpu-small": ("default",)}  # v1.0's settings, of which the best counts
IN_WORDS = {"default": "default workers", "one": "one worker"}
LEAST_PAIRS = {"gpu-10k": 3, "cpu-small": 5}
PASS, FAIL, AMBIGUOUS, NOT_MEASURED = "PASS", "FAIL", "AMBIGUOUS", "NOT MEASURED"


@dataclass(frozen=True)
class Question:
    """What is asked for."""

    repo: Path
    results: Path
    machine: str
    workload: str = "gpu-10k"
    baseline: str = "v1.0"
    candidate: str = "HEAD"
    target: float = TARGET


@dataclass
class Verdict:
    """The answer: PASS, FAIL, AMBIGUOUS (the interval straddles the target) or NOT MEASURED, and what it rests on."""

    question: Question
    word: str = NOT_MEASURED
    reasons: list[str] = field(default_factory=list)
    asked: list[stand_in.Asked] = field(default_factory=list)  # baseline, candidate
    sides: list[validity.Side] = field(default_factory=list)  # likewise, the baseline with its best setting
    workers: str = ""  # that setting
    pairs: list[pairs.Pair] = field(default_factory=list)
    ratio: float | None = None
    interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        if self.interval is None:
            return f"{self.word}: " + "\n  ".join(self.reasons)
        low, high = self.interval
        return (
            f"Ratio {self.ratio:.2f}, with {100 * pairs.CONFIDENCE:.0f} % between {low:.2f} and {high:.2f} "
            f"({len(self.pairs)} pairs); target {self.question.target:g}: {self.word}"
        )


def judge(question: Question) -> Verdict:
    """
    Raises:
        benchmarks.results.BadResults: Results or evidence cannot be read.
        benchmarks.support.git.GitFailed, BadRelease, NoGit: There is no such revision, or a release's name is given to
            another commit; git cannot run.
    """
    verdict = Verdict(question)
    try:
        verdict.reasons = [re.sub(r"[\x00-\x1f\x7f]+", " ", reason) for reason in _judged(question, verdict)]
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, OSError, RecursionError) as error:
        # an entry is missing, or not of its type
        what = f"{question.results / question.machine} ({type(error).__name__}: {error})"
        raise BadResults(f"{what}: results or evidence are not whole. Restore them, or measure again.") from error
    return verdict


def _judged(question: Question, verdict: Verdict) -> Iterator[str]:
    """Fill the verdict; yields why it is none, or none of success."""
    repo, workload, machine = question.repo, question.workload, question.machine
    results, runs = Results.load(question.results, machine), evidence.load(question.results / machine)
    if not (measured := list(_measured(results, machine, workload))):
        yield f"{question.baseline} was not measured on {machine} ({workload}), nor was any other commit."
        return
    for revision in (question.baseline, question.candidate):
        if (asked := stand_in.find(repo, revision, measured)) is None:
            cure = DEEPEN if is_shallow(repo) else "measure it there: docs/benchmarks.md"
            why = stand_in.missing(repo, revision, measured)
            yield f"{revision} was not measured on {machine} ({workload}): {why}; {cure}."
            return
        verdict.asked.append(asked)
    before, after = verdict.asked
    if set(before.measured) & set(after.measured):
        yield f"{before.revision} and {after.revision} have one package: there is nothing to compare."
        return
    env = next(iter(_values(results, machine, after, SECONDS, workload, "default"))).env
    sides = {each: _side(results, machine, before, each, runs, env, workload) for each in WORKERS[workload]}
    if before.commit != read_releases(repo)[0].commit:
        sides = {name: side for name, side in sides.items() if side.status != SKIPPED}  # one process a GPU
    candidate = _side(results, machine, after, "default", runs, env, workload)
    everyone = [*sides.values(), candidate]
    for side, workers in zip(everyone, [*sides, "default"]):
        if side.status in (ABSENT, SKIPPED):
            yield f"{side.name} ({IN_WORDS[workers]}) is {side.status} on {machine} in {env} ({workload})."
            return
    verdict.word = FAIL
    if failed := [side.name for side in everyone if side.status == FAILED]:
        yield f"{' and '.join(failed)} failed: run it again."
        return
    if len(versions := {str(value.version) for side in everyone for value in side.seconds}) > 1:
        yield f"The benchmark has versions {' and '.join(sorted(versions))}, which do not compare: run both again."
        return
    facts = json.loads((question.results / machine / "machine.json").read_text(encoding="utf-8"))
    of_files = list(validity.of_files(everyone))
    sound, left_out = [], []
    for sitting in pairs.sittings([run for side in everyone for run in side.runs]):
        if not any(run["commit"] in after.measured for run in sitting):
            continue  # v1.0 beside another candidate, or alone
        wrong = list(validity.of_sitting(everyone, sitting, runs, repo, workload, facts))
        (left_out if wrong else sound).append((sitting, wrong))
    if of_files or not sound:
        yield from [*of_files, *(reason for _, wrong in left_out for reason in wrong)]
        return
    found, alone = _pairs(sides, candidate, [run for sitting, _ in sound for run in sitting])
    verdict.workers, verdict.pairs = found
    if len(verdict.pairs) < LEAST_PAIRS[workload]:
        count, verdict.pairs, verdict.word = len(verdict.pairs), [], NOT_MEASURED
        yield (
            f"{count} pairs of runs of {question.candidate} and {question.baseline} ({IN_WORDS[verdict.workers]}, its "
            f"best) in one sitting; at least {LEAST_PAIRS[workload]} are judged."
        )
        return
    verdict.sides = [sides[verdict.workers], candidate]
    verdict.ratio, verdict.interval = pairs.ratio(verdict.pairs), pairs.interval(verdict.pairs)
    low, high = verdict.interval
    verdict.word = PASS if low >= question.target else AMBIGUOUS if high >= question.target else FAIL
    for _, wrong in left_out:
        yield f"A sitting was left out: {wrong[0]}"
    alone += [run for sitting, _ in left_out for run in sitting]
    if verdict.word == PASS and (against := _against(alone, verdict, candidate)):
        verdict.word = AMBIGUOUS
        yield against


def _measured(results: Results, machine: str, workload: str) -> Iterator[str]:
    """Commits that have the figure, that whose benchmark ran last first."""
    found = [each for each in results.commits(machine) if each.value(SECONDS, workload, "default").status != ABSENT]
    started = {each.commit: max(file.started(SECONDS) for file in each.files) for each in found}
    yield from sorted(started, key=lambda commit: -started[commit])


def _values(results: Results, machine: str, asked: stand_in.Asked, key: str, *params: str):
    for commit in asked.measured:
        yield results.of(machine, commit).value(key, *params)


def _side(
    results: Results, machine: str, asked: stand_in.Asked, workers: str, runs: list[dict], env: str | None, work: str
) -> validity.Side:
    """All measured commits of one package, with one number of workers."""
    within = [results.of(machine, commit).within(env) for commit in asked.measured]
    seconds, error = ([each.value(key, work, workers) for each in within] for key in (SECONDS, ERROR))
    statuses = {value.status for value in seconds}
    status = next(
        (each for each in (FAILED, "measured", SKIPPED, ABSENT) if each in statuses), ABSENT
    )  # one failure among them is one
    if status == "measured":
        kept = [number for number, value in enumerate(seconds) if value.status == status]
        within, seconds, error = ([each[number] for number in kept] for each in (within, seconds, error))
        status = FAILED if any(value.status == FAILED for value in error) else status
    wanted = (BENCHMARK, work, workers, env)
    keys = ("benchmark", "workload", "workers", "environment")
    versions = {each.commit: value.version for each, value in zip(within, seconds)}
    mine = [run for run in runs if tuple(run[key] for key in keys) == wanted]
    mine = [run for run in mine if versions.get(run["commit"]) == run["version"]]
    return validity.Side(asked.revision, asked.commit, status, within, seconds, error, mine)


def _pairs(
    sides: dict[str, validity.Side], candidate: validity.Side, judged: list[dict]
) -> tuple[tuple[str, list[pairs.Pair]], list[dict]]:
    """Of the settings with the most pairs that with the least median; where another setting's median is less still,
    which was not run in as many pairs, the baseline counts as that much faster."""
    medians = {name: median(run["seconds"] for run in side.runs) for name, side in sides.items()}
    found = {}
    for name, side in sides.items():
        both = [[run for run in each.runs if run in judged] for each in (side, candidate)]
        found[name] = pairs.paired(*both)
    enough = max(len(made) for made, _ in found.values())
    workers = min((name for name in found if len(found[name][0]) == enough), key=lambda name: medians[name])
    made, alone = found[workers]
    least = min(medians.values()) / medians[workers]
    alone = [run for run in alone if run["commit"] in candidate.commits]
    return (workers, [(least * before, after) for before, after in made]), alone


def _against(alone: list[dict], verdict: Verdict, candidate: validity.Side) -> str | None:
    """What speaks against a verdict of success: the medians, or a run of the candidate that is in no pair."""
    befores = [before for before, _ in verdict.pairs]
    every = [run["seconds"] for run in candidate.runs]
    if median(befores) / median(every) < verdict.question.target:
        return f"The medians of all runs are {median(befores):.1f} and {median(every):.1f} s: less than the target."
    for run in alone:
        if run["commit"] in candidate.commits and min(befores) / run["seconds"] < verdict.question.target:
            return f"A run that is in no pair ({run['seconds']:.1f} s, {evidence.moment(run)}) speaks against it."
    return None


def machines(question: Question) -> list[str]:
    """Those with results. Raises benchmarks.results.BadResults."""
    return sorted(path.parent.name for path in question.results.glob("*/machine.json"))
