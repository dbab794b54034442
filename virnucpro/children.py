"""Child processes: how every process a run starts leaves the decisions to its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait

from virnucpro.interrupts import INTERRUPTS


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Start children in this context: signals reach the parent after it, for a child half started cannot be ended.

    The children inherit the hold, until they `follow_the_parent`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def why_no_children() -> str | None:
    """Why this process may start no others at all; None if it may try."""
    if multiprocessing.current_process().daemon:
        return "this is a daemonic process (of a pool, say), which may start none"
    return None


def follow_the_parent() -> None:
    """Leave all signals to the parent, and end when it is gone, even if it was killed.

    A terminal sends Ctrl-C and its own end to every process, some batch systems SIGTERM too; the windows in hand
    are to be finished all the same.
    """
    for number in INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS)

    def watch(sentinel: int) -> None:
        wait([sentinel])
        os._exit(1)

    parent = multiprocessing.parent_process()
    assert parent is not None, "this process is no child"
    threading.Thread(target=watch, args=(parent.sentinel,), daemon=True).start()
