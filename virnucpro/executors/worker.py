"""Worker: a spawned process that computes the windows its parent hands it, and its messages. No torch here.

It gets `Window`s and STOP. It sends what is below, and `Began` and `Computed` of each window.
"""

from __future__ import annotations

import logging
import logging.handlers
import queue
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

from virnucpro.config.compute import WeightsInfo
from virnucpro.engine.events import Began, Computed
from virnucpro.errors import DeviceLost, VirnucproError, one_line
from virnucpro.executors.base import ExecutorConfig
from virnucpro.executors.launch import launch_local
from virnucpro.reading.windows import Window
from virnucpro.system.imports import keep_bytecode
from virnucpro.system.processes import follow_the_parent

log = logging.getLogger(__name__)
STOP: Literal["stop"] = "stop"  # finish the windows that have begun, and end


@dataclass(frozen=True)
class Ready:
    """The weights are whole and fit each other."""

    info: WeightsInfo


@dataclass(frozen=True)
class Loaded:
    """The models are loaded; from now on windows are read."""

    backends: dict[str, str]


@dataclass(frozen=True)
class Refused:
    """The models cannot be used, here or in any other worker; the process ends."""

    reason: str


@dataclass(frozen=True)
class Lost:
    """The process cannot go on; another may."""

    reason: str


Message = Ready | Loaded | Began | Computed | logging.LogRecord | Refused | Lost


def work_for(pipe: Connection, config: ExecutorConfig, device: str, rank: int) -> None:
    """Compute what comes through the pipe; the body of the process."""
    follow_the_parent()
    keep_bytecode()
    sender = _Sender(pipe)
    logging.getLogger().handlers = [_PipeHandler(sender)]  # type: ignore[arg-type]  # in a queue's place
    logging.getLogger().setLevel(config.log_level)
    logging.captureWarnings(True)
    try:
        with closing(launch_local(config, device, rank, expendable=True)) as executor:
            sender.send(Ready(executor.check()))
            inbox = _Inbox(pipe, executor.stop)
            backends = executor.load(inbox)
            inbox.open()
            sender.send(Loaded(backends))
            for _, event in executor.events():
                sender.send(event)
    except DeviceLost as error:
        sender.send(Lost(str(error)))
    except VirnucproError as error:
        sender.send(Refused(str(error)))
    except Exception as error:
        log.debug("Worker %d", rank, exc_info=True)
        sender.send(Lost(one_line(error)))


class _Inbox:
    """A `Source` of what the parent sends: read on while this process computes, for a parent that has to wait
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
        """Begin to read. Before the models are loaded nothing comes: see `RetryPolicy.hand_out`."""
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

    def send(self, message: Message) -> None:
        with self._lock:
            self._pipe.send(message)


class _PipeHandler(logging.handlers.QueueHandler):
    """Sends log records to the parent, which owns the terminal."""

    def enqueue(self, record: logging.LogRecord) -> None:
        self.queue.send(record)  # type: ignore[attr-defined]
