"""Retry queue: windows on their way through several workers, and what to do about those that fail.

A window goes to whichever worker has room. One whose worker died is tried again on another, by itself, so that there
is no doubt about the cause; after some failures it is halved, and its halves likewise, until what fails is one
sequence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Set
from dataclasses import dataclass, field, replace

import numpy as np

from virnucpro.engine.results import FinishedWindow, WindowResult, finish
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.window_sequences import sequences_of
from virnucpro.reading.window_source import Source
from virnucpro.reading.windows import Window

Key = tuple[int, tuple[int, int] | None]  # a window's index, and the part of it


@dataclass(eq=False)
class Task:
    """A window, or a part of one, how often it has failed, and on which workers."""

    window: Window
    failures: int = 0
    reason: str = ""
    ranks: set[int] = field(default_factory=set)

    @property
    def key(self) -> Key:
        return self.window.index, self.window.only


class RetryQueue:
    """The one queue that all workers are served from.

    Args:
        source: Read no faster than they are handed out.
        kind: Of the input.
        patience: Failures of a window before it is halved.
    """

    def __init__(self, source: Source, kind: InputKind, patience: int) -> None:
        self._source, self._kind, self._patience = source, kind, patience
        self._again: deque[Task] = deque()
        self._parts: dict[int, list[WindowResult]] = {}
        self._whole: dict[int, Window] = {}

    @property
    def left(self) -> bool:
        """Whether there may be tasks that nobody has in hand."""
        return bool(self._again) or not self._source.ended

    def next(self, rank: int, alone: bool, ranks: Set[int], fresh: bool = False) -> Task | None:
        """The next task for a worker; None if there is none for now.

        Args:
            alone: The worker has nothing else in hand. Others get no task that has failed before.
            ranks: Of all workers. A task that failed on one of them is for those on which it did not, if there are any.
            fresh: Rather one that has never failed, if there is any.
        """
        for task in self._again:
            if (fresh and task.failures) or (rank in task.ranks and not ranks <= task.ranks):
                continue
            if task.failures and not alone:
                return None  # it is next, once the worker has finished what it has in hand
            self._again.remove(task)
            return task
        window = None if self._source.ended else self._source.take()
        if window is None:
            return self.next(rank, alone, ranks) if fresh else None
        return Task(window)

    def put_back(self, task: Task) -> None:
        """Return a task that its worker had not begun."""
        self._again.appendleft(task)

    def done(self, task: Task, outcomes: list[WindowResult]) -> FinishedWindow | None:
        """Take in a task's outcomes; the finished window, if nothing of it is left to do."""
        index = task.window.index
        if task.window.only is None:
            return finish(task.window, outcomes)
        parts = self._parts[index]
        parts += outcomes
        window = self._whole[index]
        if sum(part.sequences for part in parts) < len(sequences_of(window, self._kind).proteins):
            return None
        del self._parts[index], self._whole[index]
        return finish(window, sorted(parts, key=lambda part: part.only or ()))

    def failed(self, task: Task, reason: str, rank: int) -> FinishedWindow | None:
        """Have a task tried again, or its halves; the finished window, if its last sequence was given up."""
        task.failures += 1
        task.reason = reason
        task.ranks.add(rank)
        if task.failures < self._patience:
            self._again.append(task)
            return None
        return self._halve(task)

    def give_up(self, task: Task, reason: str) -> FinishedWindow | None:
        """Leave a task's sequences out, without another try."""
        window = task.window
        found = sequences_of(window, self._kind)
        count = len(found.proteins)
        outcome = WindowResult(window.index, window.only, found.open_C, count, found.cut, found.unknown)
        outcome.failures = dict.fromkeys(range(count), reason)
        if self._kind == InputKind.NUCLEOTIDE:
            outcome.scores_S2 = np.full((count, 2), np.nan, np.float32)
        return self.done(task, [outcome])

    def _halve(self, task: Task) -> FinishedWindow | None:
        window = task.window
        count = len(sequences_of(window, self._kind).proteins)
        if count <= 1:
            return self.give_up(task, task.reason)
        first = window.only[0] if window.only else 0
        middle = first + count // 2
        if window.only is None:
            self._parts[window.index], self._whole[window.index] = [], window
        for only in ((first, middle), (middle, first + count)):
            # A half is as suspect as the whole was, and has its own number of tries.
            self._again.append(
                Task(replace(window, only=only), failures=max(1, self._patience - 1), reason=task.reason)
            )
        return None
