"""Files that appear whole or not at all, and what they hold."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from virnucpro import hashing

log = logging.getLogger(__name__)
Progress = hashing.Progress


def temporary_name(path: Path) -> Path:
    """Beside its final name, so that it can take it at once."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


@contextmanager
def whole_path(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path` for a file that takes that name only when all is written.

    Args:
        path: Final name; its folder must exist.
        durable: Wait until the disk has it; not worth it for what every run makes again.
    """
    temporary = temporary_name(path)
    try:
        yield temporary
        if durable:
            with open(temporary, "rb+") as written:
                os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path, mode: str = "w", durable: bool = True) -> Iterator[IO[Any]]:
    """Open a file that appears whole or not at all; see `whole_path`.

    Args:
        mode: ``"w"`` (UTF-8 text) or ``"wb"``.
    """
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    with whole_path(path, durable) as temporary, open(temporary, mode, **text) as file:
        yield file


def locked(path: Path, mode: str) -> IO[Any]:
    """Open a file for this process alone; the system lets go of it however this process ends.

    One that its last holder removed or renamed between our opening and locking it would lock nobody out, so it is
    opened again. A file system without locks locks nothing.

    Raises:
        BlockingIOError: Another process has it. OSError: It cannot be opened.
    """
    while True:
        file = open(path, mode)  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise
        except OSError as error:
            log.debug("No lock on %s: %s", path, error)
            return file
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()


def unfinished(path: Path) -> Path:
    """What has arrived of a file that is being fetched."""
    return path.with_name(f".{path.name}.part")


def sha256_of(path: Path, progress: Progress | None = None) -> str:
    """The sha256 of a file's content, as hexadecimal text; `progress` is told the bytes done, and in all."""
    with open(path, "rb") as file:
        return hashing.sha256_of(file, progress)
