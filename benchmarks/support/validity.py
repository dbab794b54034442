"""Validity: what has to hold between the runs behind a figure, and asv's record of them, before any is judged.

Each condition yields a sentence for what does not hold; those of a single run are in `conditions`. What nobody can see
from files, whoever forges a result together with all of its evidence, docs/benchmarks.md names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, median

from benchmarks.support.claims import Claim
from benchmarks.support.conditions import SLACK, of_run
from benchmarks.support.evidence import moment
from benchmarks.support.results import MEASURED, CommitResults, Value
from benchmarks.support.sides import Side, keys_of

ROUNDING = 2**-18  # sixty-four times that of a float32: below, a difference of errors is neither side's merit
EXACT = 2**-26  # the largest error of many numbers in float32 is above a quarter of its rounding
LONGEST = 2 * 3600.0  # s, of a row of asv's: its limit for a benchmark, for either of two settings
A_QUIET_GPU = 2**30  # bytes that its driver may hold before a run
REST = 25.0  # s without work before a run on a GPU; the suite waits for 30


def of_files(sides: list[Side]) -> Iterator[str]:
    """What does not hold of asv's files: each has the figures of its evidence, run for run, and no others."""
    for side in sides:
        for place, found in enumerate(side.results):
            runs = [run for run in side.runs if run["commit"] == found.commit]
            for name, values in {"seconds": side.seconds, "error": side.error, **side.memory}.items():
                told = [run[name] for run in runs if run.get(name) is not None]
                if told or name not in side.memory:
                    yield from (f"{side.name}: {said}" for said in stored(values[place], told, name.replace("_", " ")))
    for commit in dict.fromkeys(commit for side in sides for commit in side.commits):
        mine = [side for side in sides if commit in side.commits]
        yield from (f"{mine[0].name}: {said}" for said in in_asvs_record(mine, commit))


def of_sitting(
    sides: list[Side],
    sitting: list[dict],
    everything: list[dict],
    results: list[CommitResults],
    repo: Path,
    workload: str,
    facts: dict,
    claim: Claim,
) -> Iterator[str]:
    """What does not hold of the runs of one sitting.

    Args:
        sides: The baseline's, each of its settings, then the candidate's. everything: All evidence of the machine.
        results: All that asv has of it. facts: machine.json.
    """
    for side in sides:
        for run in (run for run in side.runs if run in sitting):
            said = of_run(run, repo=repo, workload=workload, facts=facts, asked=side.asked, claim=claim)
            yield from (f"{side.name}, run of {moment(run)}: {each}" for each in said)
    for side in sides[:-1]:
        yield from (f"{side.name}: {said}" for said in undisturbed([run for run in side.runs if run in sitting]))
    yield from rested(sitting, everything)
    yield from alone(sitting, results, [claim.against, claim.benchmark])
    yield from alike([[run for run in side.runs if run in sitting] for side in sides])
    yield from errors([[run for run in side.runs if run in sitting] for side in sides], sides[-1].name, workload, claim)


def stored(value: Value, found: list[float], name: str) -> Iterator[str]:
    """asv's figure is the median of its samples, and these are what the evidence says, run for run."""
    if value.status != MEASURED:
        yield (
            f"asv has no figure of its {name}, and there is evidence of {len(found)} runs: restore the file, or "
            "measure all figures of the benchmark."
        )
    elif not value.samples:
        yield f"asv has no samples of its {name}, only a figure: measure it again with this suite."
    elif sorted(value.samples) != sorted(found):
        yield (
            f"asv has {len(value.samples)} samples of its {name} ({_numbers(value.samples)}), and the evidence is of "
            f"{len(found)} ({_numbers(found)}). A call that was killed leaves one more: remove what it left."
        )
    elif not all(type(x) in (int, float) and math.isfinite(x) for x in value.samples):
        yield f"the samples of its {name} are {_numbers(value.samples)}; finite numbers were expected."
    elif not math.isclose(value.number, median(value.samples), rel_tol=1e-9, abs_tol=0):
        yield f"its {name} is {value.number}, which is not the median of its samples ({_numbers(value.samples)})."


def in_asvs_record(sides: list[Side], commit: str) -> Iterator[str]:
    """Of one commit: the last run lies within the time that asv itself has for one of the benchmark's figures; it keeps
    no other."""
    runs = sorted((run for side in sides for run in side.runs if run["commit"] == commit), key=lambda run: run["begun"])
    if not runs:
        return
    last, benchmark = runs[-1], sides[0].benchmark
    for file in next(each for side in sides for each in side.results if each.commit == commit).files:
        for key, row in file.rows.items():
            begun, took = (row.get("started_at") or 0) / 1000, row.get("duration") or 0
            within = begun - SLACK <= last["begun"] and last["ended"] <= begun + took + SLACK
            if key in keys_of(benchmark).values() and within and took <= LONGEST:
                return
    yield (
        f"the run of {moment(last)} ({last['seconds']} s) does not lie within the time that asv took for any figure of "
        f"{benchmark}."
    )


def undisturbed(runs: list[dict]) -> Iterator[str]:
    """Nobody else was on the baseline's GPU. (On the candidate's it could only speak against the candidate.)"""
    for run in runs:
        gpu = run["gpu"]
        if gpu and (gpu["other_processes"] or (gpu["memory_before"] or 0) > A_QUIET_GPU):
            others, held = gpu["other_processes"], (gpu["memory_before"] or 0) / 2**30
            yield f"before the run of {moment(run)} {others} other processes and {held:.1f} GiB were on the GPU."


def rested(sitting: list[dict], everything: list[dict]) -> Iterator[str]:
    """No other run on that machine meanwhile, and none shortly before where there is a GPU to cool down."""
    for run in sitting:
        least = REST if run["gpu"] else -SLACK
        for other in everything:
            near = other is not run and set(_where(other)) & set(_where(run))
            if near and other["ended"] > run["begun"] - least and other["begun"] < run["ended"] - SLACK:
                since = f"{run['begun'] - other['ended']:.0f} s before it began ({other['benchmark']}, {moment(other)})"
                yield f"The run of {moment(run)} had no rest of {least:.0f} s: another ended {since}."


def _where(run: dict) -> list[tuple[str, str]]:
    """By what a machine is known again: this start of it, and its GPU."""
    found = {"boot": run["machine"].get("boot"), "GPU": (run["gpu"] or {}).get("uuid")}
    return [(name, value) for name, value in found.items() if value]


def alone(sitting: list[dict], results: list[CommitResults], benchmarks: list[str]) -> Iterator[str]:
    """asv measured nothing else than these on that machine meanwhile, by its own record of the last call."""
    judged = {key for benchmark in benchmarks for key in keys_of(benchmark).values()}
    begun, ended = (fold(run[name] for run in sitting) for fold, name in ((min, "begun"), (max, "ended")))
    for found in results:
        for key, row in ((key, row) for file in found.files for key, row in file.rows.items() if key not in judged):
            start = (row.get("started_at") or 0) / 1000
            end = start + (row.get("duration") or 0)
            for run in sitting if begun < end and start < ended else ():
                if min(run["ended"], end) - max(run["begun"], start) > SLACK:
                    yield f"During the run of {moment(run)} asv measured {key} of {found.commit[:8]}, too."


def alike(sides: list[list[dict]]) -> Iterator[str]:
    """Both sides had the same in all but the package. `sides`: runs of each, the candidate's last."""
    runs = [run for side in sides for run in side]
    same = {
        "weights": lambda run: run["weights"],
        "input as the package read it": lambda run: run["manifest"]["input"]["sha256"],
        "names of the rows": lambda run: run["output"]["names_sha256"],
        "Python": lambda run: run["machine"]["python"],
        "packages": lambda run: run["machine"]["packages"],
        "number of processors": lambda run: run["machine"]["cpus"],
        "GPU": lambda run: run["gpu"] and [run["gpu"][name] for name in ("name", "driver", "power_limit")],
    }
    for name, what in same.items():
        found = {repr(what(run)) for run in runs}
        if len(found) > 1 or found & {"None", "''", "{}"} - ({"None"} if name == "GPU" else set()):
            yield f"The {name} differ between the runs, or are not told: {' and '.join(sorted(found))}."
    for side in sides:
        for commit in dict.fromkeys(run["commit"] for run in side):
            if len({repr(run["manifest"]["settings"]) for run in side if run["commit"] == commit}) > 1:
                yield f"The runs of {commit[:8]} differ in the settings that their own manifests have."
    if len({repr(run["machine"].get("gpu_settings") or {}) for run in runs}) > 1:
        yield "Variables CUDA_... were set otherwise in some of the runs."
    *before, after = sides
    baseline = [run for side in before for run in side]
    if not (baseline and after):
        return
    if fmean(run["load"] for run in baseline) > fmean(run["load"] for run in after) + baseline[0]["machine"]["cpus"]:
        yield "The machine was busier before the baseline's runs than before the candidate's."
    if baseline[0]["gpu"] and after[0]["gpu"]:
        yield from _clocks([run["gpu"] for run in baseline], [run["gpu"] for run in after])


def _clocks(before: list[dict], after: list[dict]) -> Iterator[str]:
    """The baseline's GPU was not slowed: its clock is no lower, or by its own power limit no lower than so."""
    clocks = [gpu["sm_clock"] for gpu in before + after]
    if clocks == [None] * len(clocks):
        return  # this GPU does not tell
    if not all(type(clock) is float and clock > 0 for clock in clocks):
        yield f"The clocks of the GPU are {', '.join(map(str, clocks))} MHz in these runs: some are none."
        return
    slow, fast = min(gpu["sm_clock"] for gpu in before), max(gpu["sm_clock"] for gpu in after)
    least = 0.75 if all(gpu["slowed_by"]["power_cap"] > 0.5 for gpu in before) else 0.95
    if not slow >= least * fast:
        yield f"The baseline's GPU ran at {slow:.0f} MHz, the candidate's at {fast:.0f}: the baseline was slowed."


def errors(sides: list[list[dict]], name: str, workload: str, claim: Claim) -> Iterator[str]:
    """The candidate's error is under the bound, and no larger than the baseline's, or rounding, where that is asked."""
    *before, after = sides
    baseline = [run["error"] for side in before for run in side]
    bound, which = claim.errors[workload], "the bound"
    if claim.no_worse:
        bound, which = min(bound, max([ROUNDING, *baseline])) if baseline else bound, "the bound, or v1.0's"
    for x in (run["error"] for run in after):
        if not EXACT <= x <= bound:
            least = f"and no less than {EXACT:.0e}, which float32 has"
            yield f"{name}: its error is {x:.3g}; at most {bound:.3g} is allowed ({which}), {least}."


def _numbers(values) -> str:
    return ", ".join(f"{x:.6g}" if isinstance(x, (int, float)) else str(x) for x in values) or "none"
