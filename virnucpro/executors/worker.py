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
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from virnucpro.errors import DeviceLost, VirnucproError
from virnucpro.executors import select
from virnucpro.executors.base import ExecutorConfig
from virnucpro.reading.windows import Window
from virnucpro.system.imports import keep_bytecode
from virnucpro.system.processes import follow_the_parent

log = logging.getLogger(__name__)
STOP = "stop"


def work_for(pipe: Connection, work: ExecutorConfig, device: str, rank: int) -> None:
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


def _work(pipe: Connection, sender: _Sender, work: ExecutorConfig, device: str, rank: int) -> None:
    from virnucpro.executors.local import Computed  # imports torch

    executor = select.inline(work, device, rank, expendable=True)
    sender.send("ready", executor.check())
    inbox = _Inbox(pipe, executor.stop)
    backends = executor.load(inbox)
    inbox.open()
    sender.send("backends", backends)
    for event in executor.events():
        window = event.window
        if isinstance(event, Computed):
            sender.send("finished", window.index, window.only, event.outcomes, event.cost)
        else:
            sender.send("began", window.index, window.only)


class _Inbox:
    """A `source.Source` of what the parent sends: read on while this process computes, for a parent that has to wait
    to be read could not read either. Nothing is waited for unless there is nothing else to do.

    Args:
        stop: Called when the parent asks for it, or is gone.
    """

    def __init__(self, pipe: Connection, stop: Callable[[], None]) -> None:
        self._pipe, self._stop = pipe, stop
        self._incoming: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._arrived = threading.Event()  # since `take` looked last
        self.ended = False

    def open(self) -> None:
        """Begin to read. Before the models are loaded nothing comes: see `coordinator.Coordinator`."""
        threading.Thread(target=self._receive, daemon=True).start()

    def take(self) -> Window | None:
        self._arrived.clear()
        try:
            message = self._incoming.get_nowait()
        except queue.Empty:
            return None
        self.ended = message == STOP
        return None if self.ended else message

    def wait(self) -> None:
        self._arrived.wait()

    def _receive(self) -> None:
        message = None
        while message != STOP:
            try:
                message = self._pipe.recv()
            except (EOFError, OSError):
                message = STOP
            self._incoming.put(message)
            self._arrived.set()
        self._stop()


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
