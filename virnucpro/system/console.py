"""Console: the standard streams, whatever the caller has left of them, and whoever stops reading them."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO


def make_usable() -> None:
    """Take the places of closed streams, and have output hold letters that its encoding lacks, escaped.

    Else a file of the run would get the number of a closed stream, and in it what libraries print; and a path in
    another alphabet would end the program.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


class _Outlet(io.FileIO):
    """A file that may fail: what comes after that goes nowhere, and so does what Python still holds at its end.

    Raises:
        OSError: It failed, and not because its reader has gone.
    """

    def write(self, block) -> int:  # type: ignore[no-untyped-def]  # typing has no buffers in Python 3.10
        try:
            return super().write(block)
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if not isinstance(error, BrokenPipeError):
                raise
            return len(block)


class _Unbuffered(io.BufferedWriter):
    def write(self, block) -> int:  # type: ignore[no-untyped-def]
        count = super().write(block)
        self.flush()
        return count


def outlive_readers() -> None:
    """From now on go on to the end and the exit code when the reader has enough, as in `virnucpro doctor | head -1`."""
    sys.stdout, sys.stderr = _outliving(sys.stdout, sys.__stdout__), _outliving(sys.stderr, sys.__stderr__)


def _outliving(stream: TextIO, plain: TextIO | None) -> TextIO:
    """The stream, unless it is another than Python's own: that is closed, or whoever replaced it sees to it."""
    if stream is None or stream is not plain or not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    outlet = _Outlet(stream.fileno(), "wb", closefd=False)
    through = stream.write_through  # as PYTHONUNBUFFERED has it
    buffer = _Unbuffered(outlet) if through else io.BufferedWriter(outlet)
    return io.TextIOWrapper(
        buffer, stream.encoding, stream.errors, line_buffering=stream.line_buffering, write_through=through
    )
