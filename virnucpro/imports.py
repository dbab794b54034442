"""Imports: what a program of many modules need not pay for while it starts and ends."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Import large packages in this context, without the garbage collector, which would find nothing there.

    It looks at new objects again and again while torch makes a million that stay: a tenth to a sixth of the import.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def leave() -> None:
    """Before the program ends: have Python not look through all that is there for garbage, which the system frees."""
    gc.freeze()
