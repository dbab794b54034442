"""Helpers: processes that do ahead what a start would come to do itself. Whether they get it done is nobody's worry."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from virnucpro.system.devices import usable_cpus
from virnucpro.system.processes import follow_the_parent, interrupts_held, why_no_children

MOST = 6  # with more nothing is finished earlier: few kernels are slow to compile
Body = Callable[[], object]


def how_many() -> int:
    """How many helpers a start may have: half of the processors are for itself."""
    return 0 if why_no_children() else min(MOST, usable_cpus() // 2)


def started(bodies: Iterable[Body]) -> list[Any]:
    """Start a process for each body; return the processes of multiprocessing, as many as the system gives.

    They inherit what is imported, so torch must not be: it may have begun with CUDA.
    """
    import multiprocessing  # which --help does without

    context = multiprocessing.get_context("fork")  # no second import of what is here
    processes: list[Any] = []
    with suppress(OSError, RuntimeError), interrupts_held():
        for body in bodies:
            process = context.Process(target=_help, args=(body,), daemon=True)
            process.start()
            processes.append(process)
    return processes


def _help(body: Body) -> None:
    """The life of a process, which has nobody to tell what goes wrong."""
    with suppress(BaseException):
        follow_the_parent(ended_by=signal.SIGTERM)  # which multiprocessing sends when the program ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        body()
    os._exit(0)
