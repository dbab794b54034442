"""Window loop: it brings windows through the loaders and the device of this process, in order, and keeps both busy.

While the device computes a window, the loader's processes make the next ones, and the numbers of the one before are
on their way to the host.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from virnucpro.config.runtime import RuntimeConfig
from virnucpro.engine.events import Began, Computed, WindowCost
from virnucpro.engine.loader import PackedWindow
from virnucpro.engine.model_runner import ModelRunner
from virnucpro.engine.pending_result import PendingResult
from virnucpro.engine.prefetch import Prefetcher
from virnucpro.engine.results import WindowResult, next_tries
from virnucpro.errors import DeviceLost, one_line
from virnucpro.reading.window_source import Source
from virnucpro.reading.windows import Window

log = logging.getLogger(__name__)


class WindowLoop:
    """Runs windows on one device. The loaders have the first ones in hand as soon as it is made."""

    _rank: int
    _utilization: Callable[[], float | None]
    _last: float  # when a window was finished last

    def __init__(self, source: Source, loaders: Prefetcher, config: RuntimeConfig) -> None:
        self._source, self._loaders, self._config = source, loaders, config
        self._runner: ModelRunner | None = None
        self._stopped = False
        self._fill()

    def _fill(self) -> None:
        """Hand out as many windows as there are at the moment, and room for."""
        while not self._source.ended and self._loaders.room and (window := self._source.take()) is not None:
            self._loaders.put(window)

    def run(
        self, runner: ModelRunner, rank: int = 0, utilization: Callable[[], float | None] = lambda: None
    ) -> Iterator[tuple[Window, Began | Computed]]:
        """Run all windows, in order; `stop` may be called meanwhile.

        Args:
            rank: Of this worker, for the costs.
            utilization: Reads how busy the device was since it was called last, in percent.
        Yields:
            Each window twice: when it begins, and as soon as it is finished.
        Raises:
            DeviceLost: The device or the loaders cannot go on in this process.
        """
        self._runner, self._rank, self._utilization = runner, rank, utilization
        self._last = since = time.perf_counter()  # since when this process waits for a window
        pending: _Queued | None = None
        while not self._stopped:
            self._fill()
            if not self._loaders:
                if pending is not None:
                    yield self._computed(pending)
                    pending = None
                elif self._source.ended:
                    break
                else:
                    self._source.wait()
                continue
            if (ready := self._loaders.next()) is None:
                continue
            wait = time.perf_counter() - since
            window, packed = ready
            yield window, Began(window.key, packed.blank)
            for queued in self._queue(window, packed, wait):
                if pending is not None and (queued is not None or pending.ready()):
                    yield self._computed(pending)
                    pending = None
                pending = queued or pending
            since = time.perf_counter()
        if pending is not None:
            yield self._computed(pending)

    def stop(self) -> None:
        """Finish the windows under way and begin no other."""
        self._stopped = True

    def _queue(self, window: Window, packed: PackedWindow, wait: float) -> Iterator[_Queued | None]:
        """Queue a window, as `ModelRunner.queue` does; the last of all is None."""
        try:
            for pending in self._runner.queue(packed):
                yield None if pending is None else _Queued(window, wait, pending)
        except DeviceLost:
            raise
        except Exception as error:
            yield _Queued(window, wait, results=self._tried_again(window, error))
        yield None  # the window may be computed by now; on the CPU it is

    def _computed(self, queued: _Queued) -> tuple[Window, Computed]:
        """Wait for a window's numbers."""
        try:
            results = queued.results or [queued.pending.result()]
        except Exception as error:
            results = self._tried_again(queued.window, error)
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        cost = WindowCost.of(
            results, self._rank, str(self._runner.device), seconds, queued.wait, self._utilization(), len(self._loaders)
        )
        return queued.window, Computed(queued.window.key, results, cost)

    def _tried_again(
        self, window: Window, error: Exception, failures: int = 1, packed: PackedWindow | None = None
    ) -> list[WindowResult]:
        """Try a window that failed again, then its halves, until what fails is one sequence."""
        if self._runner.device.type == "cuda":
            try:
                torch.cuda.synchronize(self._runner.device)
            except RuntimeError as lost:
                raise DeviceLost(f"{self._runner.device}: {one_line(lost)}") from error
        packed = packed or self._loaders.prepare(window)
        tries = next_tries(window, packed.blank.sequences, failures, self._config.max_retries_poison)
        if window in tries:
            log.warning("Window %d failed (%s); trying again.", window.index, one_line(error))
        else:
            log.debug("Window %d", window.index, exc_info=error)
        if not tries:
            log.error("Left out one sequence of window %d: %s", window.index, one_line(error))
            return [self._runner.failed(packed, one_line(error))]
        results: list[WindowResult] = []
        for part in tries:
            whole = part is window
            try:
                results.append(self._runner.submit(packed if whole else self._loaders.prepare(part)).result())
            except Exception as again:
                results += self._tried_again(part, again, failures + 1 if whole else 1, packed if whole else None)
        return results


@dataclass
class _Queued:
    """A window given to the runner; one that failed at first has its results already."""

    window: Window
    wait: float  # seconds that this process waited for it
    pending: PendingResult | None = None
    results: list[WindowResult] | None = None

    def ready(self) -> bool:
        return self.pending is None or self.pending.ready()
