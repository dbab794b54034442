"""Totals: sums over batches, and the figures computed from them.

Throughputs, efficiencies and means are never averaged again: they are computed once, from sums that add up over
batches and over workers. A batch is one window of sequences; a rank is one worker.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

LARGE_RUN = 6_000_000  # sequences, the run that projections are for
CLOCK_TICK = 1e-9  # s


@dataclass(frozen=True)
class Totals:
    """Sums over some batches of one rank; two of them add up."""

    batches: int = 0
    sequences: int = 0
    copies: int = 0  # of the sequences; files of versions before it was counted lack it
    tokens: int = 0
    packs: int = 0
    seconds: float = 0.0
    packed_tokens: int = 0  # tokens of the batches that were packed
    pack_capacity: int = 0  # tokens these packs could have held
    starved_batches: int = 0
    sampled_seconds: float = 0.0  # seconds whose GPU utilisation is known ...
    busy_percent_seconds: float = 0.0  # ... times that utilisation in percent
    clocked_seconds: float = 0.0  # seconds of batches before which the device's idle time is known ...
    idle_seconds: float = 0.0  # ... and that idle time
    checkpoint_seconds: float = 0.0

    def __add__(self, other: Totals) -> Totals:
        return Totals(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Totals)))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Totals:
        """Read what `asdict` wrote; TypeError or ValueError if it is something else."""
        if {"copies", *values} != {field.name for field in fields(cls)}:
            raise ValueError("totals are missing or unknown")
        if not all(0 <= value < math.inf for value in values.values()):
            raise ValueError("totals are not all numbers of 0 or more")
        return cls(**values)


@dataclass(frozen=True)
class RankTotals:
    """What one worker did, in all and after its warm-up."""

    device: str
    all_batches: Totals = Totals()
    after_warmup: Totals = Totals()

    def __add__(self, later: RankTotals) -> RankTotals:
        """Join two runs of the same rank, one after the other (a worker that was started again)."""
        return RankTotals(self.device, self.all_batches + later.all_batches, self.after_warmup + later.after_warmup)

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> RankTotals:
        """Read an entry of a summary's "per_rank"."""
        sums = entry["sums"]
        return cls(str(entry["device"]), Totals.from_dict(sums["all_batches"]), Totals.from_dict(sums["after_warmup"]))


def ratio(part: float, whole: float) -> float | None:
    """part / whole; None where `whole` is nothing, or a time shorter than a clock can tell."""
    return part / whole if whole >= CLOCK_TICK else None


def percentile_95(values: Iterable[float]) -> float | None:
    """The smallest value that at least 95 % of the values do not exceed; None without values."""
    ordered = sorted(values)
    return ordered[math.ceil(0.95 * len(ordered)) - 1] if ordered else None


def summarise(ranks: Mapping[int, RankTotals], records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Make a run's summary.

    "sequences", "copies", "tokens", "packs" and "batches" are exact totals over all batches; "copies" are those of the
    sequences that were not computed, for another one in the batch has the same residues; tokens and packs are of the
    others. "seconds" is the time of the rank that took longest. The other figures leave warm-up out where anything is
    left after it, which "warmup_excluded" and "warmup_reason" say; a rank that ended within its warm-up adds nothing to
    them.

    Ranks run at the same time, so throughput is the sum of theirs. The two projections to 6 million sequences
    differ where the batches after warm-up hold longer or shorter sequences than the run has on average: by
    sequences takes these batches for the whole, by tokens uses the run's mean tokens per sequence and is
    the one to trust when input is sorted by length.

    Args:
        ranks: Totals by rank.
        records: The kept records of batches; only the percentile of waits is computed from them.
    """
    ranks = dict(sorted(ranks.items()))
    whole = sum((rank.all_batches for rank in ranks.values()), Totals())
    steady = sum((rank.after_warmup for rank in ranks.values()), Totals())
    excluded = 0 < steady.batches < whole.batches
    counted = {number: rank.after_warmup if excluded else rank.all_batches for number, rank in ranks.items()}
    waits = [record["loader_wait_ms"] for record in records if not (excluded and record["warmup"])]
    longest = max((rank.all_batches.seconds for rank in ranks.values()), default=0.0)
    figures = _figures(list(counted.values()))
    large_tokens = _times(ratio(whole.tokens, whole.sequences), LARGE_RUN)
    return {
        **_counts(whole),
        "seconds": longest,
        "warmup_excluded": excluded,
        "warmup_reason": _warmup_reason(whole, steady),
        **figures,
        "sequences_per_hour": _times(figures["sequences_per_second"], 3600),
        "p95_loader_wait_ms": percentile_95(waits),
        "projected_hours_6m_sequences_by_sequences": _hours(LARGE_RUN, figures["sequences_per_second"]),
        "projected_hours_6m_sequences_by_tokens": _hours(large_tokens, figures["tokens_per_second"]),
        "checkpoint_write_seconds": whole.checkpoint_seconds,
        "checkpoint_overhead_percent": _times(ratio(whole.checkpoint_seconds, longest), 100),
        "per_rank": {str(number): _entry(rank, counted[number]) for number, rank in ranks.items()},
    }


def _counts(totals: Totals) -> dict[str, int]:
    return {name: getattr(totals, name) for name in ("sequences", "copies", "tokens", "packs", "batches")}


def _figures(parts: Sequence[Totals]) -> dict[str, float | None]:
    """Figures over batches of ranks that ran at the same time."""
    together = sum(parts, Totals())
    return {
        "tokens_per_second": _sum_known(ratio(part.tokens, part.seconds) for part in parts),
        "sequences_per_second": _sum_known(ratio(part.sequences, part.seconds) for part in parts),
        "packing_efficiency": ratio(together.packed_tokens, together.pack_capacity),
        "percent_gpu_idle": _times(ratio(together.idle_seconds, together.clocked_seconds), 100),
        "mean_gpu_utilization": ratio(together.busy_percent_seconds, together.sampled_seconds),
        "percent_starved": _times(ratio(together.starved_batches, together.batches), 100),
    }


def _entry(rank: RankTotals, counted: Totals) -> dict[str, Any]:
    """A rank in the summary; "sums" is there so that summaries can be added up."""
    whole = rank.all_batches
    return {
        "device": rank.device,
        **_counts(whole),
        "seconds": whole.seconds,
        **_figures([counted]),
        "sums": {"all_batches": asdict(whole), "after_warmup": asdict(rank.after_warmup)},
    }


def _warmup_reason(whole: Totals, steady: Totals) -> str:
    if not whole.batches:
        return "no batch was recorded"
    if not steady.batches:
        return "nothing is left after warm-up, so all batches count"
    if steady.batches == whole.batches:
        return "no warm-up was set, so all batches count"
    batches, seconds = whole.batches - steady.batches, whole.seconds - steady.seconds
    return f"left out as warm-up: {batches} of {whole.batches} batches, {seconds:.1f} s"


def _sum_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _hours(amount: float | None, per_second: float | None) -> float | None:
    return amount / per_second / 3600 if amount is not None and per_second else None
