"""Input files: what a run reads. What they hold is told once; they are read as often as needed.

Input that can be read only once is copied to a file first.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cached_property
from itertools import chain, takewhile
from pathlib import Path

from virnucpro.reading.containers import STDIN
from virnucpro.reading.input_kind import InputKind, kind_of
from virnucpro.reading.reads import Read
from virnucpro.reading.survey import Survey, opened, reread, survey

_COPIED_AT_ONCE = 2**20  # bytes


class InputFiles:
    """The files of a run, in order.

    Args:
        paths: Files, pipes, devices, or ``-`` for standard input.
        input_type: The kind of input where the user knows; "auto" tells it by the first records of the first file
            that has any.
        rename_duplicates: Repeated ids are no error, but renamed.
        shown: What messages call the files; their paths if not given.
    """

    def __init__(
        self,
        paths: Sequence[str],
        input_type: str = "auto",
        rename_duplicates: bool = False,
        shown: Sequence[str] | None = None,
    ) -> None:
        self.paths, self.shown = tuple(paths), tuple(shown or paths)  # the first change with `spooled`
        self._asked, self._rename_duplicates = input_type, rename_duplicates
        self._kind: InputKind | None = None

    def look_ahead(self) -> None:
        """Tell the kind by the files before the first stream, which nothing needs to be written for.

        Raises:
            As `kind`.
        """
        regular = tuple(takewhile(lambda path: path != STDIN and Path(path).is_file(), self.paths))
        self._kind = self._told_by(regular)

    @contextmanager
    def spooled(self, folder: Path, prefix: str = ".input-") -> Iterator[None]:
        """Have streams copied meanwhile to a folder; see `spooled`."""
        with ExitStack() as stack:
            self.paths = tuple(stack.enter_context(spooled(path, folder, prefix)) for path in self.paths)
            yield

    @property
    def kind(self) -> InputKind:
        """Of the first records, of the first file that has any.

        Raises:
            BadInput: They cannot be used. BadRequest: A file is not there, or letters do not tell what they are.
        """
        if self._kind is None:
            self._kind = self._told_by(self.paths) or kind_of((), self._asked)
        return self._kind

    def _told_by(self, paths: Sequence[str]) -> InputKind | None:
        for reads in opened(paths, self.shown[: len(paths)]):
            sequences = (read.sequence for read in reads)
            if (first := next(sequences, None)) is not None:
                return kind_of(chain([first], sequences), self._asked)
        return None

    @cached_property
    def survey(self) -> Survey:
        """What one pass over all records tells; see `survey.survey`."""
        mixed = self._asked != "auto"
        return survey(self.paths, self.shown, self.kind, mixed, self._rename_duplicates)

    def reads(self) -> Iterator[Read]:
        """The records once more; see `survey.reread`."""
        return reread(self.paths, self.shown, self.survey, self._rename_duplicates)


@contextmanager
def spooled(path: str, folder: Path, prefix: str = ".input-") -> Iterator[str]:
    """Yield a path that can be read twice.

    Args:
        path: A regular file, whose path is yielded as it is, or standard input (``-``), a pipe or a
            device, whose bytes are copied first. What is not there is left to read_records to explain.
        folder: Where the copy is made, readable by this user only, removed at the end.
        prefix: Of the copy's name; eight random letters and ".tmp" follow.
    Raises:
        OSError: The input cannot be read, or the copy not written.
    """
    readable_once = sys.stdin is not None if path == STDIN else _is_stream(path)
    if not readable_once:
        yield path
        return
    descriptor, copy_path = tempfile.mkstemp(prefix=prefix, suffix=".tmp", dir=folder)  # with mode 0600
    try:
        with (
            open(descriptor, "wb") as copy,
            nullcontext(sys.stdin.buffer) if path == STDIN else open(path, "rb") as stream,
        ):
            shutil.copyfileobj(stream, copy, _COPIED_AT_ONCE)
        yield copy_path
    finally:
        Path(copy_path).unlink(missing_ok=True)


def _is_stream(path: str) -> bool:
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)
