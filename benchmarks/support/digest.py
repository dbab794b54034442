"""Digest: of what a step of `make bench` prints, the lines that a person reads. All of it is in the log."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

PROGRESS = re.compile(r"\[ *([\d.]+)%\] (·+) (.*)")
MOST_FAILURES = 20  # that are named

Digest = Callable[[str], Iterator[str]]  # a line without its end -> the lines that are shown


def everything(line: str) -> Iterator[str]:
    yield line


def nothing(line: str) -> Iterator[str]:
    yield from ()


def progress(every: float = 10.0, clock: Callable[[], float] = time.monotonic) -> Digest:
    """Of `asv run`: each commit, what is built, every so many percent, and what failed, with the time that it took."""
    begun, due, failures = clock(), every, 0

    def digest(line: str) -> Iterator[str]:
        nonlocal due, failures
        found = PROGRESS.match(line)
        if not found:
            if re.match("· (Creating|Installing)", line):  # minutes, the first time
                yield line.removeprefix("· ")
            return
        percent, what = float(found[1]), found[3]
        minutes, seconds = divmod(int(clock() - begun), 60)
        stamp = f"{minutes:3}:{seconds:02} {percent:4.0f} %"
        if what.startswith("For ") and " commit " in what:
            yield f"{stamp}  {what.removesuffix(':')}"
        elif re.fullmatch(r"\S+\.\S+ .*failed", what):
            failures += 1
            if failures <= MOST_FAILURES:
                yield f"{stamp}  {' '.join(what.split())}"
        elif percent >= due and found[2] == "···" and not what.startswith("Setting up"):
            due = every * (percent // every + 1)
            yield f"{stamp}  {what.split()[0]}"

    return digest


def comparison(line: str) -> Iterator[str]:
    """Of `asv compare`: its table, less the rows with one side only."""
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    if cells and "n/a" not in cells[1:3]:
        yield line


def verdict() -> Digest:
    """Of `benchmarks.check_speedup`: both sides and the ratio; what follows a ratio that is met is detail."""
    told = False

    def digest(line: str) -> Iterator[str]:
        nonlocal told
        if not told:
            yield line
        told = told or (line.startswith("Ratio ") and line.endswith(": PASS"))

    return digest
