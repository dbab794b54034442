"""Child processes: how every process a run starts leaves the decisions to its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait

_ENDING = {signal.SIGTERM, signal.SIGHUP}


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Start children in this context: signals reach the parent after it, for a child half started cannot be ended.

    The children inherit the hold, and keep it for Ctrl-C.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *_ENDING})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def follow_the_parent() -> None:
    """Ignore Ctrl-C, which the parent acts on, and end when the parent is gone, even if it was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)

    def watch(sentinel: int) -> None:
        wait([sentinel])
        os._exit(1)

    parent = multiprocessing.parent_process()
    threading.Thread(target=watch, args=(parent.sentinel,), daemon=True).start()
