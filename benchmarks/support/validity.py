"""Validity: what has to hold of the runs behind a figure before anything is judged by it.

Each condition yields a sentence for what does not hold. What nobody can see from files, whoever forges a result
together with all of its evidence, docs/benchmarks.md names.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import workloads
from benchmarks.releases import GitFailed, git, holds, read_releases, release_of
from benchmarks.results import CommitResults, Value
from benchmarks.support import evidence

# The largest error that a figure may have: of FP16, with 11 significant bits, four times the rounding of one number; of
# float32, which has 24, sixty-four times. Below the latter a difference is rounding, and neither side's merit.
BOUNDS = {"gpu-10k": 2**-9, "cpu-small": 2**-18}
ROUNDING = 2**-18
INPUTS = {"gpu-10k": "proteins-10k", "cpu-small": "proteins-small"}
SLACK = 2.0  # s by which clocks and starts of processes may differ
HELD_DOWN = 0.05  # of the samples: a clock that is held down for longer, other than by the GPU's own power limit
A_QUIET_GPU = 2**30  # bytes that its driver may hold before a run
REST = 25.0  # s without work before a run on a GPU; the suite waits for 30


@dataclass(frozen=True)
class Side:
    """What is known of one commit on one machine, in one environment, for one number of workers."""

    name: str  # "v1.0", for messages
    results: CommitResults
    seconds: Value
    error: Value
    runs: list[dict]  # evidence, oldest first
    judged: list[dict]  # of these, the runs of sittings in which the candidate ran; all if it has none there


def problems(sides: list[Side], repo: Path, workload: str, facts: dict) -> Iterator[str]:
    """All that does not hold. `sides`: the baseline's, then the candidate's; `facts`: machine.json."""
    for side in sides:
        for value, name in ((side.seconds, "seconds"), (side.error, "error")):
            yield from (f"{side.name}: {said}" for said in stored(value, [run[name] for run in side.runs], name))
        for run in side.judged:
            for condition in (of_commit, of_workload, complete, of_time, of_suite, of_machine):
                said = condition(run, repo=repo, workload=workload, facts=facts)
                yield from (f"{side.name}, run of {moment(run)}: {each}" for each in said)
        yield from (f"{side.name}: {said}" for said in rested(side, sides))
    for one in {side.results.commit: side for side in sides}.values():
        yield from (f"{one.name}: {said}" for said in in_asvs_record([s for s in sides if s.results == one.results]))
    for side in sides[:-1]:
        yield from (f"{side.name}: {said}" for said in undisturbed(side))
    yield from alike(sides)
    yield from errors(sides, workload)


def stored(value: Value, found: list[float], name: str) -> Iterator[str]:
    """asv's figure is the median of its samples, and these are what the evidence says, run for run."""
    if not value.samples:
        yield f"asv has no samples of its {name}, only a figure: measure it again with this suite."
    elif sorted(value.samples) != sorted(found):
        yield (
            f"asv has {len(value.samples)} samples of its {name} ({_numbers(value.samples)}), and the evidence is of "
            f"{len(found)} ({_numbers(found)})."
        )
    elif not all(type(x) is float and math.isfinite(x) for x in value.samples):
        yield f"the samples of its {name} are {_numbers(value.samples)}; finite numbers were expected."
    elif not math.isclose(value.number, median(value.samples), rel_tol=1e-9, abs_tol=0):
        yield f"its {name} is {value.number}, which is not the median of its samples ({_numbers(value.samples)})."


def of_commit(run: dict, repo: Path, **_: object) -> Iterator[str]:
    """What was installed is that commit's package."""
    commit, package = run["commit"], run["package"]
    try:
        digest, said = evidence.committed(repo, commit), git(repo, "show", f"{commit}:virnucpro/__init__.py")
    except GitFailed:
        yield f"this clone has no commit {commit[:8]}; run `git fetch --tags`."
        return
    if package.get("digest") != digest:
        yield f"the package that ran is not that of commit {commit[:8]}: its files have other contents."
    version = re.search(r"""^__version__ = ["'](.+)["']""", said, re.MULTILINE)
    versions = {package.get("version"), run["manifest"].get("virnucpro"), version and version[1]}
    if len({re.sub(r"[._-]?(dev)", r".\1", str(each)) for each in versions}) != 1:
        yield f"the version is one of {sorted(map(str, versions))}, by package, by manifest and by commit {commit[:8]}."


def of_workload(run: dict, repo: Path, workload: str, **_: object) -> Iterator[str]:
    """It is the workload's own input, by its sha256 and count."""
    pinned = workloads.WORKLOADS[INPUTS[workload]]
    wanted = {"name": INPUTS[workload], "sha256": pinned.sha256, "sequences": pinned.count}
    if run["workload"] != workload or run["input"] != wanted:
        yield f"its input is {run['input']}, and {workload} has {wanted}."
    if workload == "gpu-10k" and run["gpu"] is None:
        yield "it ran without a GPU."
    precision = run["manifest"].get("settings", {}).get("precision")
    release = next((each for each in read_releases(repo) if each.commit == run["commit"]), None)
    own = release.precision.lower() if release and workload == "gpu-10k" else str(precision)
    if str(precision).split()[0] != own.split()[0] or precision is None:  # "bf16 autocast"
        yield f"its precision is {precision}, and {release.tag if release else 'its own'} computes in {own}."


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
    if run["manifest"].get("status") != "complete":
        yield f"its manifest says {run['manifest'].get('status')!r}, not 'complete'."


def of_time(run: dict, repo: Path, **_: object) -> Iterator[str]:
    """Its seconds are those between begin and end, no less than the run itself accounts for, and after its commit."""
    passed, seconds = run["ended"] - run["begun"], run["seconds"]
    if not seconds > 0 or abs(passed - seconds) > SLACK:
        yield f"it took {seconds} s, and from begin to end {passed:.3f} s passed."
    for session in run["manifest"].get("sessions", [])[-1:]:
        own = sum(session.get("stage_seconds", {}).values())
        if not 0 < own <= seconds + SLACK:
            yield f"it took {seconds} s, and its own manifest accounts for {own:.1f} s."
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
    elif not (re.fullmatch("[0-9a-f]{40}", commit) and holds(repo, "cat-file", "-e", f"{commit}^{{commit}}")):
        yield f"it was measured by the benchmarks of {commit[:8]}, a commit that this clone does not have."


def of_machine(run: dict, facts: dict, **_: object) -> Iterator[str]:
    """One GPU of the kind that the machine is registered with, at its own power limit, and cool."""
    gpu = run["gpu"]
    if gpu is None:
        return
    if not str(facts.get("gpu", gpu["name"])).startswith(gpu["name"]):
        yield f"its GPU is {gpu['name']}, the machine's {facts['gpu']}."
    if gpu["gpus_used"] != 1:
        yield f"{gpu['gpus_used']} GPUs were in use; the claim is of one."
    if gpu["default_power_limit"] not in (None, gpu["power_limit"]):
        yield f"the GPU's power limit was {gpu['power_limit']} W; {gpu['default_power_limit']} W is its own."
    for name, share in gpu["slowed_by"].items():
        if name != "power_cap" and share > HELD_DOWN:
            yield f"the GPU's clock was held down ({name}) in {100 * share:.0f} % of the time."
    if run["load"] > run["machine"]["cpus"]:
        yield f"the load was {run['load']} on {run['machine']['cpus']} processors before it began."


def undisturbed(side: Side) -> Iterator[str]:
    """Nobody else was on the baseline's GPU. (On the candidate's it could only speak against the candidate.)"""
    for run in side.judged:
        gpu = run["gpu"]
        if gpu and (gpu["other_processes"] or gpu["memory_before"] > A_QUIET_GPU):
            others, held = gpu["other_processes"], gpu["memory_before"] / 2**30
            yield f"before the run of {moment(run)} {others} other processes and {held:.1f} GiB were on the GPU."


def in_asvs_record(sides: list[Side]) -> Iterator[str]:
    """Of one commit: the last run lies within the time that asv itself has for one of the benchmark's figures; it keeps
    no other."""
    runs = sorted((run for side in sides for run in side.runs), key=lambda run: run["begun"])
    if not runs:
        return
    last, prefix = runs[-1], f"{runs[-1]['benchmark']}."
    for file in sides[0].results.files:
        for key, row in file.rows.items():
            begun, took = (row.get("started_at") or 0) / 1000, row.get("duration") or 0
            if key.startswith(prefix) and begun - SLACK <= last["begun"] and last["ended"] <= begun + took + SLACK:
                return
    yield (
        f"the run of {moment(last)} ({last['seconds']} s) does not lie within the time that asv took for any figure of "
        f"{prefix[:-1]}."
    )


def rested(side: Side, sides: list[Side]) -> Iterator[str]:
    """A GPU has rested before each run."""
    runs = sorted((run for each in sides for run in each.judged if run["gpu"]), key=lambda run: run["begun"])
    for before, run in itertools.pairwise(runs):
        if run in side.judged and before["gpu"]["uuid"] == run["gpu"]["uuid"] and run["begun"] - before["ended"] < REST:
            yield f"the GPU had {run['begun'] - before['ended']:.0f} s of rest before the run of {moment(run)}, not 30."


def alike(sides: list[Side]) -> Iterator[str]:
    """Both sides had the same in all but the package; each release its own precision."""
    runs = [run for side in sides for run in side.judged]
    same = {
        "weights": lambda run: run["weights"],
        "input as the package read it": lambda run: run["manifest"].get("input", {}).get("sha256"),
        "names of the rows": lambda run: run["output"].get("names_sha256"),
        "Python": lambda run: run["machine"].get("python"),
        "packages": lambda run: run["machine"].get("packages"),
        "GPU": lambda run: run["gpu"] and [run["gpu"][name] for name in ("name", "driver", "power_limit")],
    }
    for name, what in same.items():
        found = {repr(what(run)) for run in runs}
        if len(found) > 1:
            yield f"The {name} differ between the runs: {' and '.join(sorted(found))}."
    clocks = [[run["gpu"]["sm_clock"] or 0 for run in side.judged if run["gpu"]] for side in sides]
    baseline = [clock for each in clocks[:-1] for clock in each]
    if baseline and clocks[-1] and min(baseline) < 0.95 * max(clocks[-1]):
        slow, fast = f"{min(baseline):.0f} MHz", f"{max(clocks[-1]):.0f}"
        yield f"The baseline's GPU ran at {slow}, the candidate's at {fast}: the baseline was slowed."


def errors(sides: list[Side], workload: str) -> Iterator[str]:
    """The candidate's error is under the bound, and no larger than the baseline's, or than rounding."""
    *before, after = sides
    most = max([ROUNDING, *(x for side in before for x in side.error.samples if math.isfinite(x))])
    bound = min(BOUNDS[workload], most)
    for x in after.error.samples:
        if not 0 <= x <= bound:
            yield f"{after.name}: its error is {x:.3g}; at most {bound:.3g} is allowed (the bound, or the baseline's)."


def architecture(repo: Path, commit: str) -> dict[str, str]:
    """Of the newest release in a commit's history, in words, with the commit's own name."""
    release, label = release_of(repo, commit)
    words = {word: getattr(release, word, "unknown") for word in ("architecture", "precision", "packing")}
    return {"version": label, "commit": commit, **words}


def moment(run: dict) -> str:
    from datetime import datetime, timezone

    return f"{datetime.fromtimestamp(run['begun'], timezone.utc):%Y-%m-%d %H:%M:%S}"


def _numbers(values) -> str:
    return ", ".join(f"{x:.6g}" if isinstance(x, (int, float)) else str(x) for x in values) or "none"
