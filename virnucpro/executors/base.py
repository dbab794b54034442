"""Executor: what a run asks of whoever computes it, and what it is told in return. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from virnucpro.config.compute import ComputeConfig, WeightsInfo
from virnucpro.config.runtime import RuntimeConfig
from virnucpro.engine.events import WindowCost
from virnucpro.engine.results import FinishedWindow
from virnucpro.reading.window_source import Source

DECISIVE = ("attention", "steps")  # backends that have to be the same all through a run
WindowAndCost = tuple[FinishedWindow, WindowCost]


@dataclass(frozen=True)
class ExecutorConfig:
    """What every worker of a run is told; the same for all."""

    compute: ComputeConfig  # what decides the numbers
    runtime: RuntimeConfig  # retries, limits, how far ahead windows are packed
    num_workers: int  # loader processes of each worker
    threads: int | None  # of a worker on the CPU; None: torch's choice
    log_level: int  # as of `logging`


class Executor(Protocol):
    """One device in this process, or several in processes of their own: check, load, run or stop, close."""

    failed_ranks: list[int]

    def check(self) -> WeightsInfo:
        """Check the weights, before anything is written or loaded."""

    def load(self, source: Source) -> dict[str, str]:
        """Load the models, while the first windows are being packed.

        Returns:
            The backends: what decides about the last digits of what is computed.
        """

    def run(self) -> Iterator[WindowAndCost]:
        """Compute all windows; each comes as soon as it is finished, in whatever order."""

    def stop(self) -> None:
        """Finish the windows in hand and begin no other."""

    def close(self) -> None:
        """End what processes there are."""
