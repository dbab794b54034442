"""Progress reporter: one bar with throughput on a terminal; nothing elsewhere."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

SMOOTHING_SECONDS = 30.0  # older windows fade from the throughput shown
SPEED_SECONDS = 300.0  # that the time left is estimated from; a window may take many seconds


class InferenceProgressReporter:
    """Context manager around one bar on standard error; log lines written meanwhile appear above it.

    Args:
        total: Sequences to come; None if not known yet, for a bar that pulses beside the count.
        show: False for no bar; there is none either where standard error is no terminal.
        description: What is counted.
    """

    def __init__(self, total: int | None, show: bool = True, description: str = "Sequences") -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),  # on a narrow terminal the bar gives way
            TextColumn("{task.fields[speed]} tok/s"),
            TextColumn("GPU {task.fields[gpu]} %"),
            TextColumn("packed {task.fields[packing]} %"),
            TextColumn("left"),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            console=Console(stderr=True),
            speed_estimate_period=SPEED_SECONDS,
            redirect_stdout=False,  # results that are piped on must not end up in standard error
            disable=not (show and sys.stderr is not None and sys.stderr.isatty()),
        )
        self._task = self._progress.add_task(description, total=total, speed="-", gpu="-", packing="-")
        self._tokens, self._seconds = 0.0, 0.0  # both fading, so that their ratio is a smoothed rate

    def update(
        self,
        sequences: int = 0,
        tokens: int = 0,
        seconds: float = 0.0,
        gpu_utilization: float | None = None,
        packing_efficiency: float | None = None,
    ) -> None:
        """Move the bar on.

        Args:
            sequences: Finished since the last update, by all workers.
            tokens: Theirs, likewise.
            seconds: That passed since the last update.
            gpu_utilization: Percent; None leaves what is shown.
            packing_efficiency: 0 to 1; None leaves what is shown.
        """
        fading = math.exp(-seconds / SMOOTHING_SECONDS)
        self._tokens = self._tokens * fading + tokens
        self._seconds = self._seconds * fading + seconds
        shown: dict[str, Any] = {}
        if self._seconds:
            shown["speed"] = f"{self._tokens / self._seconds:,.0f}"
        if gpu_utilization is not None:
            shown["gpu"] = f"{gpu_utilization:.0f}"
        if packing_efficiency is not None:
            shown["packing"] = f"{100 * packing_efficiency:.1f}"
        self._progress.update(self._task, advance=sequences, **shown)

    def set_total(self, total: int) -> None:
        """Say how many sequences there are, once that is known."""
        self._progress.update(self._task, total=total)

    def __enter__(self) -> InferenceProgressReporter:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()


@contextmanager
def counting(total: int, show: bool, description: str) -> Iterator[Callable[[int], None]]:
    """Yield what moves a bar on by so many, on a terminal; elsewhere it does nothing."""
    disable = not (show and sys.stderr is not None and sys.stderr.isatty())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False, disable=disable) as progress:
        task = progress.add_task(description, total=total)
        yield lambda done: progress.advance(task, done)
