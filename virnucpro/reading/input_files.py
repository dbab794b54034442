"""Input files: what a run reads. What they hold is told once; they are read as often as needed.

Input that can be read only once is copied to a file first.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cached_property
from itertools import chain, takewhile
from pathlib import Path

from virnucpro.errors import InputChanged
from virnucpro.reading.containers import STDIN
from virnucpro.reading.input_kind import InputKind, kind_of
from virnucpro.reading.reads import Read, read_records, with_unique_names
from virnucpro.reading.survey import Survey, digested, opened, survey

_COPIED_AT_ONCE = 2**20  # bytes


class InputFiles:
    """The files of a run, in order.

    Args:
        paths: Files, pipes, devices, or ``-`` for standard input.
        input_type: The kind of input where the user knows; "auto" tells it by the first records of the first file
            that has any.
        rename_duplicates: Repeated ids are no error, but renamed.
    """

    def __init__(self, paths: Sequence[str], input_type: str = "auto", rename_duplicates: bool = False) -> None:
        self.paths = self.shown = tuple(paths)  # `shown`: in messages, also while `paths` are copies (`spooled`)
        self._asked, self._rename_duplicates = input_type, rename_duplicates
        self._kind: InputKind | None = None

    def look_ahead(self) -> None:
        """Tell the kind, as `kind`, by the files before the first stream, which nothing needs to be written for."""
        regular = tuple(takewhile(lambda path: path != STDIN and Path(path).is_file(), self.paths))
        self._kind = self._told_by(regular)

    @contextmanager
    def spooled(self, folder: Path, prefix: str = ".input-") -> Iterator[None]:
        """Have streams copied to a folder meanwhile; see the function."""
        with ExitStack() as stack:
            self.paths = tuple(stack.enter_context(spooled(path, folder, prefix)) for path in self.paths)
            yield

    @property
    def kind(self) -> InputKind:
        """Tell the kind by the first records of the first file that has any.

        Raises:
            BadInput: They cannot be used. BadRequest: A file is not there, or letters do not tell what they are.
        """
        if self._kind is None:
            self._kind = self._told_by(self.paths) or kind_of((), self._asked)
        return self._kind

    def _told_by(self, paths: Sequence[str]) -> InputKind | None:
        for path, shown in zip(paths, self.shown, strict=False):
            sequences = (read.sequence for read in read_records(path, shown))
            if (first := next(sequences, None)) is not None:
                return kind_of(chain([first], sequences), self._asked)
        return None

    @cached_property
    def survey(self) -> Survey:
        """What one pass over all records tells; see `survey.survey`."""
        return survey(self.paths, self.shown, self.kind, self._asked != "auto", self._rename_duplicates)

    def reads(self) -> Iterator[Read]:
        """Return the records once more, with unique ids.

        Raises:
            BadInput: After the last record: they are not those of the survey. Before: as read_records.
        """
        return with_unique_names(self._unchanged()) if self.survey.repeated else self._unchanged()

    def _unchanged(self) -> Iterator[Read]:
        """Yield the records, and make sure at the end that they were those of the survey."""
        digest = hashlib.sha256()
        for read in opened(self.paths, self.shown, self.survey.kind):
            digest.update(digested(read).encode())
            yield read
        if digest.hexdigest() != self.survey.sha256:
            raise InputChanged(
                f"{', '.join(self.shown)}: changed while it was read; the results so far are of no use. "
                "Repeat the command when nothing writes to the input any more."
            )


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
    if path == STDIN:
        readable_once = sys.stdin is not None
    else:
        readable_once = os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)
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
