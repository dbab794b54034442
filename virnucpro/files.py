"""Files that appear whole or not at all, and what they hold."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def whole_path(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path` for a file that takes that name only when all is written.

    Args:
        path: Final name; its folder must exist.
        durable: Wait until the disk has it; not worth it for what every run makes again.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
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


def unfinished(path: Path) -> Path:
    """What has arrived of a file that is being fetched."""
    return path.with_name(f".{path.name}.part")


def sha256_of(path: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> str:
    """The sha256 of a file's content, as hexadecimal text; `progress` is told the bytes done, and in all."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        total = os.fstat(file.fileno()).st_size
        while block := file.read(2**22):
            digest.update(block)
            progress(file.tell(), total)
    return digest.hexdigest()
