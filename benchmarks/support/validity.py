"""Validity: what has to hold of the runs behind a figure before anything is judged by it.

Each condition yields a sentence for what does not hold. What nobody can see from files, whoever forges a result
together with all of its evidence, docs/benchmarks.md names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import fmean, median

from benchmarks import workloads
from benchmarks.releases import GitFailed, git, holds, read_releases, release_of
from benchmarks.results import CommitResults, Value
from benchmarks.support import evidence

# The largest error that a figure may have: of FP16, with 11 significant bits, four times the rounding of one number; of
# float32, which has 24, sixty-four times. Below the latter a difference is rounding, and neither side's merit.
BOUNDS = {"gpu-10k": 2**-9, "cpu-small": 2**-18}
ROUNDING = 2**-18
INPUTS = {"gpu-10k": "proteins-10k", "cpu-small": "proteins-small"}
MODELS = {"gpu-10k": "esm2_t36_3B_UR50D", "cpu-small": "esm2_t6_8M_UR50D"}
SLACK = 2.0  # s by which clocks and starts of processes may differ
HELD_DOWN = 0.05  # of the samples: a clock that is held down for longer, other than by the GPU's own power limit
SLOWED_BY = {"power_cap", "hardware", "heat", "clocks_setting"}
A_QUIET_GPU = 2**30  # bytes that its driver may hold before a run
REST = 25.0  # s without work before a run on a GPU; the suite waits for 30


@dataclass(frozen=True)
class Side:
    """What is known of the commits of one package on one machine, in one environment, for one number of workers."""

    name: str  # "v1.0", for messages
    asked: str  # the commit of that name
    status: str  # of results.Value: of all of them
    results: list[CommitResults]
    seconds: list[Value]  # one for each of these
    error: list[Value]
    runs: list[dict]  # evidence, oldest first

    @property
    def commits(self) -> list[str]:
        return [each.commit for each in self.results]


def of_files(sides: list[Side]) -> Iterator[str]:
    """What does not hold of asv's files: each has the figures of its evidence, run for run, and no others."""
    for side in sides:
        for found, seconds, error in zip(side.results, side.seconds, side.error):
            runs = [run for run in side.runs if run["commit"] == found.commit]
            for value, name in ((seconds, "seconds"), (error, "error")):
                yield from (f"{side.name}: {said}" for said in stored(value, [run[name] for run in runs], name))
    for commit in dict.fromkeys(commit for side in sides for commit in side.commits):
        mine = [side for side in sides if commit in side.commits]
        yield from (f"{mine[0].name}: {said}" for said in in_asvs_record(mine, commit))


def of_sitting(
    sides: list[Side], sitting: list[dict], everything: list[dict], repo: Path, workload: str, facts: dict
) -> Iterator[str]:
    """What does not hold of the runs of one sitting.

    Args:
        sides: The baseline's, each of its settings, then the candidate's. everything: All evidence of the machine.
        facts: machine.json.
    """
    for side in sides:
        for run in (run for run in side.runs if run in sitting):
            for condition in (of_commit, of_command, of_workload, complete, of_time, of_suite, of_machine):
                said = condition(run, repo=repo, workload=workload, facts=facts, side=side)
                yield from (f"{side.name}, run of {moment(run)}: {each}" for each in said)
    for side in sides[:-1]:
        yield from (f"{side.name}: {said}" for said in undisturbed([run for run in side.runs if run in sitting]))
    yield from rested(sitting, everything)
    yield from alike([[run for run in side.runs if run in sitting] for side in sides])
    yield from errors([[run for run in side.runs if run in sitting] for side in sides], sides[-1].name, workload)


def stored(value: Value, found: list[float], name: str) -> Iterator[str]:
    """asv's figure is the median of its samples, and these are what the evidence says, run for run."""
    if not value.samples:
        yield f"asv has no samples of its {name}, only a figure: measure it again with this suite."
    elif sorted(value.samples) != sorted(found):
        yield (
            f"asv has {len(value.samples)} samples of its {name} ({_numbers(value.samples)}), and the evidence is of "
            f"{len(found)} ({_numbers(found)}). A call that was killed leaves one more: remove what it left."
        )
    elif not all(type(x) is float and math.isfinite(x) for x in value.samples):
        yield f"the samples of its {name} are {_numbers(value.samples)}; finite numbers were expected."
    elif not math.isclose(value.number, median(value.samples), rel_tol=1e-9, abs_tol=0):
        yield f"its {name} is {value.number}, which is not the median of its samples ({_numbers(value.samples)})."


def in_asvs_record(sides: list[Side], commit: str) -> Iterator[str]:
    """Of one commit: the last run lies within the time that asv itself has for one of the benchmark's figures; it keeps
    no other."""
    runs = sorted((run for side in sides for run in side.runs if run["commit"] == commit), key=lambda run: run["begun"])
    if not runs:
        return
    last, prefix = runs[-1], f"{runs[-1]['benchmark']}."
    for file in next(each for side in sides for each in side.results if each.commit == commit).files:
        for key, row in file.rows.items():
            begun, took = (row.get("started_at") or 0) / 1000, row.get("duration") or 0
            if key.startswith(prefix) and begun - SLACK <= last["begun"] and last["ended"] <= begun + took + SLACK:
                return
    yield (
        f"the run of {moment(last)} ({last['seconds']} s) does not lie within the time that asv took for any figure of "
        f"{prefix[:-1]}."
    )


def of_commit(run: dict, repo: Path, **_: object) -> Iterator[str]:
    """What was installed is that commit's package."""
    commit, package = run["commit"], run["package"]
    try:
        digest, said = evidence.committed(repo, commit), git(repo, "show", f"{commit}:virnucpro/__init__.py")
    except GitFailed:
        yield f"this clone has no commit {commit[:8]}; run `git fetch --tags`."
        return
    if package.get("digest") != digest or package.get("strangers"):
        yield f"the package that ran is not that of commit {commit[:8]}: its files have other contents."
    version = re.search(r"""^__version__ = ["'](.+)["']""", said, re.MULTILINE)
    versions = {package.get("version"), run["manifest"].get("virnucpro"), version and version[1]}
    if len({re.sub(r"[._-]?(dev)", r".\1", str(each)) for each in versions}) != 1:
        yield f"the version is one of {sorted(map(str, versions))}, by package, by manifest and by commit {commit[:8]}."


def of_command(run: dict, workload: str, **_: object) -> Iterator[str]:
    """It is what the suite runs, no more and no less, and it ended well."""
    name, model, weights = INPUTS[workload], MODELS[workload], run["weights"].get("version")
    wanted = ["python", "-m", "virnucpro", "predict", f"{name}.faa", "--output-dir", "out"]
    wanted += ["--weights-dir", f"weights-v{weights}-{model}", "--esm-model", model, "--parallel", "--no-progress"]
    wanted += ["--gpus", "0"] if workload == "gpu-10k" else []
    wanted += ["--workers-per-gpu", "1"] if run["workers"] == "one" else []
    if run["command"] != wanted:
        yield f"its command was {' '.join(map(str, run['command']))}; {' '.join(wanted)} was expected."
    if run["exit_code"] != 0:
        yield f"its exit code was {run['exit_code']}."


def of_workload(run: dict, repo: Path, workload: str, side: Side, **_: object) -> Iterator[str]:
    """It is the workload's own input, by its sha256 and count."""
    pinned = workloads.WORKLOADS[INPUTS[workload]]
    wanted = {"name": INPUTS[workload], "sha256": pinned.sha256, "sequences": pinned.count}
    if run["workload"] != workload or run["input"] != wanted:
        yield f"its input is {run['input']}, and {workload} has {wanted}."
    if workload == "gpu-10k" and run["gpu"] is None:
        yield "it ran without a GPU."
    settings = run["manifest"]["settings"]
    precision, model = str(settings.get("precision")), settings.get("esm_model")
    if model != MODELS[workload]:
        yield f"its model is {model}, and {workload} has {MODELS[workload]}."
    release = next((each for each in read_releases(repo) if each.commit in (run["commit"], side.asked)), None)
    own = release.precision if release and workload == "gpu-10k" else precision
    if precision.lower().split()[:1] != own.lower().split()[:1]:  # "bf16 autocast"
        yield f"its precision is {precision}, and {release.tag if release else 'its own'} computes in {own.lower()}."


def complete(run: dict, workload: str, **_: object) -> Iterator[str]:
    """Every record has a row, every row is finite, and the run itself says that it is done."""
    count, output = workloads.WORKLOADS[INPUTS[workload]].count, run["output"]
    for name in ("records", "frames", "rows"):
        if output.get(name) != count:
            yield f"its output has {output.get(name)} {name} of {count}."
    if output.get("fates") != {"embedded": count}:
        yield f"the fates of its records are {output.get('fates')}; all {count} were to be embedded."
    if output.get("finite") is not True:
        yield "its output has numbers that are not finite."
    if output.get("distinct", count) != count:
        yield f"its output has {output['distinct']} distinct rows of {count}."
    if run["manifest"].get("status") != "complete":
        yield f"its manifest says {run['manifest'].get('status')!r}, not 'complete'."


def of_time(run: dict, repo: Path, **_: object) -> Iterator[str]:
    """Its seconds are those between begin and end, no less than the run itself accounts for, and after its commit."""
    passed, seconds = run["ended"] - run["begun"], run["seconds"]
    if not seconds > 0 or abs(passed - seconds) > SLACK:
        yield f"it took {seconds} s, and from begin to end {passed:.3f} s passed."
    sessions = run["manifest"].get("sessions", [])
    own = sum(sum(session.get("stage_seconds", {}).values()) for session in sessions)
    tells = holds(repo, "grep", "--quiet", "stage_seconds", run["commit"], "--", "virnucpro")  # of a version that does
    if tells and (len(sessions) != 1 or not 0 < own <= seconds + SLACK):
        yield f"it took {seconds} s, and its own manifest accounts for {own:.1f} s in {len(sessions)} sessions."
    try:
        if run["begun"] + 86_400 < int(git(repo, "show", "--no-patch", "--format=%ct", run["commit"])):
            yield "it ran before its commit was made."
    except GitFailed:
        pass  # said above


def of_suite(run: dict, repo: Path, **_: object) -> Iterator[str]:
    """Measured by benchmarks/ as a commit of this history has it."""
    commit = str(run["suite"].get("commit"))
    if run["suite"].get("clean") is not True:
        yield "benchmarks/ was not as its commit has it: commit what is changed there and measure again."
    elif not (re.fullmatch("[0-9a-f]{40}", commit) and holds(repo, "merge-base", "--is-ancestor", commit, "HEAD")):
        yield f"it was measured by the benchmarks of {commit[:8]}, a commit that is not in this history."


def of_machine(run: dict, facts: dict, **_: object) -> Iterator[str]:
    """One GPU of the kind that the machine is registered with, at its own power limit, and cool."""
    gpu = run["gpu"]
    if gpu is None:
        return
    if not (gpu["name"] and gpu["uuid"] and str(facts.get("gpu")).startswith(gpu["name"])):
        yield f"its GPU is {gpu['name']}, the machine's {facts.get('gpu')}."
    if gpu["gpus_used"] != 1:
        yield f"{gpu['gpus_used']} GPUs were in use; the claim is of one."
    limits = gpu["power_limit"], gpu["default_power_limit"]
    if None not in limits and limits[0] != limits[1]:
        yield f"the GPU's power limit was {limits[0]} W; {limits[1]} W is its own."
    if not set(gpu["slowed_by"]) >= SLOWED_BY:
        yield f"it does not say why the GPU's clock was held down: {', '.join(SLOWED_BY - set(gpu['slowed_by']))}."
    for name, share in gpu["slowed_by"].items():
        if name not in ("power_cap", "clocks_setting") and not share <= HELD_DOWN:
            yield f"the GPU's clock was held down ({name}) in {100 * share:.0f} % of the time."
    if not run["load"] <= run["machine"]["cpus"]:
        yield f"the load was {run['load']} on {run['machine']['cpus']} processors before it began."


def undisturbed(runs: list[dict]) -> Iterator[str]:
    """Nobody else was on the baseline's GPU. (On the candidate's it could only speak against the candidate.)"""
    for run in runs:
        gpu = run["gpu"]
        if gpu and (gpu["other_processes"] or gpu["memory_before"] > A_QUIET_GPU):
            others, held = gpu["other_processes"], gpu["memory_before"] / 2**30
            yield f"before the run of {moment(run)} {others} other processes and {held:.1f} GiB were on the GPU."


def rested(sitting: list[dict], everything: list[dict]) -> Iterator[str]:
    """No other run on that machine meanwhile, and none shortly before where there is a GPU to cool down."""
    for run in sitting:
        least = REST if run["gpu"] else -SLACK
        for other in everything:
            near = other is not run and other["machine"].get("boot") == run["machine"].get("boot")
            if near and other["ended"] > run["begun"] - least and other["begun"] < run["ended"] - SLACK:
                since = f"{run['begun'] - other['ended']:.0f} s before it began ({other['benchmark']}, {moment(other)})"
                yield f"The run of {moment(run)} had no rest of {least:.0f} s: another ended {since}."


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
    """The baseline's GPU was not slowed: its clock is no lower, unless by its own power limit."""
    slow, fast = min(gpu["sm_clock"] or 0 for gpu in before), max(gpu["sm_clock"] or 0 for gpu in after)
    if not slow >= 0.95 * fast and not all(gpu["slowed_by"]["power_cap"] > 0.5 for gpu in before):
        yield f"The baseline's GPU ran at {slow:.0f} MHz, the candidate's at {fast:.0f}: the baseline was slowed."
    shares = [fmean(gpu["slowed_by"]["clocks_setting"] for gpu in side) for side in (before, after)]
    if not abs(shares[0] - shares[1]) <= HELD_DOWN:
        yield "The GPU's clocks were set (clocks_setting) for one side and not for the other."


def errors(sides: list[list[dict]], name: str, workload: str) -> Iterator[str]:
    """The candidate's error is under the bound, and no larger than the baseline's, or than rounding."""
    *before, after = sides
    baseline = [run["error"] for side in before for run in side]
    bound = min(BOUNDS[workload], max([ROUNDING, *baseline])) if baseline else BOUNDS[workload]
    for x in (run["error"] for run in after):
        if not 0 <= x <= bound:
            yield f"{name}: its error is {x:.3g}; at most {bound:.3g} is allowed (the bound, or the baseline's)."


def architecture(repo: Path, commit: str) -> dict[str, str]:
    """Of the newest release in a commit's history, in words, with the commit's own name."""
    release, label = release_of(repo, commit)
    words = {word: getattr(release, word, "unknown") for word in ("architecture", "precision", "packing")}
    return {"version": label, "commit": commit, **words}


def moment(run: dict) -> str:
    return f"{datetime.fromtimestamp(run['begun'], timezone.utc):%Y-%m-%d %H:%M:%S}"


def _numbers(values) -> str:
    return ", ".join(f"{x:.6g}" if isinstance(x, (int, float)) else str(x) for x in values) or "none"
