"""Verdict: is a commit as much faster than another as it is said to be? What asv and its evidence stored is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.releases import DEEPEN, is_shallow
from benchmarks.results import ABSENT, FAILED, SKIPPED, BadResults, CommitResults, Results
from benchmarks.support import evidence, pairs, stand_in, validity

BENCHMARK = "commands.EmbedProteins"
SECONDS, ERROR = f"{BENCHMARK}.track_wall_seconds", f"{BENCHMARK}.track_error"
TARGET = 4.5  # times as fast: the claim
WORKERS = {"gpu-10k": ("default", "one"), "cpu-small": ("default",)}  # v1.0's settings, of which the best counts
IN_WORDS = {"default": "default workers", "one": "one worker"}
LEAST_PAIRS = {"gpu-10k": 3, "cpu-small": 5}
STRAY = 1.1  # times as slow as all runs in pairs, or as fast: of a run in none
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
        benchmarks.releases.GitFailed, BadRelease, NoGit: There is no such revision, or a release's name is given to
            another commit; git cannot run.
    """
    verdict = Verdict(question)
    try:
        verdict.reasons = list(_judged(question, verdict))
    except (KeyError, TypeError, AttributeError, ValueError) as error:  # an entry is missing, or not of its type
        what = f"{type(error).__name__}: {error}"
        place = question.results / question.machine
        raise BadResults(
            f"{place} ({what}): results or evidence are not whole. Restore them, or measure again."
        ) from error
    return verdict


def _judged(question: Question, verdict: Verdict) -> Iterator[str]:
    """Fill the verdict; yields why it is none, or none of success."""
    repo, workload, machine = question.repo, question.workload, question.machine
    results, runs = Results.load(question.results), evidence.load(question.results / machine)
    measured = list(_measured(results, machine, workload))
    for revision in (question.baseline, question.candidate):
        if (asked := stand_in.find(repo, revision, measured)) is None:
            cure = DEEPEN if is_shallow(repo) else "measure it there: docs/benchmarks.md"
            why = stand_in.missing(repo, revision, measured)
            yield f"{revision} was not measured on {machine} ({workload}): {why}; {cure}."
            return
        verdict.asked.append(asked)
    before, after = (results.of(machine, asked.measured) for asked in verdict.asked)
    env = after.value(SECONDS, workload, "default").env
    settings = {each: _side(before, each, question.baseline, runs, env, workload) for each in WORKERS[workload]}
    candidate = _side(after, "default", question.candidate, runs, env, workload)
    everyone = [*settings.values(), candidate]
    for side, workers in zip(everyone, [*settings, "default"]):
        if side.seconds.status in (ABSENT, SKIPPED):
            yield f"{side.name} ({IN_WORDS[workers]}) is {side.seconds.status} on {machine} in {env} ({workload})."
            return
    verdict.word = FAIL
    if failed := [side.name for side in everyone if FAILED in (side.seconds.status, side.error.status)]:
        yield f"{' and '.join(failed)} failed: run it again."
        return
    if len(versions := {str(side.seconds.version) for side in everyone}) > 1:
        yield f"The benchmark has versions {' and '.join(sorted(versions))}, which do not compare: run both again."
        return
    everyone = _together(everyone)
    settings, candidate = dict(zip(settings, everyone)), everyone[-1]
    facts = json.loads((question.results / machine / "machine.json").read_text(encoding="utf-8"))
    if wrong := list(validity.problems(everyone, repo, workload, facts)):
        yield from wrong
        return
    verdict.workers = min(settings, key=lambda each: settings[each].seconds.number)
    verdict.sides = [settings[verdict.workers], candidate]
    found, alone = pairs.paired(*(side.runs for side in verdict.sides))
    if len(found) < LEAST_PAIRS[workload]:
        verdict.word = NOT_MEASURED
        yield (
            f"{len(found)} pairs of runs of {question.candidate} and {question.baseline} ({IN_WORDS[verdict.workers]}, "
            f"its best) in one sitting; at least {LEAST_PAIRS[workload]} are judged."
        )
        return
    verdict.pairs, verdict.ratio, verdict.interval = found, pairs.ratio(found), pairs.interval(found)
    low, high = verdict.interval
    verdict.word = PASS if low >= question.target else AMBIGUOUS if high >= question.target else FAIL
    if verdict.word == PASS and (stray := _stray(alone, found, verdict.asked[1].measured)):
        verdict.word = AMBIGUOUS
        yield stray


def _measured(results: Results, machine: str, workload: str) -> Iterator[str]:
    """Commits that have the figure, that whose benchmark ran last first."""
    found = [each for each in results.commits(machine) if each.value(SECONDS, workload, "default").status != ABSENT]
    started = {each.commit: max(file.started(SECONDS) for file in each.files) for each in found}
    yield from sorted(started, key=lambda commit: -started[commit])


def _side(
    results: CommitResults, workers: str, name: str, runs: list[dict], env: str | None, workload: str
) -> validity.Side:
    within = results.within(env)
    seconds, error = (within.value(key, workload, workers) for key in (SECONDS, ERROR))
    wanted = (BENCHMARK, workload, workers, results.commit, env, seconds.version)
    keys = ("benchmark", "workload", "workers", "commit", "environment", "version")
    mine = [run for run in runs if tuple(run[key] for key in keys) == wanted]
    return validity.Side(name, within, seconds, error, mine, mine)


def _together(sides: list[validity.Side]) -> list[validity.Side]:
    """Each with the runs that are judged: v1.0 is measured anew with each candidate, and what its machine was a year
    ago decides nothing today."""
    candidate = sides[-1].results.commit
    found = pairs.sittings([run for side in sides for run in side.runs])
    today = [run for sitting in found if any(run["commit"] == candidate for run in sitting) for run in sitting]
    return [replace(side, judged=[run for run in side.runs if run in today] or side.runs) for side in sides]


def _stray(alone: list[dict], found: list[pairs.Pair], candidate: str) -> str | None:
    """A run that is in no pair and speaks against the verdict: the best were not to be chosen."""
    slowest, fastest = max(after for _, after in found), min(before for before, _ in found)
    for run in alone:
        against = run["seconds"] > STRAY * slowest if run["commit"] == candidate else STRAY * run["seconds"] < fastest
        if against:
            return f"A run that is in no pair ({run['seconds']:.1f} s, {validity.moment(run)}) speaks against it."
    return None


def machines(question: Question) -> list[str]:
    """Those with results. Raises benchmarks.results.BadResults."""
    return Results.load(question.results).machines()
