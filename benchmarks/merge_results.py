"""Merge results: put what came back from another machine into results/, beside what is there.

    python -m benchmarks.merge_results DIR [--into results]

DIR holds machine.json, benchmarks.json, asv's result files and evidence/, as run.py of the bundle leaves them. Every
sample is kept: those of both sides together are the result. Of figures without samples the later counts.
All is read, checked and on the disk before the first file takes its name, and nothing is written beside `--into` and
its folder for that machine. Exit codes: 0 merged, 1 refused and nothing written, 2 bad command line.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from benchmarks.offline.samples import by_evidence, later, per_parameter
from benchmarks.support import evidence
from benchmarks.support.output import outlive_readers, whole_file
from benchmarks.support.results import BadResults, rows_of, shown

MACHINE, BENCHMARKS = "machine.json", "benchmarks.json"
VERSIONS = {MACHINE: 1, BENCHMARKS: 2}  # of asv's formats; of a result file:
RESULTS_VERSION = 2
SAME = ("commit_hash", "env_name", "params", "requirements", "python", "env_vars", "result_columns")
LARGEST = 64 * 2**20  # bytes of a file; the largest that asv has written for this suite has 20 kB


class CannotMerge(Exception):
    """What was found, and what to do."""


def merge(source: Path, into: Path) -> list[Path]:
    """Merge the folder `source` into `into`/<machine>, the definitions of the benchmarks into `into`.

    Returns:
        The files written.
    Raises:
        CannotMerge: A file is not asv's, the results are of two machines, or they cannot be written.
    """
    machine = read(source / MACHINE)
    name = machine["machine"]
    paths = [path for path in sorted(source.glob("*.json")) if path.name not in VERSIONS]
    if not paths:
        raise CannotMerge(f"{source} has no results. Take the folder that run.py wrote for --output.")
    folder = into / name
    for place in (folder, folder / "evidence"):
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            raise CannotMerge(f"{place} is no folder of its own, and nothing is written elsewhere. Move it away.")
    if (folder / MACHINE).exists():
        require_same(read(folder / MACHINE), machine, sorted({*machine, *read(folder / MACHINE)}), folder / MACHINE)
    # Sorted and indented, or compact, as asv writes them: a later `asv run` changes no line that it need not.
    texts = {folder / MACHINE: json.dumps(machine, indent=4, sort_keys=True)}
    definitions = read(source / BENCHMARKS)
    if (into / BENCHMARKS).exists():
        definitions = read(into / BENCHMARKS) | definitions
    texts[into / BENCHMARKS] = json.dumps(definitions, indent=4, sort_keys=True)
    contents: dict[Path, dict] = {}
    for path in paths:
        new = read(path)
        if new["params"]["machine"] != name:
            raise CannotMerge(f"{path} is of machine {shown(new['params']['machine'])}, {MACHINE} beside it of {name}.")
        old = folder / path.name
        with refusing(path):
            contents[old] = union(read(old), new, old) if old.exists() else new
    for path in sorted(source.glob("evidence/*.jsonl")):
        texts[folder / "evidence" / path.name] = kept_evidence(path, folder / "evidence" / path.name)
    known = {path.name: path for path in (folder / "evidence").glob("*.jsonl")}
    documents = [json.loads(text) for path, text in texts.items() if path.parent.name == "evidence"]
    documents += [evidence.read(path) for name, path in known.items() if folder / "evidence" / name not in texts]
    documents.sort(key=lambda document: document["begun"])
    for path, content in contents.items():
        with refusing(source / path.name):
            texts[path] = json.dumps(by_evidence(content, documents))
    write(folder, texts)
    return list(texts)


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Raises CannotMerge where something within it finds that the file is not what this suite writes."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        what = f"{type(error).__name__}: {error}"
        raise CannotMerge(f"{path} ({what}): no figures of runs. Restore it, or measure again.") from error


def kept_evidence(path: Path, place: Path) -> str:
    """The text of a run's evidence. Raises CannotMerge: it is none, or another is at its place already."""
    try:
        text = evidence.line(evidence.read(path))
    except BadResults as error:
        raise CannotMerge(str(error)) from error
    if not re.fullmatch(r"\w[\w.-]*\.jsonl", path.name, re.ASCII):
        raise CannotMerge(f"{shown(path.name)} cannot be the name of a run's evidence.")
    if place.exists() and place.read_text(encoding="utf-8") != text:
        raise CannotMerge(f"{place} is there, and is of another run than {path}. Evidence is never replaced.")
    return text


def write(folder: Path, texts: dict[Path, str]) -> None:
    """Write all files or none."""
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            for path, text in texts.items():
                path.parent.mkdir(exist_ok=True)
                if path.exists() and not path.is_file():
                    raise CannotMerge(f"{path} is no regular file. Move it away.")
                file = stack.enter_context(whole_file(path))
                file.write(text)
                file.flush()
                os.fsync(file.fileno())  # a disk that is full says so here, before the first takes its name
    except (OSError, CannotMerge) as error:
        if is_new:
            for place in (folder / "evidence", folder):
                with suppress(OSError):
                    place.rmdir()
        if isinstance(error, CannotMerge):
            raise
        raise CannotMerge(f"{error.filename or folder} cannot be written: {error.strerror}.") from error


def read(path: Path) -> dict:
    """One of asv's files.

    Raises:
        CannotMerge: It is not there, not JSON, of another version, or not what asv writes.
    """
    wanted = VERSIONS.get(path.name, RESULTS_VERSION)
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no regular file")
        if (size := path.stat().st_size) > LARGEST:
            raise ValueError(f"it has {size:,} bytes; at most {LARGEST:,} are read")
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content["version"]
        if found == wanted:
            check(content, path.name)
    except KeyError as error:
        raise CannotMerge(f"{path} is not a file of asv: it has no entry {error}.") from error
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CannotMerge(f"{path} is not a file of asv: {error}.") from error
    if found != wanted:
        raise CannotMerge(f"{path} has version {shown(found)}, and asv 0.6.6 writes {wanted}. Use that asv.")
    return content


def check(content: dict, name: str) -> None:
    """Raises KeyError, TypeError, ValueError or AttributeError unless it is what asv writes to a file of that name."""
    if name == MACHINE:
        # A folder's name, and no way out of it.
        if not isinstance(content["machine"], str) or not re.fullmatch(r"\w[\w.-]*", content["machine"], re.ASCII):
            raise ValueError(f"its machine is {shown(content['machine'])}, which cannot be the name of a folder")
    elif name == BENCHMARKS:
        if odd := [key for key, value in content.items() if key != "version" and not isinstance(value, dict)]:
            raise TypeError(f"{shown(odd[0])} is no description of a benchmark")
    else:
        rows = rows_of(content)
        if missing := [key for key in (*SAME, "durations") if key not in content]:
            raise KeyError(missing[0])
        content["params"]["machine"]
        content["durations"].items()
        for row in rows.values():
            per_parameter(row)
        if name != (wanted := f"{content['commit_hash'][:8]}-{content['env_name']}.json"):
            raise ValueError(f"by its commit and environment its name is {shown(wanted)}")


def require_same(old: dict, new: dict, keys: list[str] | tuple[str, ...], path: Path) -> None:
    differing = [
        f"{key} is {shown(old.get(key))} there, {shown(new.get(key))} here"
        for key in keys
        if old.get(key) != new.get(key)
    ]
    if differing:
        raise CannotMerge(
            f"These results are of something else than {path}: {'; '.join(differing)}. "
            "Measure again under another --machine."
        )


def union(old: dict, new: dict, path: Path) -> dict:
    """Two files of one commit and environment in one: every benchmark of either."""
    require_same(old, new, SAME, path)
    columns = new["result_columns"]
    rows = dict(old["results"])
    for name, row in new["results"].items():
        rows[name] = later(dict(zip(columns, rows[name])), dict(zip(columns, row)), columns) if name in rows else row
    return {**old, "results": rows, "durations": {**old["durations"], **new["durations"]}}


def main(argv: list[str] | None = None) -> int:
    words = "Unite results that were measured elsewhere with those here."
    parser = argparse.ArgumentParser(prog="python -m benchmarks.merge_results", description=words)
    parser.add_argument("source", type=Path, metavar="DIR", help="the folder that came back")
    parser.add_argument("--into", type=Path, default=Path("results"), help="asv's results_dir (results)")
    args = parser.parse_args(argv)
    try:
        written = merge(args.source, args.into)
    except CannotMerge as error:
        print(f"merge_results: {error}", file=sys.stderr)
        return 1
    print("".join(f"{path}\n" for path in written), end="")
    return 0


if __name__ == "__main__":
    outlive_readers()
    sys.exit(main())
