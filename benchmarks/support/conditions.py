"""Conditions: what has to hold of a single run, by its evidence, before it counts.

Each yields a sentence for what does not hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from benchmarks import workloads
from benchmarks.releases import read_releases
from benchmarks.support import evidence
from benchmarks.support.claims import Claim
from benchmarks.support.git import GitFailed, git, holds, mentions, version_at

INPUTS = {  # by workload and kind
    "gpu-10k": {"proteins": "proteins-10k", "reads": "reads-10k", "contigs": "contigs-10k"},
    "cpu-small": {"proteins": "proteins-small"},
}
DNA = {"reads-10k": (10_000, 12_383), "contigs-10k": (1_522, 10_184)}  # its records, and open frames of all chunks
MODELS = {"gpu-10k": "esm2_t36_3B_UR50D", "cpu-small": "esm2_t6_8M_UR50D"}
SLACK = 2.0  # s by which times of two programs may differ: they are whole seconds, or a program's start lies between
CLOCKS = 0.1  # s by which two clocks of one program may differ over a run
IDLE = 2.0  # processes: the load that a run of this suite may leave behind for half a minute
HELD_DOWN = 0.05  # of the samples: a clock that is held down for longer, other than by the GPU's own power limit
OF_DNA = [  # its models' files, beside ESM-2's
    "500_model.pth", *(f"DNABERT-S/{name}" for name in (
        "config.json", "pytorch_model.bin", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json")),
]  # fmt: skip
SLOWED_BY = {"power_cap", "hardware", "heat", "clocks_setting"}


def of_run(run: dict, repo: Path, workload: str, facts: dict, asked: str, claim: Claim) -> Iterator[str]:
    """All that does not hold of it.

    Args:
        facts: machine.json. asked: The commit that it stands for, whose package is the same. claim: For which.
    """
    for condition in (of_commit, of_command, of_workload, complete, of_manifest, of_time, of_suite, of_machine):
        yield from condition(run, repo=repo, workload=workload, facts=facts, asked=asked, claim=claim)


def of_commit(run: dict, repo: Path, **_: object) -> Iterator[str]:
    """What was installed is that commit's package."""
    commit, package = run["commit"], run["package"]
    try:
        digest, version = evidence.committed(repo, commit), version_at(repo, commit)
    except GitFailed:
        yield f"this clone has no commit {commit[:8]}; run `git fetch --tags`."
        return
    tells = _tells(run, repo, "strangers", "support/evidence.py")
    if package.get("digest") != digest or package.get("strangers", None if tells else []) != []:
        yield f"the package that ran is not that of commit {commit[:8]}: its files have other contents."
    versions = {package.get("version"), run["manifest"].get("virnucpro"), version}
    if len({re.sub(r"[._-]?(dev)", r".\1", str(each)) for each in versions}) != 1:
        yield f"the version is one of {sorted(map(str, versions))}, by package, by manifest and by commit {commit[:8]}."


def of_command(run: dict, workload: str, claim: Claim, **_: object) -> Iterator[str]:
    """It is what the suite runs, no more and no less, and it ended well."""
    model, weights, precision = MODELS[workload], run["weights"].get("version"), _precision(run, claim)
    wanted = ["python", "-m", "virnucpro", "predict", _file(workload, claim), "--output-dir", "out"]
    wanted += ["--weights-dir", f"weights-v{weights}-{model}", "--esm-model", model, "--parallel", "--no-progress"]
    wanted += ["--gpus", "0"] if workload == "gpu-10k" else []
    wanted += ["--precision", precision] if precision else []
    wanted += ["--workers-per-gpu", "1"] if run["workers"] == "one" else []
    if run["command"] != wanted:
        yield f"its command was {' '.join(map(str, run['command']))}; {' '.join(wanted)} was expected."
    if run["exit_code"] != 0:
        yield f"its exit code was {run['exit_code']}."


def of_workload(run: dict, repo: Path, workload: str, asked: str, claim: Claim, **_: object) -> Iterator[str]:
    """It is the workload's own input, by its sha256 and count."""
    name = INPUTS[workload][claim.kind]
    pinned = workloads.WORKLOADS[name]
    wanted = {"name": name, "sha256": pinned.sha256, "sequences": pinned.count}
    if run["workload"] != workload or run["input"] != wanted:
        yield f"its input is {run['input']}, and {workload} has {wanted}."
    if workload == "gpu-10k" and run["gpu"] is None:
        yield "it ran without a GPU."
    settings = run["manifest"]["settings"]
    precision, model = str(settings.get("precision")), settings.get("esm_model")
    if not _has(settings, precision=str):
        yield f"its precision is {precision}: of no kind."
    if model != MODELS[workload]:
        yield f"its model is {model}, and {workload} has {MODELS[workload]}."
    release = next((each for each in read_releases(repo) if each.commit in (run["commit"], asked)), None)
    own = release.precision if release and workload == "gpu-10k" else precision
    whose = release.tag if release else "its own"
    if asked_for := _precision(run, claim):
        own, whose = asked_for, "the command that was asked for"
    if not _has(run["weights"], version=str, sha256=str):
        yield f"its weights are {run['weights']}: no version, or no sha256."
    if precision.lower().split()[:1] != own.lower().split()[:1]:  # "bf16 autocast"
        yield f"its precision is {precision}, and {whose} computes in {own.lower()}."


def complete(run: dict, repo: Path, workload: str, claim: Claim, **_: object) -> Iterator[str]:
    """Every record has its rows, every row is finite, and the run itself says that it is done."""
    (records, rows, fate), output = output_of(INPUTS[workload][claim.kind]), run["output"]
    for name, count in {"records": records, "frames": rows, "rows": rows}.items():
        if output.get(name) != count:
            yield f"its output has {output.get(name)} {name} of {count}."
    if output.get("fates") != {fate: records}:
        yield f"the fates of its records are {output.get('fates')}; all {records} were to be {fate}."
    if output.get("finite") is not True:
        yield "its output has numbers that are not finite."
    of_scores = claim.kind != "proteins"  # of which no two need differ
    least = None if not of_scores and _tells(run, repo, "distinct", "commands.py") else rows
    if output.get("distinct", least) != rows:
        yield f"its output has {output.get('distinct')} distinct rows of {rows}."
    if run["manifest"].get("status") != "complete":
        yield f"its manifest says {run['manifest'].get('status')!r}, not 'complete'."


def of_manifest(run: dict, workload: str, claim: Claim, **_: object) -> Iterator[str]:
    """What the run itself left says the same, as far as its version tells it."""
    manifest, (records, rows, _) = run["manifest"], output_of(INPUTS[workload][claim.kind])
    models = [*([] if claim.kind == "proteins" else OF_DNA), f"{MODELS[workload]}.pt"]
    counts, read, gpu = manifest.get("counts", {}), manifest["input"], run["gpu"]
    session = (manifest.get("sessions") or [{}])[-1]
    theirs = session.get("packages", {})
    packages = {name: found for name, found in run["machine"]["packages"].items() if name in theirs}
    told = {  # what is said there, and what it has to be
        "fates": (manifest.get("fates"), run["output"].get("fates")),
        "records": (read.get("records", read.get("reads")), records),
        "records counted": (counts.get("records"), records),
        "sequences": (counts.get("sequences"), rows),
        "failures": (counts.get("failed"), 0),
        "sequences computed": (manifest.get("performance", {}).get("sequences"), rows),
        "input": (read.get("files"), {_file(workload, claim): run["input"]["sha256"]}),
        "weights": (manifest.get("weights") and sorted(manifest["weights"]), sorted(models)),
        "device": (gpu and manifest.get("backends", {}).get("device"), gpu and gpu["name"]),
        "command": (session.get("command"), " ".join(["virnucpro", *map(str, run["command"][3:])])),
        "packages": ({name: theirs[name] for name in packages} or None, packages),
        "Python": (session.get("python"), run["machine"]["python"]),
        "intermediate files kept": (manifest.get("kept"), False),
    }
    for name, (found, wanted) in told.items():
        if found is not None and found != wanted:
            yield f"its own manifest has, for {name}, {found}; {wanted} was expected."


def of_time(run: dict, repo: Path, **_: object) -> Iterator[str]:
    """Its seconds are those between begin and end, no less than the run itself accounts for, and after its commit."""
    passed, seconds = run["ended"] - run["begun"], run["seconds"]
    if not seconds > 0 or abs(passed - seconds) > CLOCKS:
        yield f"it took {seconds} s, and from begin to end {passed:.3f} s passed."
    sessions = run["manifest"].get("sessions", [])
    stages = [took for session in sessions for took in session.get("stage_seconds", {}).values()]
    own, computing = sum(stages), run["manifest"].get("performance", {}).get("seconds", 0.0)
    tells = mentions(repo, "stage_seconds", run["commit"], "virnucpro")  # of a version that does
    if tells and (len(sessions) != 1 or not 0 < own <= seconds + SLACK or min(stages) < 0):
        yield f"it took {seconds} s, and its own manifest accounts for {own:.1f} s in {len(sessions)} sessions."
    if not computing <= seconds + SLACK:
        yield f"it took {seconds} s, and its own manifest counts {computing:.1f} s of computing."
    if any(session["finished"] < session["started"] for session in sessions):
        yield "its own manifest has an end before its begin."
    for name, moment in ((name, session[name]) for session in sessions for name in ("started", "finished")):
        if not run["begun"] - SLACK <= datetime.fromisoformat(moment).timestamp() <= run["ended"] + SLACK:
            yield f"its own manifest has {name} at {moment}, which is not between its begin and its end."
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
    else:
        there, told = f"{commit}:benchmarks", run["suite"].get("tree")
        tree = git(repo, "rev-parse", there) if holds(repo, "cat-file", "-e", there) else "nothing"
        if told != tree and (told is not None or _tells(run, repo, '"tree"', "support/evidence.py")):
            yield f"it was measured by benchmarks/ {str(told)[:8]}, and that of commit {commit[:8]} is {tree[:8]}."


def of_machine(run: dict, facts: dict, **_: object) -> Iterator[str]:
    """One GPU of the kind that the machine is registered with, at its own power limit, and cool."""
    gpu = run["gpu"]
    if gpu is None:
        return
    if not (gpu["name"] and gpu["uuid"] and str(facts.get("gpu")).partition(",")[0] == gpu["name"]):
        yield f"its GPU is {gpu['name']}, the machine's {facts.get('gpu')}."
    if gpu["gpus_used"] != 1:
        yield f"{gpu['gpus_used']} GPUs were in use; the claim is of one."
    limits = gpu["power_limit"], gpu["default_power_limit"]
    if limits[0] != limits[1]:  # both None: this GPU tells neither
        yield f"the GPU's power limit was {limits[0]} W; {limits[1]} W is its own."
    if not set(gpu["slowed_by"]) >= SLOWED_BY:
        yield f"it does not say why the GPU's clock was held down: {', '.join(SLOWED_BY - set(gpu['slowed_by']))}."
    for name, share in gpu["slowed_by"].items():
        if name != "power_cap" and not share <= HELD_DOWN:
            yield f"the GPU's clock was held down ({name}) in {100 * share:.0f} % of the time."
        if not 0 <= share <= 1:
            yield f"the GPU's clock was held down ({name}) in {100 * share:.0f} % of the time: no share of it."
    if not _has(gpu, driver=str, memory_before=int, other_processes=int):
        yield "it does not say which driver the GPU has, or what was on it before."
    if not (_has(run["machine"], boot=str, python=str) and _has(run["machine"]["packages"], torch=str, numpy=str)):
        yield "it does not say which start of the machine, which Python or which torch and numpy it was."
    if not 0 <= run["load"] <= max(IDLE, run["machine"]["cpus"] / 4):
        yield f"the load was {run['load']} on {run['machine']['cpus']} processors before it began."


def output_of(name: str) -> tuple[int, int, str]:
    """What an input has to become: records, rows, and the fate of every record."""
    count = workloads.WORKLOADS[name].count
    return (*DNA[name], "scored") if name in DNA else (count, count, "embedded")


def _precision(run: dict, claim: Claim) -> str:
    """The precision that it was to be asked for by name."""
    return claim.precision if run["benchmark"] == claim.benchmark else ""


def _file(workload: str, claim: Claim) -> str:
    return f"{INPUTS[workload][claim.kind]}.{'faa' if claim.kind == 'proteins' else 'fa'}"


def _tells(run: dict, repo: Path, name: str, module: str) -> bool:
    """Whether the benchmarks that measured it write that name; those of a commit that nobody has do not: `of_suite`."""
    commit = str(run["suite"].get("commit"))
    return holds(repo, "cat-file", "-e", f"{commit}:benchmarks/{module}") and mentions(
        repo, name, commit, f"benchmarks/{module}"
    )


def _has(values: dict, **kinds: type) -> bool:
    """Whether each of these is there, is of that type, and says something."""
    return all(type(values.get(name)) is kind and values[name] != "" for name, kind in kinds.items())
