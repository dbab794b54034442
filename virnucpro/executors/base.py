"""Executors: what a run asks of whoever computes it, and what it is told in return. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from virnucpro.config.compute import ComputeConfig, WeightsInfo
from virnucpro.config.runtime import RuntimeConfig
from virnucpro.engine.results import FinishedWindow
from virnucpro.reading.window_source import Source


@dataclass(frozen=True)
class ExecutorConfig:
    """The same for every worker of a run. num_workers: loader processes of each. threads: of a CPU worker."""

    recipe: ComputeConfig
    config: RuntimeConfig
    num_workers: int
    threads: int | None
    log_level: int


@dataclass(frozen=True)
class WindowCost:
    """What a window cost. capacity: tokens that its packs could have held. seconds: since the same worker's window
    before. wait: of these, for the loader, while the device had nothing to do.

    device_seconds, idle_seconds: by the device's own clock, from first to last kernel of the window, and from the last
    one of the window before (None for a device's first window, and on the CPU). utilization: percent, by NVML, or None.
    """

    rank: int
    device: str
    tokens: int
    packs: int
    sequences: int
    seconds: float
    wait: float
    device_seconds: float = 0.0
    idle_seconds: float | None = None
    utilization: float | None = None
    queue_depth: int = 0
    capacity: int = 0

    def __add__(self, last: WindowCost) -> WindowCost:
        """Of two parts of a window; what does not add up is the last one's."""
        idle = [part.idle_seconds for part in (self, last) if part.idle_seconds is not None]
        return replace(
            last,
            tokens=self.tokens + last.tokens,
            packs=self.packs + last.packs,
            sequences=self.sequences + last.sequences,
            seconds=self.seconds + last.seconds,
            wait=self.wait + last.wait,
            device_seconds=self.device_seconds + last.device_seconds,
            idle_seconds=sum(idle) if idle else None,
            capacity=self.capacity + last.capacity,
        )


DECISIVE = ("attention", "steps")  # backends that have to be the same all through a run


WindowAndCost = tuple[FinishedWindow, WindowCost]


class Executor(Protocol):
    """One device in this process, or several in processes of their own: check, load, run, close."""

    failed_ranks: list[int]

    def check(self) -> WeightsInfo:
        """Check the weights, before anything is written or loaded."""

    def load(self, source: Source) -> dict[str, str]:
        """Load the models, while the first windows are being prepared.

        Returns:
            The backends: what decides about the last digits of what is computed.
        """

    def run(self) -> Iterator[WindowAndCost]:
        """Compute all windows; each comes as soon as it is finished, in whatever order."""

    def stop(self) -> None:
        """Finish the windows in hand and begin no other."""

    def close(self) -> None:
        """End what processes there are."""
