"""Progress: bars with counts and time left on a terminal; nothing elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class ProgressBars:
    """Context manager around a bar for each task; counts are sequences."""

    def __init__(self, show: bool) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<11}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("passed"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not (show and sys.stderr is not None and sys.stderr.isatty()),
        )
        self._tasks: dict[str, int] = {}

    def add(self, name: str, total: int, done: int = 0) -> None:
        """Add a bar that stands at `done` of `total`."""
        self._tasks[name] = self._progress.add_task(name, total=total, completed=done)

    def advance(self, name: str, count: int) -> None:
        """Move a bar on."""
        self._progress.advance(self._tasks[name], count)

    def __enter__(self) -> ProgressBars:
        self._progress.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()
