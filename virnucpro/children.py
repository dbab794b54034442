"""Child processes: how every process a run starts leaves the decisions to its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait


def follow_the_parent() -> None:
    """Ignore Ctrl-C, which the parent acts on, and end when the parent is gone, even if it was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch(sentinel: int) -> None:
        wait([sentinel])
        os._exit(1)

    parent = multiprocessing.parent_process()
    threading.Thread(target=watch, args=(parent.sentinel,), daemon=True).start()
