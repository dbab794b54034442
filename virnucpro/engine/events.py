"""Events: what a window loop says of each window, in this process or as messages to a parent. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from virnucpro.engine.results import WindowResult
from virnucpro.reading.windows import Key


@dataclass(frozen=True)
class WindowCost:
    """The runtime metrics of a window, or of a part of one."""

    rank: int  # of the worker
    device: str
    tokens: int = 0
    packs: int = 0
    sequences: int = 0
    seconds: float = 0.0  # since the same worker's window before
    wait: float = 0.0  # of these, for the loader or for a window to be handed out, while the device had nothing to do
    device_seconds: float = 0.0  # by the device's own clock, from the first kernel to the last
    idle_seconds: float | None = None  # from the last kernel of the window before; None for the first, and on the CPU
    utilization: float | None = None  # percent, by NVML; None if that is not known
    queue_depth: int = 0  # windows that the loader processes have in hand or ready
    capacity: int = 0  # tokens that the packs could have held
    copies: int = 0  # sequences with the residues of another one in the window, which were not computed again

    @classmethod
    def of(
        cls, results: Sequence[WindowResult], rank: int, device: str, seconds: float, wait: float,
        utilization: float | None = None, queue_depth: int = 0,
    ) -> WindowCost:  # fmt: skip
        """Add up the results of one window. Of a wait, what the device had work for meanwhile does not count."""
        idle = _sum(result.idle_seconds for result in results)
        names = ("tokens", "packs", "sequences", "capacity", "copies")
        sums = {name: sum(getattr(result, name) for result in results) for name in names}
        return cls(
            rank, device, seconds=seconds, wait=wait if idle is None else min(wait, idle),
            device_seconds=sum(result.seconds for result in results), idle_seconds=idle,
            utilization=utilization, queue_depth=queue_depth, **sums,
        )  # fmt: skip

    def __add__(self, last: WindowCost) -> WindowCost:
        """Add up two parts of a window; what does not add up is the last one's."""
        names = ("tokens", "packs", "sequences", "seconds", "wait", "device_seconds", "capacity", "copies")
        sums: dict[str, Any] = {name: getattr(self, name) + getattr(last, name) for name in names}
        return replace(last, idle_seconds=_sum((self.idle_seconds, last.idle_seconds)), **sums)


def _sum(seconds: Iterable[float | None]) -> float | None:
    """Add up what is not None; None if nothing is."""
    numbers = [each for each in seconds if each is not None]
    return sum(numbers) if numbers else None


@dataclass(frozen=True)
class Began:
    """A window, or a part of one, is packed and about to be queued on the device."""

    key: Key
    blank: WindowResult  # its result as long as nothing is computed: how many sequences it has


@dataclass(frozen=True)
class Computed:
    """The device has finished a window, or a part of one."""

    key: Key
    results: list[WindowResult]  # one, or those of its parts, in order
    cost: WindowCost
