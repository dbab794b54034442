"""Output: files that appear whole or not at all, and readers that have enough; for programs that judge the package and
import nothing of it, whatever it says."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TextIO


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """A file for text, which takes its name when all is written. A device, a pipe or a link gets it at its place."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        with open(path, "w", encoding="utf-8") as file:
            yield file
        return
    unfinished = path.with_name(f".{path.name[:100]}.{os.getpid()}.tmp")
    try:
        with open(unfinished, "w", encoding="utf-8") as file:
            yield file
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def printable(text: str) -> str:
    """The text on one line of a terminal: whatever would begin another, or command it, is a blank."""
    return "".join(character if character.isprintable() else " " for character in text)


class _Outliving:
    """A stream that may lose its reader, or its disk: what comes after that goes nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, step) -> None:
        try:
            step()
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            if not isinstance(error, BrokenPipeError) and self is sys.stdout:
                print(f"What is printed cannot be written: {error.strerror}.", file=sys.stderr)


def outlive_readers() -> None:
    """From now on the program goes on to its end and its exit code when whoever reads what it prints has enough."""
    sys.stdout, sys.stderr = (stream and _Outliving(stream) for stream in (sys.stdout, sys.stderr))
