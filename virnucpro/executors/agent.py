"""Agent: one worker process of a device: start it, feed it, end it, and know why it ended. No torch here."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import resource_tracker
from typing import Literal

from virnucpro.executors.base import ExecutorConfig
from virnucpro.executors.retry_queue import Key, Task

START: Literal["spawn"] = "spawn"  # a new interpreter: a fork would have this one's locks, and could not use CUDA
PATIENCE = 30.0  # s, for a worker to end by itself


class Agent:
    """A process and the tasks it has been handed. Start it in `children.interrupts_held`.

    Args:
        body: What the process runs.
        deaths: Of workers in its place, since a window was last finished there; None for the first.
    Raises:
        OSError, RuntimeError: The system has no process, thread or descriptor left to give.
    """

    def __init__(
        self, body: Callable[..., None], work: ExecutorConfig, device: str, rank: int, deaths: int | None
    ) -> None:
        self.rank, self.device, self.deaths = rank, device, deaths
        self.loaded = False  # has its models, and reads what it is sent
        self.in_hand: dict[Key, Task] = {}
        self.begun: set[Key] = set()  # of these, what it is computing
        self.since = 0.0  # when it last got on, by the coordinator's own clock
        self.warned = False  # the user, that it takes long
        self.why = ""  # it ended, or was ended
        context = multiprocessing.get_context(START)
        resource_tracker.ensure_running()  # started with the first child, it would unblock the signals again
        self.pipe, child_end = context.Pipe()
        # Not a daemon, which could have no loader processes; it follows its parent all the same.
        self.process = context.Process(target=body, args=(child_end, work, device, rank))
        self._outbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._sender = threading.Thread(target=self._send_on, daemon=True)
        try:
            with child_end:  # closed here, so that the end of the process is the end of its pipe
                self.process.start()
            self._sender.start()
        except BaseException:
            if self.process.pid is not None:
                self.process.kill()
                self.process.join()
            self.pipe.close()
            raise

    def send(self, message: object) -> None:
        """Have a message sent when it reads the next: nobody waits for a worker that hangs."""
        self._outbox.put(message)

    def _send_on(self) -> None:
        with suppress(OSError):  # gone: its end is read next, and what it had in hand put back
            while (message := self._outbox.get()) is not None:
                self.pipe.send(message)

    def end(self) -> str:
        """See that it is gone, and say why."""
        self._outbox.put(None)
        with suppress(OSError), socket.socket(fileno=os.dup(self.pipe.fileno())) as both_ways:
            both_ways.shutdown(socket.SHUT_RDWR)  # unlike a close, ends a send that is under way
        self.process.join(PATIENCE)
        self.process.kill()  # it may hang on its way out
        self.process.join()
        self._sender.join()
        self.pipe.close()
        code = self.process.exitcode
        assert code is not None, "it was joined"
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"worker on {self.device} {self.why or how}"
