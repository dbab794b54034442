"""A toy of this repository for asv: two tagged releases and a commit after them, our plugins, and results."""

from __future__ import annotations

import itertools
import json
import math
import shutil
import statistics
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

from surroundings import HANG

from benchmarks import workloads
from benchmarks.ablation import STEPS
from benchmarks.support import conditions, evidence

ROOT = Path(__file__).parent.parent
WORKLOADS, WORKERS = ["gpu-10k", "cpu-small"], ["default", "one"]
ENV = "virtualenv-py3.11-torch2.13.0"
COMMANDS = ("EmbedProteins", "PredictReads", "PredictContigs")
UNITS = {
    "wall_seconds": "s", "gpu_memory": "bytes", "host_memory": "bytes", "error": "error",
}  # fmt: skip
OF_INT8 = [["gpu-10k"], ["default"]]
BENCHMARKS = {f"commands.{c}.track_{x}": ([WORKLOADS, WORKERS], UNITS[x]) for c in COMMANDS for x in UNITS} | {
    **{f"commands.{c}Int8.track_{x}": (OF_INT8, UNITS[x]) for c in COMMANDS for x in UNITS},
    "ablation.Ablation.track_seconds_per_10k": ([WORKLOADS, list(STEPS)], "s"),
    "peers.Peers.track_seconds_per_10k": ([WORKLOADS, ["fair-esm", "transformers"]], "s"),
    "steady.SteadyState.track_seconds_per_10k": ([WORKLOADS], "s"),
    **{
        f"steady.Steady{name}.track_{figure}": ([["gpu-10k"], ["proteins", "frames"]], unit)
        for name in ("Fp16", "Int8")
        for figure, unit in (("seconds_per_10k", "s"), ("floor_seconds_per_10k", "s"), ("joules_per_10k", "J"))
    },
    "start_up.Help.track_seconds": ([], "s"),
    **{
        f"accuracy.Accuracy.track_{figure}": ([WORKLOADS], unit)
        for figure, unit in (("auroc", "AUROC"), ("agreement", "%"))
    },
    **{
        f"accuracy.AccuracyInt8.track_{figure}": ([["gpu-10k"]], unit)
        for figure, unit in (("auroc", "AUROC"), ("agreement", "%"))
    },
}
GPU = {  # of a release: seconds of the three commands; then what only v2.0 has
    "v1.0": {"EmbedProteins": 230.2, "PredictReads": 69.3, "PredictContigs": 61.0},
    "v2.0": {"EmbedProteins": 29.0, "PredictReads": 18.2, "PredictContigs": 24.0},
}
CPU = {
    "v1.0": {"EmbedProteins": 61.5, "PredictReads": 20.5, "PredictContigs": 22.0},
    "v2.0": {"EmbedProteins": 18.4, "PredictReads": 14.2, "PredictContigs": 15.1},
}
AS_ACCURATE = {  # of every commit, unless a test says otherwise
    (f"accuracy.{name}.track_{figure}", workload): value
    for name, workloads_ in (("Accuracy", WORKLOADS), ("AccuracyInt8", ["gpu-10k"]))
    for workload in workloads_
    for figure, value in (("auroc", [0.85]), ("agreement", [100.0]))
}
BEGUN = 1_900_000_000.0  # when the first run begins, in 2030: after all commits here were made
REST = 30.0  # s between two runs
STEP_SECONDS = [310.0, 203.9, 161.0, 31.4, 24.3, 19.6, 19.9, 98.0]  # of STEPS, in their order


def git(folder: Path, *arguments: str) -> str:
    names = ["-c", "user.name=toy", "-c", "user.email=toy@localhost", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", folder, *names, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def make(folder: Path) -> dict[str, str]:
    """The repository with benchmarks/ and asv.conf.json of this one; its commits: v1.0, v2.0 and HEAD."""
    git(folder.parent, "init", "--quiet", "--initial-branch=main", str(folder))
    commits = {}
    for name, version in (("v1.0", "1.0.0"), ("v2.0", "2.0.0"), ("HEAD", "2.0.0")):
        (folder / "virnucpro").mkdir(exist_ok=True)
        (folder / "virnucpro" / "__init__.py").write_text(f'__version__ = "{version}"  # {name}\n', encoding="utf-8")
        (folder / "setup.py").write_text("# builds virnucpro\n", encoding="utf-8")
        (folder / "README.md").write_text("A toy.\n", encoding="utf-8")
        git(folder, "add", "virnucpro", "setup.py", "README.md")
        git(folder, "commit", "--quiet", "--message", name)
        commits[name] = git(folder, "rev-parse", "HEAD")
        if name != "HEAD":
            git(folder, "tag", name)
    unwanted = shutil.ignore_patterns("__pycache__", "data")
    shutil.copytree(ROOT / "benchmarks", folder / "benchmarks", ignore=unwanted)
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    shutil.copy(ROOT / "asv.conf.json", folder)
    rows = [
        f'[[release]]\ntag = "{tag}"\nversion = "{tag[1:]}.0"\ncommit = "{commits[tag]}"\n'
        'architecture = "a"\nprecision = "p"\npacking = "k"\n'
        for tag in ("v1.0", "v2.0")
    ]
    (folder / "benchmarks" / "releases.toml").write_text("\n".join(rows), encoding="utf-8")
    definitions = {
        key: {"name": key, "unit": unit, "version": "1", "code": "", "type": "track", "timeout": 60,
              "params": reprs(params), "param_names": ["workload", "choice"][: len(params)]}
        for key, (params, unit) in BENCHMARKS.items()
    }  # fmt: skip
    write(folder / "results" / "benchmarks.json", {**definitions, "version": 2})
    return commits


def results(
    folder: Path, machine: str, commit: str, values: dict[tuple[str, ...], float | list[float]],
    last: dict[str, tuple[float, float]] | None = None,
) -> None:  # fmt: skip
    """Store figures, by benchmark and parameters; all others were skipped.

    Args:
        values: A figure, or its samples. last: when the last run of a benchmark began, and how long asv took for it.
    """
    facts = {"machine": machine, "os": "Linux", "arch": "x86_64", "cpu": "a CPU", "num_cpu": "2", "ram": "8589934592"}
    facts["gpu"] = "NVIDIA H100, driver 580"
    write(folder / "results" / machine / "machine.json", {**facts, "version": 1})
    rows, values = {}, {**AS_ACCURATE, **values}
    for key, (params, _) in BENCHMARKS.items():
        found = [values.get((key, *each), math.nan) for each in itertools.product(*params)]
        samples = [value if isinstance(value, list) else None for value in found]
        medians = [statistics.median(value) if isinstance(value, list) else value for value in found]
        begun, took = (last or {}).get(key.rsplit(".", 1)[0], (BEGUN - 172_800, 60.0))  # the rest two days before
        rows[key] = [medians, reprs(params), "1", int(1000 * begun), took, samples]
    date = 1000 * int(git(folder, "show", "--no-patch", "--format=%ct", commit))
    environment = {"python": "3.11", "requirements": {"torch": "2.13.0"}, "env_vars": {}, "durations": {}}
    whole = {"commit_hash": commit, "env_name": ENV, "date": date, "results": rows, "version": 2, **environment}
    whole["params"] = {**facts, "python": "3.11", "torch": "2.13.0"}
    whole["result_columns"] = ["result", "params", "version", "started_at", "duration", "samples"]
    write(folder / "results" / machine / f"{commit[:8]}-{ENV}.json", whole)


def turns(
    folder: Path,
    machine: str,
    runs: list[tuple],
    workload: str = "gpu-10k",
    begun: float = BEGUN,
    more: dict[str, dict] | None = None,
) -> list[dict]:
    """Store runs of commits in turn, as asv and the suite do it: their figures and evidence; returns the evidence.

    Args:
        runs: commit, workers and seconds of each, and its command if it is not EmbedProteins. begun: of the first.
        more: commit -> its other figures.
    """
    documents, now = [], begun
    for commit, workers, seconds, *command in runs:
        documents.append(run(folder, commit, workers, seconds, workload, now, *command))
        now += seconds + REST
    for document in documents:
        moment = f"{document['commit'][:8]}-{document['workers']}-{document['begun']:.0f}"
        write(folder / "results" / machine / "evidence" / f"{moment}.jsonl", document)
    store(folder, machine, documents, more or {})
    return documents


def store(folder: Path, machine: str, documents: list[dict], more: dict[str, dict]) -> None:
    """asv's own files for runs whose evidence this is."""
    for commit in dict.fromkeys(document["commit"] for document in documents):
        mine = [document for document in documents if document["commit"] == commit]
        values: dict[tuple[str, ...], list[float]] = dict(more.get(commit, {}))
        for document in mine:
            for figure, name in (("wall_seconds", "seconds"), ("error", "error")):
                key = f"{document['benchmark']}.track_{figure}", document["workload"], document["workers"]
                values[key] = [*(found if isinstance(found := values.get(key), list) else []), document[name]]
        results(folder, machine, commit, values, {run["benchmark"]: (run["begun"], run["seconds"]) for run in mine})


def run(
    folder: Path, commit: str, workers: str, seconds: float, workload: str, begun: float, name: str = "EmbedProteins"
) -> dict:
    """Evidence of a run as the suite leaves it; all that is checked is as it has to be."""
    int8 = name.endswith("Int8")
    precision = "int8" if int8 else {"gpu-10k": "p", "cpu-small": "fp32"}[workload]
    of = {"EmbedProteins": "proteins", "PredictReads": "reads", "PredictContigs": "contigs"}[name.removesuffix("Int8")]
    kind = conditions.INPUTS[workload][of]
    pinned, on_gpu = workloads.WORKLOADS[kind], workload == "gpu-10k"
    records, rows, fate = conditions.output_of(kind)
    version = git(folder, "show", f"{commit}:virnucpro/__init__.py").split('"')[1]
    gpu = {
        "name": "NVIDIA H100", "uuid": "GPU-1", "driver": "580.1", "power_limit": 700.0, "default_power_limit": 700.0,
        "start_temperature": 35, "hottest": 60, "sm_clock": 1980.0 if version == "1.0.0" else 1400.0,
        "slowed_by": {"clocks_setting": 0.0, "power_cap": 0.9, "hardware": 0.0, "heat": 0.0}, "other_processes": 0,
        "memory_before": 2**29, "gpus_used": 1,
    }  # fmt: skip
    return {
        "format": 1, "benchmark": f"commands.{name}", "version": "1", "workload": workload, "workers": workers,
        "commit": commit, "environment": ENV,
        "package": {"version": version, "digest": evidence.committed(folder, commit)},
        "suite": {"commit": git(folder, "rev-parse", "HEAD"), "clean": True},
        "machine": {"boot": "one", "cpus": 16, "python": "3.11.7", "packages": {"torch": "2.13.0", "numpy": "2.4.6"}},
        "seconds": seconds, "begun": begun, "ended": begun + seconds, "load": 0.5,
        "error": 0.02 if int8 else 4e-7,
        "command": command(kind, workload, workers, "int8" * int8), "exit_code": 0, "gpu": gpu if on_gpu else None,
        "input": {"name": kind, "sha256": pinned.sha256, "sequences": pinned.count},
        "weights": {"version": "1", "sha256": "3" * 64},
        "output": {
            "records": records, "frames": rows, "rows": rows, "finite": True, "fates": {fate: records},
            "names_sha256": "4" * 64, **({"distinct": rows} if of == "proteins" else {}),
        },
        "manifest": {
            "virnucpro": version, "status": "complete", "input": {"sha256": "5" * 64},
            "settings": {"precision": precision, "esm_model": conditions.MODELS[workload]},
            "sessions": [
                {
                    "started": said(begun), "finished": said(begun + seconds),
                    "stage_seconds": {"computing": 0.9 * seconds},
                }
            ],
        },
    }  # fmt: skip


def said(moment: float) -> str:
    """A moment as the manifest has it."""
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="seconds")


def command(kind: str, workload: str, workers: str, precision: str = "") -> list[str]:
    """What the suite runs on a workload."""
    model = conditions.MODELS[workload]
    suffix = "faa" if kind.startswith("proteins") else "fa"
    words = f"python -m virnucpro predict {kind}.{suffix} --output-dir out --weights-dir weights-v1-{model}"
    words += f" --esm-model {model} --parallel --no-progress"
    words += " --gpus 0" * (workload == "gpu-10k") + f" --precision {precision}" * bool(precision)
    words += " --workers-per-gpu 1" * (workers == "one")
    return words.split()


def figures(seconds: dict[str, float], workload: str, newest: bool) -> dict[tuple[str, ...], float]:
    """What a machine measures of a release, given the seconds of its commands."""
    found = {("start_up.Help.track_seconds",): 0.42 if newest else 0.21}  # a regression
    for command, wall in seconds.items():
        for workers in WORKERS if workload == "gpu-10k" else ["default"]:
            more = {
                "wall_seconds": wall,
                "host_memory": 6.3e9,
                "error": 1.5e-5,
            }
            if workload == "gpu-10k":
                more["gpu_memory"] = 2.4e10
            found |= {(f"commands.{command}.track_{x}", workload, workers): value for x, value in more.items()}
    if newest:
        for step, value in zip(STEPS, STEP_SECONDS, strict=True):
            if workload == "gpu-10k" or step.endswith("fp32"):
                found["ablation.Ablation.track_seconds_per_10k", workload, step] = value
        found["steady.SteadyState.track_seconds_per_10k", workload] = 19.7
        found["peers.Peers.track_seconds_per_10k", workload, "fair-esm"] = 88.0
    return found


def asv(folder: Path, *arguments: str, home: Path) -> subprocess.CompletedProcess:
    """Run it there; `home` is where it keeps what machine this is."""
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "asv", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=HANG)


def reprs(params: list[list[str]]) -> list[list[str]]:
    """Parameters as asv stores them."""
    return [[repr(value) for value in each] for each in params]


def write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
