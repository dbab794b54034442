"""Meter: what every finished window adds to the bar and to the telemetry."""

from __future__ import annotations

import time

from virnucpro.outcomes import Finished
from virnucpro.pipeline.progress_reporter import InferenceProgressReporter
from virnucpro.utils.telemetry import TelemetryLogger
from virnucpro.work import Cost


class Meter:
    """Counts windows as they are finished; the time runs from its making."""

    def __init__(self, bar: InferenceProgressReporter, telemetry: TelemetryLogger, token_budget: int) -> None:
        self._bar, self._telemetry, self._token_budget = bar, telemetry, token_budget
        self._last = time.perf_counter()

    def count(self, window: Finished, cost: Cost, write_seconds: float | None) -> None:
        """Take in one window; write_seconds: of a checkpoint that was completed meanwhile."""
        now = time.perf_counter()
        # A sequence over the budget has a pack of its own size.
        capacity = max(cost.packs * self._token_budget, cost.tokens)
        records = int((window.firsts_R == 0).sum())
        packing = cost.tokens / capacity if cost.packs else None
        self._bar.update(records, cost.tokens, now - self._last, cost.utilization, packing)
        self._last = now
        self._telemetry.record_batch(
            sequences=cost.sequences,
            tokens=cost.tokens,
            seconds=cost.seconds,
            packs=cost.packs,
            token_budget=-(-capacity // max(1, cost.packs)),
            loader_wait_ms=1000 * cost.wait,
            queue_depth=cost.queue_depth,
            gpu_utilization=cost.utilization,
            gpu_idle_ms=None if cost.idle_seconds is None else 1000 * cost.idle_seconds,
            checkpoint_write_ms=None if write_seconds is None else 1000 * write_seconds,
            rank=cost.rank,
            device=cost.device,
        )
