"""Runs the program again and again, each time killed at another point; for test_kill.py.

Started once as a process of its own, it imports everything and then forks a child for each line of standard input: a
JSON object with `argv`, and `after` (seconds) or `at` (a function of `os`, and the how-manieth call of it). For each it
prints the child's exit status, negative for a signal, and how long it took.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable


def killed_at(name: str, number: int) -> None:
    """Have this process killed when it is about to call a function of `os` for the `number`-th time."""
    plain: Callable = getattr(os, name)
    calls, lock = [], threading.Lock()  # checkpoints are written by a thread

    def counted(*arguments: object, **options: object) -> object:
        with lock:
            calls.append(arguments)
            if len(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
        return plain(*arguments, **options)

    setattr(os, name, counted)


def run(argv: list[str], at: tuple[str, int] | None) -> None:
    from virnucpro.cli import main

    os.setsid()  # so that its processes can be told from others
    if at is not None:
        killed_at(*at)
    os._exit(main(argv))


def serve() -> None:
    import torch

    import virnucpro.executors.local
    import virnucpro.pipeline.run  # noqa: F401
    from virnucpro.executors import agent

    torch.set_num_threads(1)
    agent.START = "fork"  # its workers need not import all that again
    for line in sys.stdin:
        order = json.loads(line)
        begun = time.monotonic()
        child = os.fork()
        if child == 0:
            try:
                run(order["argv"], order.get("at"))
            finally:
                os._exit(99)
        if "after" in order:
            timer = threading.Timer(order["after"], os.kill, (child, signal.SIGKILL))
            timer.start()
            os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # not reaped yet, so that the timer hits nobody else
            timer.cancel()
            timer.join()
        _, status = os.waitpid(child, 0)
        told = {"code": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - begun, "session": child}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    serve()
