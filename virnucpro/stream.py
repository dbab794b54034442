"""Stream: windows through the loader and the engine of this process, in order, with nothing waiting for anything.

While the device computes a window, the loader's processes make the next ones, and the numbers of the one before are
on their way to the host.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch

from virnucpro.engine import Engine, Pending
from virnucpro.errors import DeviceLost, one_line
from virnucpro.loader import Prepared
from virnucpro.outcomes import Outcome
from virnucpro.pipeline.runtime_config import RuntimeConfig
from virnucpro.prefetch import Prefetcher
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
        loaders: Ended with the stream.
        make_engine: Called when the first windows are being prepared.
        began: Called with a window when its work is about to be queued.
    """

    def __init__(
        self,
        source: Iterable[Window | None],
        loaders: Prefetcher,
        make_engine: Callable[[], Engine],
        config: RuntimeConfig,
        began: Callable[[Window], None] = lambda window: None,
        idle: Callable[[], object] = lambda: None,
    ) -> None:
        self._loaders, self._config, self._began, self._idle = loaders, config, began, idle
        self._source = iter(source)
        self._ended = False  # the source
        self.engine: Engine | None = None
        try:
            self._fill()
            self.engine = make_engine()
        except BaseException:
            self.close()
            raise
        self._last = time.perf_counter()
        self._stopped = False
        self._undeliverable: Exception | None = None

    def _fill(self) -> None:
        """Hand out as many windows as there are at the moment, and room for."""
        while not self._ended and self._loaders.room:
            try:
                window = next(self._source)
            except StopIteration:
                self._ended = True
                return
            if window is None:
                return
            self._loaders.put(window)

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
            self._fill()
            if not self._loaders:
                if pending is not None:
                    finished, pending = pending, None
                    deliver(self._step(finished))
                elif self._ended:
                    break
                else:
                    self._idle()
                continue
            if (ready := self._loaders.next()) is None:
                continue
            wait = time.perf_counter() - begun
            window, prepared = ready
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
        """End the loader processes, and let go of the models.

        Whoever runs one input after the other would have several in memory until Python finds the cycle they are in.
        """
        self._loaders.close()
        self.engine = None

    @property
    def queue_depth(self) -> int:
        """Windows that the loader processes have in hand or ready."""
        return len(self._loaders)

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
        prepared = self._loaders.prepare(window)
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
                parts.append(self.engine.submit(self._loaders.prepare(part)).outcome())
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
