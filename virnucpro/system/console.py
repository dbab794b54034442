"""Console: the standard streams, whatever the caller has left of them."""

from __future__ import annotations

import io
import os
import sys


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
