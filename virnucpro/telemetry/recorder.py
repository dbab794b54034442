"""Telemetry: runtime metrics of every batch, kept small, summed up and written.

A batch is one window of sequences. A rank is one worker; several run at the same time, each with a file of its own.
"""

from __future__ import annotations

import math
import numbers
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from virnucpro.errors import BadRequest
from virnucpro.telemetry.documents import make_document, write_document
from virnucpro.telemetry.totals import RankTotals, Totals, ratio, summarise

STARVED_MS = 1.0  # a longer wait than this means that no window lay ready
LINEAR_SHARE = 0.95  # of linear scaling that is asked for: 1.9 times as fast on two GPUs


@dataclass
class _Thinned:
    """Records of a rank, every `stride`-th of all there were; at most `limit` are kept."""

    limit: int
    stride: int = 1
    records: list[dict[str, Any]] = field(default_factory=list)

    def offer(self, record: dict[str, Any]) -> None:
        """Keep a record if its number, from 0, is a multiple of the stride, which doubles when there are too many."""
        if record["batch"] % self.stride == 0:
            self.records.append(record)
        if len(self.records) > self.limit:
            self.records = self.records[::2]
            self.stride *= 2


class TelemetryLogger:
    """Collects the figures of a run and writes them to ``{output_dir}/telemetry_{run_id}.json``.

    Memory and file stay small however long the run is: when a rank has `max_batches` records, every second one is
    dropped, and from then on every second batch is recorded, and so on. Totals count every batch all the same.

    Args:
        output_dir: Made if it does not exist.
        run_id: Part of the file's name.
        warmup_seconds: Batches count as warm-up until these and `warmup_batches` have passed.
        warmup_batches: See `warmup_seconds`.
        max_batches: Most records kept for each rank, 2 or more.
    Raises:
        BadRequest: A `run_id` that cannot be part of a file's name.
    """

    def __init__(
        self,
        output_dir: Path,
        run_id: str,
        warmup_seconds: float = 5.0,
        warmup_batches: int = 4,  # the first three are small on purpose, see `windows.RAMP`
        max_batches: int = 10_000,
    ) -> None:
        if not run_id or "/" in run_id:
            raise BadRequest(f"The run id {run_id!r} must fit into a file's name. Use letters, digits, '-' and '_'.")
        assert max_batches >= 2, max_batches
        self.path = Path(output_dir) / f"telemetry_{run_id}.json"
        self._warmup_seconds, self._warmup_batches = warmup_seconds, warmup_batches
        self._max_batches = max_batches
        self._metadata: dict[str, object] = {"run_id": run_id}
        self._ranks: dict[int, RankTotals] = {}
        self._kept: dict[int, _Thinned] = {}
        self._stage: tuple[str, float] | None = None  # the one under way, and when it began
        self._stage_seconds: dict[str, float] = {}

    def set_run_metadata(self, **values: object) -> None:
        """Add to what the file says about the run, or replace it."""
        self._metadata.update(values)

    def begin_stage(self, name: str | None) -> None:
        """Say what the run does from now on; the stage before ends (None: no other begins)."""
        now = time.perf_counter()
        if self._stage is not None:
            before, began = self._stage
            self._stage_seconds[before] = self._stage_seconds.get(before, 0.0) + now - began
        self._stage = None if name is None else (name, now)

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Wall time of each stage that has ended, in the order in which they first began."""
        return dict(self._stage_seconds)

    def record_batch(
        self,
        *,
        sequences: int,
        tokens: int,
        seconds: float,
        packs: int,
        pack_capacity: int,
        loader_wait_ms: float,
        queue_depth: int,
        gpu_utilization: float | None = None,
        gpu_idle_ms: float | None = None,
        checkpoint_write_ms: float | None = None,
        copies: int = 0,
        rank: int = 0,
        device: str = "cpu",
    ) -> None:
        """Record one window.

        Args:
            sequences: In the window.
            tokens: That were computed, <cls> and <eos> included.
            seconds: Since this rank's previous batch ended, or since its start.
            packs: Packs the window was laid out in; 0 if it was not packed.
            pack_capacity: Tokens that these packs could have held.
            loader_wait_ms: Time the device had nothing to do because the window was not ready.
            queue_depth: Prepared windows that were waiting.
            gpu_utilization: Percent, or None if unknown.
            gpu_idle_ms: Time the device had nothing to do since this rank's previous batch, by its own clock, whatever
                the reason; None if unknown.
            checkpoint_write_ms: None unless a checkpoint was written.
            copies: Of the sequences, those that were not computed, for another one of the window has the same residues.
            rank: The worker.
            device: Where it runs.
        """
        measured = (seconds, loader_wait_ms, gpu_utilization or 0.0, gpu_idle_ms or 0.0, checkpoint_write_ms or 0.0)
        assert all(0 <= value < math.inf for value in measured), measured  # one NaN would spoil every total
        sofar = self._ranks.setdefault(rank, RankTotals(device))
        before = sofar.all_batches
        warmup = before.batches < self._warmup_batches or before.seconds < self._warmup_seconds
        starved = loader_wait_ms > STARVED_MS
        one = Totals(
            batches=1,
            sequences=int(sequences),
            copies=int(copies),
            tokens=int(tokens),
            packs=int(packs),
            seconds=float(seconds),
            packed_tokens=int(tokens) if pack_capacity else 0,
            pack_capacity=int(pack_capacity),
            starved_batches=int(starved),
            sampled_seconds=0.0 if gpu_utilization is None else float(seconds),
            busy_percent_seconds=0.0 if gpu_utilization is None else float(gpu_utilization * seconds),
            clocked_seconds=0.0 if gpu_idle_ms is None else float(seconds),
            idle_seconds=(gpu_idle_ms or 0.0) / 1000,
            checkpoint_seconds=(checkpoint_write_ms or 0.0) / 1000,
        )
        self._ranks[rank] = sofar + RankTotals(device, one, Totals() if warmup else one)
        self._kept.setdefault(rank, _Thinned(self._max_batches)).offer(
            {
                "rank": rank,
                "device": device,
                "batch": before.batches,
                "warmup": warmup,
                "elapsed_seconds": before.seconds + one.seconds,
                "seconds": one.seconds,
                "sequences": one.sequences,
                "copies": one.copies,
                "tokens": one.tokens,
                "packs": one.packs,
                "tokens_per_second": ratio(one.tokens, one.seconds),
                "sequences_per_second": ratio(one.sequences, one.seconds),
                "packing_efficiency": ratio(one.tokens, one.pack_capacity),
                "loader_wait_ms": float(loader_wait_ms),
                "queue_state": "starved" if starved else "ready",
                "queue_depth": int(queue_depth),
                "gpu_utilization": gpu_utilization,
                "gpu_idle_ms": gpu_idle_ms,
                "checkpoint_write_ms": checkpoint_write_ms,
            }
        )

    def record_checkpoint(self, write_ms: float) -> None:
        """Record a checkpoint that was written after the last batch."""
        assert 0 <= write_ms < math.inf, write_ms
        for rank, sofar in list(self._ranks.items())[-1:]:
            self._ranks[rank] = sofar + RankTotals(sofar.device, Totals(checkpoint_seconds=write_ms / 1000))

    def get_summary(self) -> dict[str, Any]:
        """Return the summary so far; `virnucpro.utils.totals.summarise` says what is in it."""
        return summarise(self._ranks, self._records())

    def finalize(self) -> Path:
        """Write the file, whole or not at all, and return its path."""
        self.begin_stage(None)
        if self._stage_seconds:
            self._metadata["stage_seconds"] = self._stage_seconds
        stride = max((kept.stride for kept in self._kept.values()), default=1)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_document(self.path, make_document(self._metadata, self._ranks, self._records(), stride))
        return self.path

    def _records(self) -> list[dict[str, Any]]:
        return [record for rank in sorted(self._kept) for record in self._kept[rank].records]


def calculate_scaling_efficiency(seconds_one: float, seconds_many: float, world_size: int) -> dict[str, float]:
    """Compare the same work on one GPU and on several.

    Args:
        seconds_one: Time with one GPU.
        seconds_many: Time with `world_size` GPUs.
        world_size: How many those are.
    Returns:
        dict: speedup, efficiency (1.0 is linear), and meets_target, a speedup of 0.95 * world_size or more.
    Raises:
        BadRequest: A time that is not above 0 and finite, or fewer than 1 GPU.
    """
    for name, seconds in (("seconds_one", seconds_one), ("seconds_many", seconds_many)):
        if isinstance(seconds, bool) or not isinstance(seconds, numbers.Real) or not 0 < seconds < math.inf:
            raise BadRequest(f"{name} is {seconds!r}, but must be seconds above 0. Measure that run again.")
    if isinstance(world_size, bool) or not isinstance(world_size, numbers.Integral) or world_size < 1:
        raise BadRequest(f"world_size is {world_size!r}, but must be a whole number of GPUs. Give 1 or more.")
    speedup = float(seconds_one / seconds_many)
    efficiency = speedup / world_size
    return {"speedup": speedup, "efficiency": efficiency, "meets_target": speedup >= LINEAR_SHARE * world_size}
