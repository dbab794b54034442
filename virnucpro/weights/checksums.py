"""Checksums: SHA256SUMS in a weights directory, what `sha256sum -c SHA256SUMS` reads, too."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NoReturn

from virnucpro.errors import BadWeights
from virnucpro.system.files import whole_file

CHECKSUMS_FILE = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")


def _raise(message: str) -> NoReturn:
    raise BadWeights(message)


def parse_checksums(text: str, source: object, refuse: Callable[[str], None] = _raise) -> dict[str, str]:
    """Read the sha256 of each file, by its path from the directory, with ``/``.

    Args:
        source: Where `text` is from, for the message.
        refuse: Told about a line that is something else, or names a file outside the directory, which is passed over.
    Raises:
        BadWeights: There is such a line, unless `refuse` is another.
    """
    sums = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None or not _is_inside(match[2]):
            refuse(
                f"{source}, line {number}: expected a sha256, two blanks and the name of a file in that directory, "
                f"found {line[:80]!r}. Make it again with sha256sum, or remove it."
            )
        else:
            sums[PurePosixPath(match[2]).as_posix()] = match[1].lower()  # ./x is x
    return sums


def _is_inside(name: str) -> bool:
    """Whether a name from elsewhere stays inside the directory it is for, and means the same everywhere."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and name.isprintable()


def read_checksums(directory: Path, refuse: Callable[[str], None] = _raise) -> dict[str, str]:
    """Read what is on record of a directory; nothing if it has no such file.

    Args:
        refuse: As of `parse_checksums`; also told if the file cannot be read, or is no text.
    Raises:
        BadWeights: As `parse_checksums`.
    """
    path = directory / CHECKSUMS_FILE
    try:
        return parse_checksums(path.read_text(encoding="utf-8-sig"), path, refuse)
    except FileNotFoundError:
        return {}
    except (UnicodeDecodeError, OSError) as error:
        refuse(f"{path}: cannot be read ({error}). Make it again with sha256sum, or remove it.")
        return {}


def record_checksums(directory: Path, sums: dict[str, str]) -> None:
    """Add to what is on record, or replace it; one process after the other."""
    turn = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(turn, fcntl.LOCK_EX)
        merged = read_checksums(directory) | sums
        with whole_file(directory / CHECKSUMS_FILE) as file:
            file.writelines(f"{merged[name]}  {name}\n" for name in sorted(merged))
    finally:
        os.close(turn)
