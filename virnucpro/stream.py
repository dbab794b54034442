"""Stream: windows through the loader and the engine of this process, in order, with nothing waiting for anything.

While the device computes a window, the loader's processes make the next ones, and the numbers of the one before are
on their way to the host.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch

from virnucpro.engine import Engine, Pending
from virnucpro.errors import DeviceLost
from virnucpro.loader import FrontEnd, Prepared, load
from virnucpro.outcomes import Outcome
from virnucpro.pipeline.runtime_config import RuntimeConfig
from virnucpro.windows import Window

log = logging.getLogger(__name__)


@dataclass
class Step:
    """A finished window: its outcomes (one, or those of its parts) and what they cost.

    wait: seconds this process waited for the loader, which reads the input meanwhile, or for a window to be handed to
    it. seconds: since the step before.
    """

    window: Window
    outcomes: list[Outcome]
    wait: float
    seconds: float = 0.0

    @property
    def idle(self) -> float | None:
        """Seconds that the device had nothing to do since the step before; None if it has no clock of its own."""
        idle = [outcome.idle_seconds for outcome in self.outcomes if outcome.idle_seconds is not None]
        return sum(idle) if idle else None

    @property
    def starved(self) -> float:
        """Seconds of the wait in which the device had nothing to do: all, if that is not known."""
        return self.wait if self.idle is None else min(self.wait, self.idle)


class Stream:
    """Runs windows on one device.

    Args:
        source: Yields windows; None where there is none at the moment, in which case `idle` is called before the
            next is asked for, unless something is under way.
        make_engine: Called once the loader's processes have started, for they must not inherit a CUDA context.
        began: Called with a window when its work is about to be queued.
    """

    def __init__(
        self,
        source: Iterable[Window | None],
        front_end: FrontEnd,
        make_engine: Callable[[], Engine],
        config: RuntimeConfig,
        num_workers: int,
        began: Callable[[Window], None] = lambda window: None,
        idle: Callable[[], object] = lambda: None,
    ) -> None:
        self._front_end, self._config, self._began, self._idle = front_end, config, began, idle
        self._num_workers = num_workers
        self._source = iter(source)
        self._unreadable: Exception | None = None  # what ended the source
        self._ahead: dict[tuple[int, tuple[int, int] | None], Window] = {}  # given to the loader, not yet come back
        self._loader = self._load([])
        self.engine: Engine | None = None
        try:
            self.engine = make_engine()
        except BaseException:
            self.close()
            raise
        self._last = time.perf_counter()
        self._stopped = False
        self._undeliverable: Exception | None = None

    def _load(self, again: list[Window]) -> Iterator[Prepared | None]:
        def remembered() -> Iterator[Window | None]:
            yield from again
            try:
                for window in self._source:
                    if window is not None:
                        self._ahead[window.index, window.only] = window
                    yield window
            except Exception as error:
                self._unreadable = error
                raise

        return load(self._front_end, remembered(), self._num_workers, self._config.prefetch_factor)

    def run(self, deliver: Callable[[Step], None]) -> None:
        """Run all windows; `deliver` gets each as soon as it is finished, in order.

        `stop` may be called meanwhile: the windows under way are delivered, the rest is left undone.
        """
        pending: _Queued | None = None

        def deliver_if_ready() -> None:
            nonlocal pending
            if pending is not None and pending.ready():
                finished, pending = pending, None
                try:
                    deliver(self._step(finished))
                except Exception as error:
                    self._undeliverable = error
                    raise

        begun = time.perf_counter()  # to wait
        while not self._stopped:
            try:
                prepared = self._next()
            except StopIteration:
                break
            if prepared is None:
                if pending is not None:
                    finished, pending = pending, None
                    deliver(self._step(finished))
                elif not self._ahead:
                    self._idle()
                continue
            wait = time.perf_counter() - begun
            window = self._ahead.pop((prepared.index, prepared.only))
            self._began(window)
            queued = self._queue(window, prepared, wait, deliver_if_ready)
            if pending is not None:
                deliver(self._step(pending))
            pending = queued
            deliver_if_ready()  # always so on the CPU
            begun = time.perf_counter()
        if pending is not None:
            deliver(self._step(pending))

    def stop(self) -> None:
        """Begin no other window."""
        self._stopped = True

    def close(self) -> None:
        """End the loader's processes; left to the end of the program, each would be waited for. Let go of the models.

        Whoever runs one input after the other would have several in memory until Python finds the cycle they are in.
        """
        self._loader = iter(())
        self.engine = None

    @property
    def queue_depth(self) -> int:
        """Windows that the loader has in hand or ready."""
        return len(self._ahead)

    def _next(self) -> Prepared | None:
        """The next prepared window; dead loader processes are replaced.

        Raises:
            DeviceLost: They keep dying, or a window cannot be prepared. Which one is for a coordinator to find out.
        """
        for attempt in range(self._config.max_retries_transient + 1):
            try:
                return next(self._loader)
            except StopIteration:
                raise
            except Exception as error:
                if error is self._unreadable:
                    raise
                if not _is_death(error) or attempt == self._config.max_retries_transient:
                    raise DeviceLost(
                        f"preparing a window for {self.engine.device} failed ({one_line(error)})"
                    ) from error
                log.warning("A loader process died (%s); starting new ones.", one_line(error))
                self._loader = self._load(list(self._ahead.values()))
        raise AssertionError("unreachable")

    def _queue(self, window: Window, prepared: Prepared, wait: float, between: Callable[[], None]) -> _Queued:
        try:
            return _Queued(window, wait, self.engine.submit(prepared, between))
        except Exception as error:
            if error is self._undeliverable or isinstance(error, DeviceLost):
                raise  # of delivering the window before, or nothing that this process can mend
            return _Queued(window, wait, outcomes=self._isolated(window, error))

    def _step(self, queued: _Queued) -> Step:
        try:
            outcomes = queued.outcomes or [queued.pending.outcome()]
        except Exception as error:
            outcomes = self._isolated(queued.window, error)
        now = time.perf_counter()
        step = Step(queued.window, outcomes, queued.wait, now - self._last)
        self._last = now
        return step

    def _isolated(self, window: Window, error: Exception, failures: int = 1) -> list[Outcome]:
        """Try a window that failed again, then its halves, until what fails is one sequence."""
        if self.engine.device.type == "cuda":
            try:
                torch.cuda.synchronize(self.engine.device)
            except RuntimeError as lost:
                raise DeviceLost(f"{self.engine.device}: {one_line(lost)}") from error
        prepared = self._front_end[window]
        while failures < self._config.max_retries_poison:
            log.warning("Window %d failed (%s); trying again.", window.index, one_line(error))
            try:
                return [self.engine.submit(prepared).outcome()]
            except Exception as again:
                error, failures = again, failures + 1
        log.debug("Window %d", window.index, exc_info=error)
        first, end = window.only or (0, prepared.sequences)
        if end - first <= 1:
            log.error("Left out one sequence of window %d: %s", window.index, one_line(error))
            return [self.engine.failed(prepared, one_line(error))]
        middle = (first + end) // 2
        parts = []
        for only in ((first, middle), (middle, end)):
            part = replace(window, only=only)
            try:
                parts.append(self.engine.submit(self._front_end[part]).outcome())
            except Exception as again:
                parts += self._isolated(part, again)
        return parts


@dataclass
class _Queued:
    """A window given to the engine; one that failed at first has its outcomes already."""

    window: Window
    wait: float
    pending: Pending | None = None
    outcomes: list[Outcome] | None = None

    def ready(self) -> bool:
        return self.pending is None or self.pending.ready()


def _is_death(error: Exception) -> bool:
    """Whether a loader process died, so that there is no answer, or one whose memory is gone with it."""
    text = str(error)
    gone = isinstance(error, (OSError, EOFError)) and "in DataLoader worker process" not in text
    return gone or text.startswith("DataLoader worker (pid")


def one_line(error: BaseException) -> str:
    """An error on one line, without tabs, short enough for a table."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
