"""Report rows: titles, names and texts of all that telemetry and the validation tell, for the text and for the page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from virnucpro.reporting.requirements import Content, decimals

# Keys in the summary -> what they are called, factor to the unit shown, unit.
TOTALS = {
    "sequences": ("sequences", 1, ""),
    "copies": ("copies, not computed", 1, ""),
    "tokens": ("tokens", 1, ""),
    "packs": ("packs", 1, ""),
    "batches": ("batches", 1, ""),
    "seconds": ("time", 1, " s"),
    "checkpoint_write_seconds": ("checkpoint writes", 1, " s"),
    "checkpoint_overhead_percent": ("checkpoint overhead", 1, " %"),
}
STEADY = {
    "tokens_per_second": ("tokens/s", 1, ""),
    "sequences_per_second": ("sequences/s", 1, ""),
    "sequences_per_hour": ("sequences/h", 1, ""),
    "packing_efficiency": ("packing", 100, " %"),
    "mean_gpu_utilization": ("GPU utilisation", 1, " %"),
    "percent_gpu_idle": ("GPU idle", 1, " %"),
    "p95_loader_wait_ms": ("p95 loader wait", 1, " ms"),
    "percent_starved": ("batches starved", 1, " %"),
}
RANK = ("sequences", "tokens", "seconds", "tokens_per_second", "packing_efficiency", "mean_gpu_utilization")
ABSENT = "not known"

Rows = list[tuple[str, str]]


def sections(metadata: Content, summary: Content, results: Mapping[str, Content]) -> Iterator[tuple[str, Rows]]:
    """Yield titles and rows (name, text) of all but the requirements and the ranks."""
    shards = metadata.get("shards", [])  # what differs between the files of workers
    run = _pairs(_without(metadata, "hardware", "shards", "stage_seconds", "audit"))
    for number, shard in enumerate(shards):
        run += _pairs({f"shard {number}, {key}": value for key, value in _without(shard, "hardware").items()})
    yield "Run", run
    # Temperatures alone make the workers' descriptions differ; the first tells what matters.
    yield "Hardware", _hardware(next((each["hardware"] for each in (metadata, *shards) if each.get("hardware")), {}))
    yield "Totals", _table(TOTALS, {"copies": None} | dict(summary))  # which files of earlier commits lack
    if stages := metadata.get("stage_seconds"):
        whole = sum(stages.values()) or 1.0
        rows = [(name, f"{decimals(sec)} s ({100 * sec / whole:.0f} %)") for name, sec in stages.items()]
        yield "Stages", rows
    yield f"Steady state ({summary['warmup_reason']})", _table(STEADY, summary)
    if audit := metadata.get("audit"):
        yield f"Audit of {audit['precision']}", _audit(audit)
    comparison = results.get("speedup_comparison", {})
    if steps := comparison.get("breakdown"):
        title = f"Each optimisation, seconds per 10,000 proteins{steps_from(comparison)}"
        yield title, [(step, _gain(*row)) for step, *row in steps]
    if best := results.get("tuning", {}).get("recommendation"):
        yield "Parameters", [("recommended", str(best))]


def steps_from(comparison: Content) -> str:
    """Where the steps of the comparison were measured, in brackets; empty if it is where the rest was."""
    return f" ({comparison['breakdown_from']})" if comparison.get("breakdown_from") else ""


def rank_sections(summary: Content) -> Iterator[tuple[str, Rows]]:
    """Yield title and rows of each worker."""
    for rank, entry in summary["per_rank"].items():
        yield f"Rank {rank} ({entry['device']})", _table(RANK, entry)


def _audit(audit: Content) -> Rows:
    """What was found in a sample, and what is asked for."""
    bounds = audit["bounds"]
    rows = [("results", f"in {audit['results']}"), ("sequences", f"{audit['sequences']:,} in {audit['reference']} too")]
    rows += [
        (f"{name} cosine", f"{audit[key]:.4f} (required {bounds[key]:g})")
        for name, key in (("mean", "mean_cosine"), ("least", "least_cosine"))
        if audit[key] is not None
    ]
    if audit["labels"]:
        allowed = f"allowed {bounds['labels_changed']}"
        rows.append(("labels changed", f"{audit['labels_changed']} of {audit['labels']:,} ({allowed})"))
        rows.append(("score difference", f"{audit['score_difference']:.4f} at most"))
    return rows


def _gain(seconds: float | str, less: float | None) -> str:
    """A step's seconds, or in a word why there are none; and how many the step takes off."""
    if not isinstance(seconds, (int, float)):
        return seconds
    return f"{decimals(seconds)} s" + ("" if less is None else f" ({decimals(less)} s less)")


def _hardware(hardware: Content) -> Rows:
    rows = _pairs(_without(hardware, "gpus", "reason")) if hardware else [(ABSENT, "")]
    for number, gpu in enumerate(hardware.get("gpus", ())):
        rows += _pairs({f"gpu {number}": ", ".join(f"{key} {value}" for key, value in gpu.items())})
    return rows + (_pairs({"no gpu": hardware["reason"]}) if hardware.get("reason") else [])


def _table(keys: Iterable[str], values: Content) -> Rows:
    rows = []
    for key in keys:
        label, factor, unit = (TOTALS | STEADY)[key]
        rows.append((label, ABSENT if values[key] is None else f"{decimals(values[key] * factor)}{unit}"))
    return rows


def _without(values: Content, *keys: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


def _pairs(values: Content) -> Rows:
    return [
        (key, ABSENT if value is None else value if isinstance(value, str) else json.dumps(value, default=str))
        for key, value in values.items()
    ]
