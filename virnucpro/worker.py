"""Worker: a spawned process that computes the windows its parent hands it.

It sends ("ready", facts), ("backends", what), ("began", window index), ("finished", outcomes, cost), ("log", record),
("refused", message) if the models cannot be used, and ("lost", message) before it gives up.
It gets windows, and "stop" to finish the one in hand.
"""

from __future__ import annotations

import logging
import logging.handlers
import queue
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from virnucpro import startup
from virnucpro.children import follow_the_parent
from virnucpro.errors import DeviceLost, VirnucproError
from virnucpro.imports import keep_bytecode
from virnucpro.windows import Window
from virnucpro.work import Work

log = logging.getLogger(__name__)
STOP = "stop"


def work_for(pipe: Connection, work: Work, device: str, rank: int) -> None:
    """Body of the process."""
    follow_the_parent()
    keep_bytecode()
    sender = _Sender(pipe)
    logging.getLogger().handlers = [_PipeHandler(sender)]  # type: ignore[arg-type]  # in a queue's place
    logging.getLogger().setLevel(work.log_level)
    logging.captureWarnings(True)
    try:
        _work(pipe, sender, work, device, rank)
    except DeviceLost as error:
        sender.send("lost", str(error))
    except VirnucproError as error:
        sender.send("refused", str(error))
    except Exception as error:
        log.debug("Worker %d", rank, exc_info=True)
        sender.send("lost", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")


def _work(pipe: Connection, sender: _Sender, work: Work, device: str, rank: int) -> None:
    inline = startup.inline(work, device, rank, expendable=True)
    sender.send("ready", inline.check())
    incoming: queue.SimpleQueue[Any] = queue.SimpleQueue()
    arrived = threading.Event()  # since `windows` looked last

    def receive() -> None:
        """Read on while this process computes: a parent that has to wait to be read could not read either."""
        while True:
            try:
                message = pipe.recv()
            except (EOFError, OSError):
                message = STOP
            incoming.put(message)
            arrived.set()
            if message == STOP:
                inline.stop()
                return

    def windows() -> Iterator[Window | None]:
        """What has come, or None: the loader must not wait for it, the results of earlier windows would wait too."""
        while True:
            arrived.clear()
            try:
                message = incoming.get_nowait()
            except queue.Empty:
                message = None
            if message == STOP:
                return
            yield message

    def begin(backends: dict[str, str]) -> None:
        threading.Thread(target=receive, daemon=True).start()
        sender.send("backends", backends)

    inline.steps(
        windows(),
        lambda step, cost: sender.send("finished", step.window.index, step.window.only, step.outcomes, cost),
        ready=begin,
        began=lambda window: sender.send("began", window.index, window.only),
        idle=arrived.wait,
    )


class _Sender:
    """A pipe's end that threads may share: log records come from all of them."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._lock = pipe, threading.Lock()

    def send(self, *message: object) -> None:
        with self._lock:
            self._pipe.send(message)


class _PipeHandler(logging.handlers.QueueHandler):
    """Sends log records to the parent, which owns the terminal."""

    def enqueue(self, record: logging.LogRecord) -> None:
        self.queue.send("log", record)  # type: ignore[attr-defined]
