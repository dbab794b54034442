"""Meter: what every finished window adds to the bar and to the telemetry."""

from __future__ import annotations

import time

from virnucpro.engine.events import WindowCost
from virnucpro.engine.results import FinishedWindow
from virnucpro.reporting.progress import InferenceProgressReporter
from virnucpro.telemetry.recorder import TelemetryLogger

_SAME = ("sequences", "copies", "tokens", "seconds", "packs", "queue_depth", "rank", "device")  # names there and here


class Meter:
    """Counts windows as they are finished; the time runs from its making."""

    def __init__(self, bar: InferenceProgressReporter, telemetry: TelemetryLogger) -> None:
        self._bar, self._telemetry = bar, telemetry
        self._last = time.perf_counter()

    def count_write(self, write_seconds: float | None) -> None:
        """Take in what was written after the last window."""
        if write_seconds is not None:
            self._telemetry.record_checkpoint(1000 * write_seconds)

    def count(self, window: FinishedWindow, cost: WindowCost, write_seconds: float | None) -> None:
        """Take in one window; write_seconds: of a checkpoint that was completed meanwhile."""
        now = time.perf_counter()
        packing = cost.tokens / cost.capacity if cost.packs else None
        self._bar.update(int((window.firsts_R == 0).sum()), cost.tokens, now - self._last, cost.utilization, packing)
        self._last = now
        self._telemetry.record_batch(
            pack_capacity=cost.capacity,
            loader_wait_ms=1000 * cost.wait,
            gpu_utilization=cost.utilization,
            gpu_idle_ms=None if cost.idle_seconds is None else 1000 * cost.idle_seconds,
            checkpoint_write_ms=None if write_seconds is None else 1000 * write_seconds,
            **{name: getattr(cost, name) for name in _SAME},
        )
