"""Evidence: what a run of a command was, kept beside the figure that comes from it; one JSON file for each run.

results/MACHINE/evidence/COMMIT-BENCHMARK-WORKLOAD-WORKERS-TIME.jsonl, of one line: asv takes every .json in that folder
for results. The asv plugin `run_choice` names the folder in `FOLDER`; where nobody does, nothing is kept, and such a
figure is never judged. `benchmarks.support.validity` says what of it has to agree with what.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
from datetime import datetime, timezone
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from benchmarks.releases import ROOT
from benchmarks.support.git import GitFailed, NoGit, git
from benchmarks.support.results import BadResults, once, shown, text_of

FOLDER = "VIRNUCPRO_BENCH_EVIDENCE"
FORMAT = 1
LATEST = 4_102_444_800  # s since 1970: the year 2100
DIGITS = 18  # of a whole number, at most
LARGEST = 2**20  # bytes of a file; those of this suite have 6 kB
SETTINGS = (  # variables that decide about speed
    "ATEN_", "CUDA_", "DNNL_", "KMP_", "MKL_", "NVIDIA_", "OMP_", "ONEDNN_", "PYTORCH_", "TORCH_", "TRITON_",
)  # fmt: skip
BOOT = Path("/proc/sys/kernel/random/boot_id")
_FOLDERS = re.compile(r"(?<![\w.:/])(?:/[\w.+~@:-]+)+/(?=[\w.+~@-])")  # of an absolute path: all but its last name


def keep(benchmark: str, workload: str, workers: str, found: dict) -> None:
    """Write what is `found` of a run, and what is known of this process' surroundings; nothing outside asv.

    Args:
        benchmark: Module and class. found: What `benchmarks.commands` knows: the rest of the document.
    """
    folder, commit = os.environ.get(FOLDER), os.environ.get("ASV_COMMIT")
    if not (folder and commit):
        return  # not by asv, or of no commit: `asv run --python=same` stores no figure, either
    document = {"format": FORMAT, "benchmark": benchmark, "workload": workload, "workers": workers}
    document |= {"commit": commit, "environment": os.environ.get("ASV_ENV_NAME")}
    document |= {"package": installed(), "suite": suite(), "machine": machine(), **found}
    document = without_places(document)
    moment = datetime.fromtimestamp(found["begun"], timezone.utc)
    kind = benchmark.split(".")[-1]
    path = Path(folder, f"{commit[:8]}-{kind}-{workload}-{workers}-{moment:%Y%m%dT%H%M%S}.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".new")
    unfinished.write_text(line(document), encoding="utf-8")
    os.replace(unfinished, path)


def line(document: dict) -> str:
    """The text of a file of evidence."""
    return json.dumps(document) + "\n"


def without_places(value: object) -> object:
    """The same without the folders of absolute paths: where a machine keeps its files is nobody's business."""
    if isinstance(value, str):
        return _FOLDERS.sub("", value)
    if isinstance(value, dict):
        return {without_places(key): without_places(each) for key, each in value.items()}
    return [without_places(each) for each in value] if isinstance(value, list) else value


def installed() -> dict[str, object]:
    """Version and digest of the package that is measured, and compiled files that Python would take for its modules."""
    (place,) = find_spec("virnucpro").submodule_search_locations
    files = [path for path in Path(place).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    strangers = [path.name for path in files if path.suffix in (".so", ".pyc", ".pyd", ".pth")]
    strangers += [path.name for path in Path(place).rglob("__pycache__/*.pyc") if not _follows_its_source(path)]
    blobs = {}
    for path in (path for path in files if path.suffix == ".py"):
        content = path.read_bytes()
        name = f"virnucpro/{path.relative_to(place).as_posix()}"
        blobs[name] = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return {"version": metadata.version("virnucpro"), "digest": _digest(blobs), "strangers": sorted(strangers)}


def _follows_its_source(compiled: Path) -> bool:
    """Whether Python compares a compiled file with its source before it takes it (PEP 552)."""
    with open(compiled, "rb") as file:
        flags = int.from_bytes(file.read(8)[4:], "little")
    return flags in (0, 3)  # by time, or by hash that is checked


def committed(repo: Path, commit: str) -> str:
    """The digest that the package has as of a commit.

    Raises:
        benchmarks.support.git.GitFailed: git knows no such commit.
    """
    blobs = {}
    for line in git(repo, "ls-tree", "-r", commit, "--", "virnucpro").splitlines():
        facts, name = line.split("\t", 1)
        if name.endswith(".py"):
            blobs[name] = facts.split()[2]
    return _digest(blobs)


def _digest(blobs: dict[str, str]) -> str:
    """sha256 of the names of all Python files with git's names for their contents."""
    return hashlib.sha256("".join(f"{blobs[name]} {name}\n" for name in sorted(blobs)).encode()).hexdigest()


def suite() -> dict[str, object]:
    """The commit of this suite, git's name for what is in benchmarks/, and whether the files there are that commit's;
    None where git cannot tell."""
    try:
        changes = git(ROOT, "status", "--porcelain", "--", "benchmarks", "asv.conf.json")
        tree = git(ROOT, "rev-parse", "HEAD:benchmarks")
        return {"commit": git(ROOT, "rev-parse", "HEAD"), "tree": tree, "clean": not changes}
    except (GitFailed, NoGit):
        return {"commit": None, "tree": None, "clean": None}


def machine() -> dict[str, object]:
    """What decides about speed beside the GPU, and which start of the machine this is."""
    packages = {name: _version(name) for name in ("torch", "numpy", "triton", "fair-esm")}
    return {
        "boot": BOOT.read_text().strip() if BOOT.exists() else None,
        "cpus": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "packages": packages,
        "gpu_settings": {name: value for name, value in os.environ.items() if name.startswith(SETTINGS)},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def load(folder: Path) -> list[dict]:
    """All evidence of a machine, oldest run first; none if it has no such folder.

    Raises:
        benchmarks.support.results.BadResults: A file is not what `keep` writes.
    """
    if (folder / "evidence").is_symlink():
        raise BadResults(f"{folder / 'evidence'} is a link, perhaps to another machine's: put the files there.")
    return sorted(map(read, sorted(folder.glob("evidence/*.jsonl"))), key=lambda document: document["begun"])


def read(path: Path) -> dict:
    """The evidence of one run. Raises benchmarks.support.results.BadResults: it is not what `keep` writes."""
    try:
        document = json.loads(
            text_of(path, LARGEST), parse_constant=_no_number, parse_int=_whole, parse_float=_finite,
            object_pairs_hook=once,
        )  # fmt: skip
        _check(document)
        if not path.name.startswith(f"{document['commit'][:8]}-"):
            raise ValueError(f"of commit {shown(document['commit'])}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        what = f"{type(error).__name__}: {error}"
        raise BadResults(f"{path} ({what}): not evidence of a run. Restore it, or measure again.") from error
    return document


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is no number that is finite")
    return number


def _whole(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def moment(run: dict) -> str:
    return f"{datetime.fromtimestamp(run['begun'], timezone.utc):%Y-%m-%d %H:%M:%S}"


# What a document has, and of which type; None may stand for what a machine cannot tell, but for the numbers.
_TYPES = {
    "benchmark": str, "workload": str, "workers": str, "commit": str, "environment": str, "package": dict,
    "suite": dict, "machine": dict, "command": list, "input": dict, "weights": dict, "output": dict, "manifest": dict,
    "version": str, "exit_code": int, "seconds": float, "begun": float, "ended": float, "load": float, "error": float,
}  # fmt: skip


def _check(document: dict) -> None:
    """Raises KeyError, TypeError or ValueError unless the document has the entries of `_TYPES`."""
    if type(document["format"]) is not int or document["format"] != FORMAT:
        raise ValueError(f"format {document['format']}, not {FORMAT}")
    for name, kind in _TYPES.items():
        if type(document[name]) is not kind:
            raise TypeError(f"{name} is of type {type(document[name]).__name__}, not {kind.__name__}")
    if not 0 < document["begun"] <= document["ended"] < LATEST:
        raise ValueError(f"it began at {document['begun']} and ended at {document['ended']}")
    if not (document["gpu"] is None or isinstance(document["gpu"], dict)):
        raise TypeError("gpu is neither null nor an object")
    for name in ("host_memory", "gpu_memory"):
        if type(document.get(name)) not in (int, float, type(None)):
            raise TypeError(f"{name} is neither null nor a number")
