"""Performance report: a telemetry file as a text for people, held against what is required."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator
from pathlib import Path

from virnucpro.errors import BadInput
from virnucpro.files import whole_file

# Keys in the summary -> what they are called, factor to the unit shown, unit.
FIGURES = {
    "sequences": ("sequences", 1, ""),
    "tokens": ("tokens", 1, ""),
    "packs": ("packs", 1, ""),
    "batches": ("batches", 1, ""),
    "seconds": ("time", 1, " s"),
    "checkpoint_write_seconds": ("checkpoint writes", 1, " s"),
    "checkpoint_overhead_percent": ("checkpoint overhead", 1, " %"),
    "tokens_per_second": ("tokens/s", 1, ""),
    "sequences_per_second": ("sequences/s", 1, ""),
    "sequences_per_hour": ("sequences/h", 1, ""),
    "packing_efficiency": ("packing", 100, " %"),
    "mean_gpu_utilization": ("GPU utilisation", 1, " %"),
    "percent_gpu_idle": ("GPU idle", 1, " %"),
    "p95_loader_wait_ms": ("p95 loader wait", 1, " ms"),
    "percent_starved": ("batches starved", 1, " %"),
    "projected_hours_6m_sequences_by_sequences": ("6 M sequences, by sequences", 1, " h"),
    "projected_hours_6m_sequences_by_tokens": ("6 M sequences, by tokens", 1, " h"),
}
TOTALS = (
    "sequences",
    "tokens",
    "packs",
    "batches",
    "seconds",
    "checkpoint_write_seconds",
    "checkpoint_overhead_percent",
)
STEADY = (
    "tokens_per_second", "sequences_per_second", "sequences_per_hour",
    "packing_efficiency", "mean_gpu_utilization", "percent_gpu_idle", "p95_loader_wait_ms", "percent_starved",
)  # fmt: skip
RANK = ("sequences", "tokens", "seconds", "tokens_per_second", "packing_efficiency", "mean_gpu_utilization")
# Key, comparison, bound in the unit shown.
REQUIREMENTS = (
    ("packing_efficiency", ">=", 90),
    ("mean_gpu_utilization", ">=", 70),
    ("p95_loader_wait_ms", "<", 100),
    ("projected_hours_6m_sequences_by_sequences", "<", 10),
    ("projected_hours_6m_sequences_by_tokens", "<", 10),
)
COMPARISONS = {">=": operator.ge, "<": operator.lt}
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
    for key, sign, bound in REQUIREMENTS:
        label, factor, unit = FIGURES[key]
        yield f"  {label} {sign} {bound}{unit}: {_verdict(summary[key], factor, COMPARISONS[sign], bound, unit)}"
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


def _table(keys: tuple[str, ...], values: dict) -> Iterator[str]:
    for key in keys:
        label, factor, unit = FIGURES[key]
        yield from _pairs({label: ABSENT if values[key] is None else f"{_number(values[key] * factor)}{unit}"})


def _without(values: dict, *keys: str) -> dict:
    return {key: value for key, value in values.items() if key not in keys}


def _pairs(values: dict) -> Iterator[str]:
    for key, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        yield f"  {key:<20} {ABSENT if value is None else text}"


def _number(value: float) -> str:
    """At most two decimals: 99.40 is 99.4, and 89.96 does not pass for 90."""
    return f"{value:,.2f}".rstrip("0").rstrip(".")
