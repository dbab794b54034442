"""Performance report: a telemetry file as a text for people, held against what is required."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator
from pathlib import Path

from virnucpro.errors import BadInput
from virnucpro.files import whole_file

# What is asked, key in the summary, factor to the unit shown, comparison, bound, unit.
REQUIREMENTS = (
    ("packing >= 90 %", "packing_efficiency", 100, operator.ge, 90, " %"),
    ("GPU utilisation >= 70 %", "mean_gpu_utilization", 1, operator.ge, 70, " %"),
    ("p95 loader wait < 100 ms", "p95_loader_wait_ms", 1, operator.lt, 100, " ms"),
    ("6 M sequences, by sequences < 10 h", "projected_hours_6m_sequences_by_sequences", 1, operator.lt, 10, " h"),
    ("6 M sequences, by tokens < 10 h", "projected_hours_6m_sequences_by_tokens", 1, operator.lt, 10, " h"),
)
# Label, key in the summary, factor to the unit shown, unit.
TOTALS = (
    ("sequences", "sequences", 1, ""),
    ("tokens", "tokens", 1, ""),
    ("packs", "packs", 1, ""),
    ("batches", "batches", 1, ""),
    ("time", "seconds", 1, " s"),
    ("checkpoint writes", "checkpoint_write_seconds", 1, " s"),
    ("checkpoint overhead", "checkpoint_overhead_percent", 1, " %"),
)
STEADY = (
    ("tokens/s", "tokens_per_second", 1, ""),
    ("sequences/s", "sequences_per_second", 1, ""),
    ("sequences/h", "sequences_per_hour", 1, ""),
    ("packing", "packing_efficiency", 100, " %"),
    ("GPU utilisation", "mean_gpu_utilization", 1, " %"),
    ("p95 loader wait", "p95_loader_wait_ms", 1, " ms"),
    ("batches starved", "percent_starved", 1, " %"),
)
RANK = (
    ("sequences", "sequences", 1, ""),
    ("tokens", "tokens", 1, ""),
    ("time", "seconds", 1, " s"),
    ("tokens/s", "tokens_per_second", 1, ""),
    ("packing", "packing_efficiency", 100, " %"),
    ("GPU utilisation", "mean_gpu_utilization", 1, " %"),
)
ABSENT = "not known"


def generate_performance_report(telemetry: dict, path: Path) -> str:
    """Write what a telemetry file holds as plain text.

    Args:
        telemetry: As in a telemetry file, or merged from several. Hardware is taken from its metadata's "hardware",
            which `capture_hardware_info` gives.
        path: Written whole or not at all; its folder is made if need be.
    Returns:
        The text.
    Raises:
        BadInput: `telemetry` is something else.
    """
    try:
        text = "\n".join(_lines(telemetry["run_metadata"], telemetry["summary"])) + "\n"
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"This is not telemetry ({type(error).__name__}: {error}), so there is nothing to report. "
            "Give the content of a telemetry_*.json."
        ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(text)
    return text


def _lines(metadata: dict, summary: dict) -> Iterator[str]:
    yield from ("virnucpro performance report", "============================")
    yield from ("", "Run")
    shards = metadata.get("shards", [])  # what differs between the files of workers
    yield from _pairs(_without(metadata, "hardware", "shards"))
    for number, shard in enumerate(shards):
        yield from _pairs({f"shard {number}, {key}": value for key, value in _without(shard, "hardware").items()})
    yield from ("", "Hardware")
    # Temperatures alone make the workers' descriptions differ; the first tells what matters.
    yield from _hardware(next((each["hardware"] for each in (metadata, *shards) if each.get("hardware")), {}))
    yield from ("", "Totals")
    yield from _table(TOTALS, summary)
    yield from ("", f"Steady state ({summary['warmup_reason']})")
    yield from _table(STEADY, summary)
    yield from ("", "Requirements")
    for asked, key, factor, compare, bound, unit in REQUIREMENTS:
        yield f"  {asked}: {_verdict(summary[key], factor, compare, bound, unit)}"
    for rank, entry in summary["per_rank"].items():
        yield from ("", f"Rank {rank} ({entry['device']})")
        yield from _table(RANK, entry)


def _verdict(value: float | None, factor: float, compare: Callable, bound: float, unit: str) -> str:
    if value is None:
        return "NOT MEASURED"
    return f"{'PASS' if compare(value * factor, bound) else 'FAIL'} {_number(value * factor)}{unit}"


def _hardware(hardware: dict) -> Iterator[str]:
    if not hardware:
        yield f"  {ABSENT}"
    yield from _pairs(_without(hardware, "gpus", "reason"))
    for number, gpu in enumerate(hardware.get("gpus", ())):
        yield from _pairs({f"gpu {number}": ", ".join(f"{key} {value}" for key, value in gpu.items())})
    if hardware.get("reason"):
        yield from _pairs({"no gpu": hardware["reason"]})


def _table(rows: tuple, values: dict) -> Iterator[str]:
    yield from _pairs(
        {
            label: ABSENT if values[key] is None else f"{_number(values[key] * factor)}{unit}"
            for label, key, factor, unit in rows
        }
    )


def _without(values: dict, *keys: str) -> dict:
    return {key: value for key, value in values.items() if key not in keys}


def _pairs(values: dict) -> Iterator[str]:
    for key, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        yield f"  {key:<20} {ABSENT if value is None else text}"


def _number(value: float) -> str:
    """At most two decimals: 99.40 is 99.4, and 89.96 does not pass for 90."""
    return f"{value:,.2f}".rstrip("0").rstrip(".")
