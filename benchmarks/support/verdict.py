"""Verdict: is a commit as much faster than another as it is said to be? What asv and its evidence stored is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from benchmarks.releases import check_committed, read_releases
from benchmarks.support import accuracy_figures, evidence, objections, pairs, stand_in, validity
from benchmarks.support.claims import THE_CLAIM, Claim
from benchmarks.support.git import DEEPEN, is_shallow
from benchmarks.support.output import printable
from benchmarks.support.results import ABSENT, FAILED, SKIPPED, BadResults, Results, once, text_of
from benchmarks.support.sides import Side, commits_measured, keys_of, known_of, side_of

TARGET = THE_CLAIM.at_least  # times as fast
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
    claim: Claim = THE_CLAIM


@dataclass
class Verdict:
    """The answer: PASS, FAIL, AMBIGUOUS (the interval straddles the target) or NOT MEASURED, and what it rests on."""

    question: Question
    word: str = NOT_MEASURED
    reasons: list[str] = field(default_factory=list)
    asked: list[stand_in.Asked] = field(default_factory=list)  # baseline, candidate
    sides: list[Side] = field(default_factory=list)  # likewise, the baseline with its best setting
    workers: str = ""  # that setting
    pairs: list[pairs.Pair] = field(default_factory=list)
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    accuracy: list[accuracy_figures.AccuracyFigures] = field(default_factory=list)

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
        benchmarks.support.results.BadResults: Results or evidence cannot be read.
        benchmarks.support.git.GitFailed, BadRelease, NoGit: There is no such revision, or a release's name is given to
            another commit; git cannot run.
    """
    verdict = Verdict(question)
    check_committed(question.repo)
    try:
        reasons = dict.fromkeys(_judged(question, verdict))  # what does not hold of five runs is said once
        verdict.reasons = [printable(reason) for reason in reasons]
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, OSError, RecursionError) as error:
        # an entry is missing, or not of its type
        what = f"{question.results / question.machine} ({type(error).__name__}: {error})"
        raise BadResults(f"{what}: results or evidence are not whole. Restore them, or measure again.") from error
    return verdict


def _judged(question: Question, verdict: Verdict) -> Iterator[str]:
    """Fill the verdict; yields why it is none, or none of success."""
    repo, workload, machine, claim = question.repo, question.workload, question.machine, question.claim
    results, runs = Results.load(question.results, machine), evidence.load(question.results / machine)
    before, after = commits_measured(results, runs, machine, workload, claim)
    if not before:
        yield f"{question.baseline} was not measured on {machine} ({workload}), nor was any other commit."
        return
    if not after:
        yield f"{claim.name} is not measured yet on {machine} ({workload}): there is nothing of {claim.benchmark}."
        return
    for revision, measured in ((question.baseline, before), (question.candidate, after)):
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
    key = keys_of(claim.benchmark)["seconds"]
    figures = (known_of(results, machine, commit).value(key, workload, "default") for commit in after.measured)
    env = next((figure.env for figure in figures if figure.env), None)
    sides = {
        each: side_of(results, machine, before, claim.against, each, runs, env, workload) for each in WORKERS[workload]
    }
    if before.commit != read_releases(repo)[0].commit:
        sides = {name: side for name, side in sides.items() if side.status != SKIPPED}  # one process a GPU
    candidate = side_of(results, machine, after, claim.benchmark, "default", runs, env, workload)
    everyone = [*sides.values(), candidate]
    for side, workers in zip(everyone, [*sides, "default"]):
        if side.status in (ABSENT, SKIPPED):
            yield f"{side.name} ({IN_WORDS[workers]}) is {side.status} on {machine} in {env} ({workload})."
            return
    verdict.word = FAIL
    if failed := [side.name for side in everyone if side.status == FAILED]:
        yield f"{' and '.join(failed)} failed: run it again."
        return
    if len(versions := {value.version for side in everyone for value in side.seconds if value.version}) > 1:
        yield f"The benchmark has versions {' and '.join(sorted(versions))}, which do not compare: run both again."
        return
    text = text_of(question.results / machine / "machine.json", evidence.LARGEST)
    facts = json.loads(text, object_pairs_hook=once)
    of_files = [*validity.of_files(everyone), *_elsewhere(question, runs)]
    sound, left_out = [], []
    for sitting in pairs.sittings([run for side in everyone for run in side.runs]):
        if not any(run["commit"] in after.measured for run in sitting):
            continue  # v1.0 beside another candidate, or alone
        every = results.commits(machine)
        wrong = list(validity.of_sitting(everyone, sitting, runs, every, repo, workload, facts, claim))
        (left_out if wrong else sound).append((sitting, wrong))
    if of_files or not sound:
        yield from [*of_files, *(reason for _, wrong in left_out for reason in wrong)]
        return
    judged = [run for sitting, _ in sound for run in sitting]
    if missing := [name for name, side in sides.items() if not side.within(judged)]:
        verdict.word = NOT_MEASURED
        yield f"{question.baseline} ({IN_WORDS[missing[0]]}) ran in no sitting that counts: its best is not known."
        return
    found, alone = _pairs(sides, candidate, judged)
    verdict.workers, verdict.pairs = found
    if len(verdict.pairs) < LEAST_PAIRS[workload]:
        count, verdict.pairs, verdict.word = len(verdict.pairs), [], NOT_MEASURED
        yield (
            f"{count} pairs of runs of {question.candidate} and {question.baseline} ({IN_WORDS[verdict.workers]}, its "
            f"best) in one sitting; at least {LEAST_PAIRS[workload]} are judged."
        )
        return
    verdict.sides = [replace(side, runs=side.within(judged)) for side in (sides[verdict.workers], candidate)]
    verdict.ratio, verdict.interval = pairs.ratio(verdict.pairs), pairs.interval(verdict.pairs)
    low, high = verdict.interval
    verdict.word = PASS if low >= question.target else AMBIGUOUS if high >= question.target else FAIL
    for _, wrong in left_out:
        yield f"A sitting was left out: {wrong[0]}"
    alone += [run for sitting, _ in left_out for run in sitting]
    against = [objections.of_runs(alone, verdict, candidate)]
    against += [objections.beside(sitting, sides, candidate, question.target) for sitting, _ in left_out]
    others = [run for run in runs if not any(run is each for each in judged + alone)]
    against.append(objections.nearby(verdict, others))
    if verdict.word == PASS and any(against):
        verdict.word = AMBIGUOUS
        yield from filter(None, against)
    yield from _less_accurate(verdict)


def _less_accurate(verdict: Verdict) -> Iterator[str]:
    """A success needs to be as accurate, too, wherever it was measured, and beside the baseline somewhere."""
    asked = verdict.question
    verdict.accuracy = accuracy_figures.of_machines(
        asked.repo, asked.results, asked.workload, asked.baseline, asked.candidate, asked.claim
    )
    said = [sentence for each in verdict.accuracy for sentence in each.worse(asked.candidate)]
    if said:
        verdict.word = FAIL
    elif verdict.word == PASS and not any(each.before for each in verdict.accuracy):
        verdict.word = NOT_MEASURED
        benchmark = accuracy_figures.OF_PRECISION[asked.claim.precision]
        said.append(
            f"It is fast enough, and whether it is as accurate is not known: {benchmark} of {asked.candidate} and "
            f"{accuracy_figures.BENCHMARK} of {asked.baseline} were measured on no machine together ({asked.workload})."
        )
    yield from said


def _pairs(
    sides: dict[str, Side], candidate: Side, judged: list[dict]
) -> tuple[tuple[str, list[pairs.Pair]], list[dict]]:
    """Of the settings with the most pairs that with the least median; where another setting's median is less still,
    which was not run in as many pairs, the baseline counts as that much faster."""
    runs = {name: side.within(judged) for name, side in sides.items()}
    medians = {name: median(run["seconds"] for run in mine) for name, mine in runs.items()}
    found = {name: pairs.paired(mine, candidate.within(judged)) for name, mine in runs.items()}
    enough = max(len(made) for made, _ in found.values())
    workers = min((name for name in found if len(found[name][0]) == enough), key=lambda name: medians[name])
    made, alone = found[workers]
    least = min(medians.values()) / medians[workers]
    alone = [run for run in alone if run["commit"] in candidate.commits]
    return (workers, [(least * before, after) for before, after in made]), alone


def _elsewhere(question: Question, runs: list[dict]) -> Iterator[str]:
    """Evidence of a run lies in the folder of one machine."""
    mine = {_identity(run) for run in runs}
    for name in machines(question):
        others = [] if name == question.machine else evidence.load(question.results / name)
        if twice := mine & set(map(_identity, others)):
            yield f"{len(twice)} runs lie in the folders of {question.machine} and of {name}: which machine was it?"


def _identity(run: dict) -> tuple:
    return run["benchmark"], run["commit"], run["begun"], run["seconds"]


def machines(question: Question) -> list[str]:
    """Those with results. Raises benchmarks.support.results.BadResults."""
    return sorted(path.parent.name for path in question.results.glob("*/machine.json"))
