"""Telemetry files: their layout, and how those of several workers become one."""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from virnucpro.errors import BadInput
from virnucpro.system.files import whole_file
from virnucpro.telemetry.totals import RankTotals, summarise


def make_document(
    metadata: dict[str, Any], ranks: Mapping[int, RankTotals], records: list[dict[str, Any]], stride: int
) -> dict[str, Any]:
    """Lay out what a telemetry file holds.

    Args:
        records: Kept records of batches, one of every `stride`, or the largest of the ranks' strides.
    """
    return {
        "run_metadata": metadata,
        "summary": summarise(ranks, records),
        "per_batch_stride": stride,
        "per_batch_metrics": records,
    }


def write_document(path: Path, document: dict[str, Any]) -> None:
    """Write a telemetry file, whole or not at all, as JSON without NaN and infinity; its folder must exist."""
    with whole_file(path) as file:
        json.dump(_json_valid(document), file, indent=1, allow_nan=False)
        file.write("\n")


def _json_valid(value: object) -> object:
    """The same in JSON's types: NaN and infinity become null, what JSON does not know its text."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _json_valid(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_valid(entry) for entry in value]
    return str(value)


def aggregate_telemetry_shards(paths: Sequence[Path]) -> dict[str, Any]:
    """Merge the telemetry files of workers that ran at the same time into one of the same layout.

    Totals add up, seconds are those of the rank that took longest, throughput is the sum over ranks, and the
    percentile of waits is taken over all kept records. Files of the same rank count as one after the other (a worker
    that was started again). Metadata that all files share stays; the rest is listed under "shards", one entry a file.

    Raises:
        BadInput: No file, or one that is not telemetry. OSError: A file cannot be read.
    """
    if not paths:
        raise BadInput("No telemetry file was given, but one or more are needed. Give the telemetry_*.json of a run.")
    ranks: dict[int, RankTotals] = {}
    metadata: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    stride = 1
    for path in map(Path, paths):
        try:
            shard = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
            metadata.append(dict(shard["run_metadata"]))
            for rank, entry in shard["summary"]["per_rank"].items():
                totals = RankTotals.from_dict(entry)
                ranks[int(rank)] = ranks[int(rank)] + totals if int(rank) in ranks else totals
            stride = max(stride, shard["per_batch_stride"])
            kept = shard["per_batch_metrics"]
            if not all(isinstance(b["loader_wait_ms"], (int, float)) and isinstance(b["warmup"], bool) for b in kept):
                raise ValueError("a batch does not say how long it was waited for")
            records += kept
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(
                f"{path} is not a telemetry file ({type(error).__name__}: {error}). Give the telemetry_*.json of a run."
            ) from error
    shared = {key: value for key, value in metadata[0].items() if all(key in m and m[key] == value for m in metadata)}
    differing = [{key: value for key, value in each.items() if key not in shared} for each in metadata]
    return make_document(shared | {"shards": differing}, ranks, records, stride)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
