"""Bundle: one folder that carries the suite to a machine without network: the history, wheels and the run script.

    python -m benchmarks.bundle [--output .bundle] [--python 3.12]

The machine is Linux on x86-64 and has git and a Python with torch. Exit codes: 0 packed, 1 could not be packed,
2 bad command line.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from benchmarks.support.git import surroundings
from benchmarks.support.output import outlive_readers

ROOT = Path(__file__).parent.parent
CONSTRAINTS = ROOT / ".ci" / "constraints.txt"
LIMIT = 64 * 2**20  # bytes
# What asv and virnucpro need beside what a machine with torch and transformers has; never torch itself.
WHEELS = (
    "asv", "asv_runner", "virtualenv", "build", "distlib", "filelock", "importlib-metadata", "json5", "lazy-importer",
    "packaging", "platformdirs", "Pympler", "pyproject_hooks", "python-discovery", "PyYAML", "setuptools", "tabulate",
    "wheel", "zipp", "dnaio", "xopen", "isal", "zlib-ng", "fair-esm",
    "backports.zstd; python_version < '3.14'", "tomli; python_version < '3.11'",
)  # fmt: skip
# pip takes each literally, older ones included.
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux_2_17", "manylinux2014", "manylinux1")


class CannotPack(Exception):
    """What was found, and what to do."""


def pack(root: Path, output: Path, python: str = "3.12", wheels: Iterable[str] = WHEELS) -> int:
    """Fill the folder `output` from the repository at `root`; wheels of an earlier call are kept if they are right.

    Returns:
        Its size in bytes.
    Raises:
        CannotPack: No release tags, a wheel is not to be had, or too large. OSError: It cannot be written.
    """
    output.mkdir(parents=True, exist_ok=True)
    _write_history(root, output / "history.bundle")
    _download(pinned(wheels, CONSTRAINTS.read_text(encoding="utf-8"), python), python, output / "wheels")
    script = output / "run.py.new"
    shutil.copyfile(Path(__file__).parent / "offline" / "run.py", script)
    os.replace(script, output / "run.py")
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    if size > LIMIT:
        raise CannotPack(f"{output} is {size / 2**20:.1f} MiB, at most {LIMIT / 2**20:.0f} may be. Pack fewer wheels.")
    return size


def _write_history(root: Path, path: Path) -> None:
    if not _run(["git", "-C", root, "tag", "--list", "v*"]):
        raise CannotPack(f"{root} has no tag v*, and the releases are what is measured. Make their tags first.")
    unfinished = path.with_suffix(".new").absolute()
    _run(["git", "-C", root, "bundle", "create", "--quiet", unfinished, "HEAD", "--tags=v*"])
    os.replace(unfinished, path)


def pinned(wanted: Iterable[str], constraints: str, python: str) -> list[str]:
    """The requirements that hold for `python`, each with its version from the text of a constraints file, sorted.

    Raises:
        CannotPack: One has no version there.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    def holding(lines: Iterable[str]) -> list[Requirement]:
        found = [Requirement(line) for line in lines if line and not line.startswith("#")]
        target = {"python_version": python, "python_full_version": f"{python}.0"}
        return [one for one in found if one.marker is None or one.marker.evaluate(target)]

    versions = {canonicalize_name(one.name): one.specifier for one in holding(constraints.splitlines())}
    names = [one.name for one in holding(wanted)]
    missing = [name for name in names if canonicalize_name(name) not in versions]
    if missing:
        raise CannotPack(f"{CONSTRAINTS.name} has no version of {', '.join(missing)}. Add it there.")
    return sorted(f"{name}{versions[canonicalize_name(name)]}" for name in names)


def _download(requirements: list[str], python: str, folder: Path) -> None:
    """Wheels for Linux on x86-64, all or none; CONTENTS.txt tells the next call what is there already."""
    contents = "".join(f"{line}\n" for line in [f"Python {python}", *requirements])
    marker = folder / "CONTENTS.txt"
    if marker.is_file() and marker.read_text(encoding="utf-8") == contents:
        return
    if folder.exists() and not marker.is_file():
        raise CannotPack(f"{folder} is there, and not of an earlier call, which would go. Choose another --output.")
    unfinished = folder.with_suffix(".new")
    for old in (unfinished, folder):
        shutil.rmtree(old, ignore_errors=True)
    unfinished.mkdir()
    if requirements:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--python-version", python, "--implementation", "cp", "--dest", unfinished]
        _run([*command, *(f"--platform={platform}_x86_64" for platform in PLATFORMS), *requirements])
    (unfinished / marker.name).write_text(contents, encoding="utf-8")
    os.replace(unfinished, folder)


def _run(command: list[str | Path]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=surroundings())
    except FileNotFoundError:
        raise CannotPack(f"{command[0]} is not installed; install it.") from None
    if done.returncode != 0:
        raise CannotPack(f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bundle", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(".bundle"), help="the folder to fill (.bundle)")
    parser.add_argument("--python", default="3.12", help="of the machine, as 3.12")
    args = parser.parse_args(argv)
    try:
        size = pack(ROOT, args.output, args.python)
        changed = _run(["git", "-C", ROOT, "status", "--short", "--", "benchmarks", "asv.conf.json"])
    except CannotPack as error:
        print(f"bundle: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"bundle: {error.filename or args.output} cannot be written: {error.strerror}.", file=sys.stderr)
        return 1
    if changed:
        print(f"bundle: the last commit is packed, and these changes to it are not:\n{changed}", file=sys.stderr)
    print(f"{args.output} is {size / 2**20:.1f} MiB. On the machine, beside it, with the Python that has torch:")
    print(f"    python3 {args.output / 'run.py'} v2.0 v1.0 --machine NAME --bench REGEX")
    return 0


if __name__ == "__main__":
    outlive_readers()
    sys.exit(main())
