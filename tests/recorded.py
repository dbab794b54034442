"""Telemetry of made-up windows, with no warm-up unless asked for; test_telemetry.py and test_performance_report.py."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from virnucpro.utils.telemetry import TelemetryLogger

WINDOW = {
    "sequences": 10,
    "tokens": 900,
    "seconds": 2.0,
    "packs": 1,
    "pack_capacity": 1000,
    "loader_wait_ms": 0.5,
    "queue_depth": 2,
}


def logger(
    folder: Path = Path("unused"), windows: Iterable[dict] = (), run_id: str = "run", **options: object
) -> TelemetryLogger:
    """What was recorded of `windows`, each with what differs from `WINDOW`."""
    made = TelemetryLogger(folder, run_id, **{"warmup_seconds": 0.0, "warmup_batches": 0} | options)
    for window in windows:
        made.record_batch(**WINDOW | {"device": f"cuda:{window.get('rank', 0)}"} | window)
    return made
