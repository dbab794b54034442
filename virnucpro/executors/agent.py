"""Agent: one worker process of a device: start it, feed it, watch it, end it, and know why it ended. No torch here."""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import Literal

from virnucpro.engine.events import Began, Computed
from virnucpro.executors.base import ExecutorConfig
from virnucpro.executors.retry_policy import Task
from virnucpro.executors.worker import STOP, Loaded, Lost, Message, Refused
from virnucpro.reading.windows import Key, Window

log = logging.getLogger(__name__)
START: Literal["spawn"] = "spawn"  # a new interpreter: a fork would have this one's locks, and could not use CUDA
TICK = 1.0  # s, between looks at the clock and at a request to stop
LONG = 600.0  # s on one window, after which the user is told
PATIENCE = 30.0  # s, for a worker to end by itself


class Clock:
    """Seconds that this process ran, looking at its workers at least every tick.

    Time in which it was suspended does not count: what the workers sent meanwhile is not read yet.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._looked = time.monotonic()

    def look(self) -> None:
        """Add the time since the last look."""
        now = time.monotonic()
        self.now, self._looked = self.now + min(now - self._looked, 2 * TICK), now


class Agent:
    """A `retry_policy.Member`: a process, and the tasks it has been handed. Start it in `processes.interrupts_held`.

    Args:
        body: What the process runs.
        deaths: As in `Member`.
    Raises:
        OSError, RuntimeError: The system has no process, thread or descriptor left to give.
    """

    def __init__(
        self, body: Callable[..., None], config: ExecutorConfig, device: str, rank: int, deaths: int | None,
        clock: Clock,
    ) -> None:  # fmt: skip
        self.rank, self.device, self.deaths = rank, device, deaths
        self.ready = False
        self.in_hand: dict[Key, Task] = {}
        self.begun: set[Key] = set()
        self._timeout, self._clock = config.runtime.timeout_per_attempt, clock
        self._since = 0.0  # when it last got on, by the clock
        self._warned = False  # the user, that it takes long
        self._reason = ""  # that it gave, or for which it was ended
        context = multiprocessing.get_context(START)
        resource_tracker.ensure_running()  # started with the first child, it would unblock the signals again
        self.pipe, child_end = context.Pipe()
        # Not a daemon, which could have no loader processes; it follows its parent all the same.
        self._process = context.Process(target=body, args=(child_end, config, device, rank))
        self._outbox: queue.SimpleQueue[Window | Literal["stop"] | None] = queue.SimpleQueue()
        self._sender = threading.Thread(target=self._send_on, daemon=True)
        try:
            with child_end:  # closed here, so that the end of the process is the end of its pipe
                self._process.start()
            self._sender.start()
        except BaseException:
            if self._process.pid is not None:
                self._process.kill()
                self._process.join()
            self.pipe.close()
            raise

    def submit(self, task: Task) -> None:
        """Have a window sent when the process reads the next: nobody waits for a worker that hangs."""
        if not self.in_hand:
            self._since = self._clock.now
        self.in_hand[task.window.key] = task
        self._outbox.put(task.window)

    def _send_on(self) -> None:
        with suppress(OSError):  # gone: its end is read next, and what it had in hand put back
            while (message := self._outbox.get()) is not None:
                self.pipe.send(message)

    def receive(self) -> Message | None:
        """Take the next message; None at the end of the process. Log records are passed on."""
        try:
            message: Message = self.pipe.recv()
        except (EOFError, OSError):
            return None
        match message:
            case logging.LogRecord():
                logging.getLogger(message.name).handle(message)
            case Loaded():
                self.ready = True
            case Began() | Computed():
                self._since = self._clock.now
            case Lost(reason) | Refused(reason):
                self._reason = f"gave up: {reason}"
        return message

    def watch(self) -> None:
        """End the process if it takes longer for a window than it may; without a limit, tell the user if it is long."""
        late = self._clock.now - self._since if self.in_hand else 0.0
        if self._timeout is not None and late > self._timeout:
            self._reason = f"was ended after {self._timeout:g} s on one window"
            self.kill()
        elif self._timeout is None and late > LONG and not self._warned:
            self._warned = True
            log.warning(
                "Worker %d (%s) has been on one window for %.0f minutes. If it hangs, stop the run and go on with "
                "--resume --set timeout_per_attempt=SECONDS, which ends such a worker.",
                self.rank, self.device, LONG / 60,
            )  # fmt: skip

    def finish(self) -> None:
        """Have the process finish what it computes, and end."""
        self._outbox.put(STOP)
        if not self.ready:
            self.kill()  # it would listen only when its models are loaded

    def kill(self) -> None:
        """Have the process end at once."""
        self._process.kill()

    def end(self) -> str:
        """See that the process is gone, and say why."""
        self._outbox.put(None)
        with suppress(OSError), socket.socket(fileno=os.dup(self.pipe.fileno())) as both_ways:
            both_ways.shutdown(socket.SHUT_RDWR)  # unlike a close, ends a send that is under way
        self._process.join(PATIENCE)
        self._process.kill()  # it may hang on its way out
        self._process.join()
        self._sender.join()
        self.pipe.close()
        code = self._process.exitcode
        assert code is not None, "it was joined"
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"worker on {self.device} {self._reason or how}"


def readable(agents: Iterable[Agent]) -> list[Agent]:
    """Wait for a tick at most; return those from which there is something to receive."""
    by_pipe = {agent.pipe: agent for agent in agents}
    return [by_pipe[pipe] for pipe in wait(list(by_pipe), timeout=TICK)]
