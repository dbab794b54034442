"""Loader process: a process that packs windows, and the thread that feeds it. No torch here.

It has a pipe to itself, and windows and answers pass through it as bytes. So nothing is asked of the host but processes
and pipes (no shared memory, no socket with a path, no descriptors passed on), and whatever becomes of a process ends in
an answer, in the end of its pipe, or in silence; all three are noticed.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from virnucpro.engine.loader import PackedWindow
from virnucpro.errors import one_line
from virnucpro.reading.windows import Window
from virnucpro.system.processes import follow_the_parent, interrupts_held

KILLED = 5.0  # s, for a process that was killed to be gone
Prepare = Callable[[Window], PackedWindow]


class LoaderDied(Exception):
    """The process that had the window in hand is gone, and gave no answer."""


class Failed(NamedTuple):
    """An answer: preparing the window raised an error."""

    reason: str


class LoaderProcess:
    """A process, and the thread that gives it windows and takes its answers, so that nobody else waits for it.

    Raises:
        OSError, RuntimeError: The system has no process, thread or pipe left to give.
    """

    def __init__(self, prepare: Prepare) -> None:
        context = multiprocessing.get_context("fork")  # no second import, and prepare need not be pickled
        self._pipe, child_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(child_end, prepare), daemon=True)
        try:
            with interrupts_held():
                self._process.start()
            self._inbox: queue.SimpleQueue[tuple[Window, Future[Any]] | None] = queue.SimpleQueue()
            threading.Thread(target=self._pass_on, daemon=True).start()
        except BaseException:
            if self._process.pid is not None:
                self._process.kill()
                self._process.join(KILLED)
            self._pipe.close()
            raise
        finally:
            child_end.close()  # so that the end of the process is the end of the pipe

    def prepare(self, window: Window) -> Future[Any]:
        """Return a future: its result is the packed window or `Failed`, its exception LoaderDied."""
        future: Future[Any] = Future()
        self._inbox.put((window, future))
        return future

    def _pass_on(self) -> None:
        with self._pipe as pipe:
            while (order := self._inbox.get()) is not None:
                window, future = order
                try:
                    pipe.send(window)
                    future.set_result(pipe.recv())
                except Exception as error:  # mostly the end of the pipe; an answer that is no pickle is no answer
                    future.set_exception(LoaderDied(one_line(error)))

    def end(self) -> None:
        """End the process at once, whatever it is doing."""
        self._inbox.put(None)
        self._process.kill()
        self._process.join(KILLED)


def _serve(pipe: Connection, prepare: Prepare) -> None:
    """Prepare what comes through the pipe; the body of the process.

    Without an answer the parent sees the end of the pipe; a traceback would tell it no more.
    """
    with suppress(BaseException):
        # Else it would keep open the pipes of a parent that was killed. Multiprocessing ends it if nobody else did.
        follow_the_parent(ended_by=signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # out of bounds: the parent may be about to start CUDA
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads would take the other processes' cores
        while True:
            pipe.send(answer(prepare, pipe.recv()))
    os._exit(1)


def answer(prepare: Prepare, window: Window) -> PackedWindow | Failed:
    """Prepare a window, or say why it failed."""
    try:
        return prepare(window)
    except Exception as error:
        return Failed(one_line(error))
