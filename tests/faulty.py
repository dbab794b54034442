"""Workers with a fault, for test_faults.py. Spawned processes import this module, so it must not import much."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from virnucpro.engine.events import Computed
from virnucpro.executors import worker
from virnucpro.executors.base import ExecutorConfig


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and when.

    how: "kill", "exit", "stop", "stop loaders", "hang" or "raise". where: "start" of the process, "loading"
    of the models, "front end", "engine", or when a window is "finished". poison: sequences that bring it about, as
    (window, place); None for any. ranks: of the workers that have it; None for all. once: a file that is made when it
    happens, and it does not happen again. told: a file that gets a byte each time. over:
    a file that is made when a worker hangs no longer.
    """

    how: str
    where: str = "engine"
    poison: frozenset[tuple[int, int]] | None = None
    ranks: frozenset[int] | None = None
    once: Path | None = None
    told: Path | None = None
    over: Path | None = None

    def strike(self, index: int = -1, only: tuple[int, int] | None = None) -> None:
        first, end = only or (0, 10**9)
        if self.poison is not None and not any(index == at and first <= place < end for at, place in self.poison):
            return
        if self.once is not None:
            try:
                self.once.touch(exist_ok=False)
            except FileExistsError:
                return
        if self.told is not None:
            with open(self.told, "a") as file:
                file.write("x")
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.how == "exit":
            os._exit(3)
        elif self.how == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif self.how == "stop loaders":
            for loader in multiprocessing.active_children():
                os.kill(loader.pid, signal.SIGSTOP)
        elif self.how == "hang":
            time.sleep(1000)
            if self.over is not None:
                self.over.touch()
        else:
            raise RuntimeError("a bad sequence")


def faulty_work_for(pipe: Connection, config: ExecutorConfig, device: str, rank: int, fault: Fault) -> None:
    """`worker.work_for` with a fault."""
    if fault.ranks is None or rank in fault.ranks:
        if fault.where == "start":
            fault.strike()
        from virnucpro.engine.loader import FrontEnd
        from virnucpro.engine.model_runner import ModelRunner

        if fault.where == "loading":
            ModelRunner.__init__ = lambda *_: fault.strike()
        if fault.where == "finished":
            send = worker._Sender.send
            worker._Sender.send = lambda self, message: (
                send(self, message) or (isinstance(message, Computed) and fault.strike(*message.key))
            )
        if fault.where == "engine":
            queue = ModelRunner.queue
            ModelRunner.queue = lambda self, prepared: (
                fault.strike(prepared.blank.index, prepared.blank.only) or queue(self, prepared)
            )
        if fault.where == "front end":
            get = FrontEnd.__getitem__
            FrontEnd.__getitem__ = lambda self, window: (
                (window and fault.strike(window.index, window.only)) or get(self, window)
            )
    worker.work_for(pipe, config, device, rank)
