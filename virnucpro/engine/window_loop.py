"""Window loop: windows through the loaders and the device of this process, in order, with nothing waiting for anything.

While the device computes a window, the loader's processes make the next ones, and the numbers of the one before are
on their way to the host.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from virnucpro.config.runtime import RuntimeConfig
from virnucpro.engine.loader import PackedWindow
from virnucpro.engine.model_runner import ModelRunner, PendingResult
from virnucpro.engine.prefetch import Prefetcher
from virnucpro.engine.results import WindowResult
from virnucpro.errors import DeviceLost, one_line
from virnucpro.reading.window_source import Source
from virnucpro.reading.windows import Window

log = logging.getLogger(__name__)


@dataclass
class Step:
    """A finished window: its outcomes (one, or those of its parts) and what they cost.

    wait: seconds this process waited for the loader, which reads the input meanwhile, or for a window to be handed to
    it. seconds: since the step before.
    """

    window: Window
    outcomes: list[WindowResult]
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


@dataclass(frozen=True)
class Begun:
    """A window whose work is about to be queued."""

    window: Window


class WindowLoop:
    """Runs windows on one device. The loaders have the first ones in hand as soon as it is made."""

    def __init__(self, source: Source, loaders: Prefetcher, config: RuntimeConfig) -> None:
        self._source, self._loaders, self._config = source, loaders, config
        self._engine: ModelRunner | None = None
        self._last = time.perf_counter()
        self._stopped = False
        self._fill()

    def _fill(self) -> None:
        """Hand out as many windows as there are at the moment, and room for."""
        while not self._source.ended and self._loaders.room and (window := self._source.take()) is not None:
            self._loaders.put(window)

    def run(self, engine: ModelRunner) -> Iterator[Begun | Step]:
        """Run all windows, in order; each is yielded twice, when it begins and as soon as it is finished.

        `stop` may be called meanwhile: the windows under way are finished, the rest is left undone.
        """
        self._engine = engine
        self._last = begun = time.perf_counter()  # to wait
        pending: _Queued | None = None
        while not self._stopped:
            self._fill()
            if not self._loaders:
                if pending is not None:
                    finished, pending = pending, None
                    yield self._step(finished)
                elif self._source.ended:
                    break
                else:
                    self._source.wait()
                continue
            if (ready := self._loaders.next()) is None:
                continue
            wait = time.perf_counter() - begun
            window, prepared = ready
            yield Begun(window)
            for queued in self._queue(window, prepared, wait):
                if pending is not None and (queued is not None or pending.ready()):
                    finished, pending = pending, None
                    yield self._step(finished)
                pending = queued or pending
            if pending is not None and pending.ready():  # always so on the CPU
                finished, pending = pending, None
                yield self._step(finished)
            begun = time.perf_counter()
        if pending is not None:
            yield self._step(pending)

    def stop(self) -> None:
        """Begin no other window."""
        self._stopped = True

    @property
    def queue_depth(self) -> int:
        """Windows that the loader processes have in hand or ready."""
        return len(self._loaders)

    def _queue(self, window: Window, prepared: PackedWindow, wait: float) -> Iterator[_Queued | None]:
        """Queue a window; see `ModelRunner.queue`."""
        try:
            for pending in self._engine.queue(prepared):
                yield None if pending is None else _Queued(window, wait, pending)
        except DeviceLost:
            raise
        except Exception as error:
            yield _Queued(window, wait, outcomes=self._isolated(window, error))

    def _step(self, queued: _Queued) -> Step:
        try:
            outcomes = queued.outcomes or [queued.pending.outcome()]
        except Exception as error:
            outcomes = self._isolated(queued.window, error)
        now = time.perf_counter()
        step = Step(queued.window, outcomes, queued.wait, now - self._last)
        self._last = now
        return step

    def _isolated(self, window: Window, error: Exception, failures: int = 1) -> list[WindowResult]:
        """Try a window that failed again, then its halves, until what fails is one sequence."""
        if self._engine.device.type == "cuda":
            try:
                torch.cuda.synchronize(self._engine.device)
            except RuntimeError as lost:
                raise DeviceLost(f"{self._engine.device}: {one_line(lost)}") from error
        prepared = self._loaders.prepare(window)
        while failures < self._config.max_retries_poison:
            log.warning("Window %d failed (%s); trying again.", window.index, one_line(error))
            try:
                return [self._engine.submit(prepared).outcome()]
            except Exception as again:
                error, failures = again, failures + 1
        log.debug("Window %d", window.index, exc_info=error)
        first, end = window.only or (0, prepared.sequences)
        if end - first <= 1:
            log.error("Left out one sequence of window %d: %s", window.index, one_line(error))
            return [self._engine.failed(prepared, one_line(error))]
        middle = (first + end) // 2
        parts = []
        for only in ((first, middle), (middle, end)):
            part = replace(window, only=only)
            try:
                parts.append(self._engine.submit(self._loaders.prepare(part)).outcome())
            except Exception as again:
                parts += self._isolated(part, again)
        return parts


@dataclass
class _Queued:
    """A window given to the engine; one that failed at first has its outcomes already."""

    window: Window
    wait: float
    pending: PendingResult | None = None
    outcomes: list[WindowResult] | None = None

    def ready(self) -> bool:
        return self.pending is None or self.pending.ready()
