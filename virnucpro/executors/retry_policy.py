"""Retry policy: which worker computes which window, and what is done about windows and workers that fail.

A window goes to whichever worker has room. One whose worker died is tried again on another, by itself, so that there
is no doubt about the cause; after some failures it is halved, and its halves likewise, until what fails is one
sequence. No torch, process, pipe or clock here: workers may be anywhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Set
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from virnucpro.engine.events import Began, Computed, WindowCost
from virnucpro.engine.results import WindowResult, blank_result, finish, next_tries
from virnucpro.executors.base import ExecutorConfig, WindowAndCost
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.window_sequences import sequences_of
from virnucpro.reading.window_source import Source
from virnucpro.reading.windows import Key, Window


@dataclass(eq=False)
class Task:
    """A window, or a part of one, on its way through the workers."""

    window: Window
    failures: int = 0
    ranks: set[int] = field(default_factory=set)  # of the workers on which it failed
    blank: WindowResult | None = None  # how many sequences it has, once it was packed somewhere


class Member(Protocol):
    """A worker, wherever it is. Its tasks and deaths are kept by the policy."""

    rank: int
    device: str
    ready: bool  # has its models, and reads what it is handed
    in_hand: dict[Key, Task]
    begun: set[Key]  # of these, what it is computing
    deaths: int | None  # of workers in its place since a window was last finished there; None for the first

    def submit(self, task: Task) -> None:
        """Put a task in hand, and have its window computed."""


@dataclass
class _Split:
    """A window that is computed in parts."""

    whole: Task
    results: list[WindowResult] = field(default_factory=list)
    cost: WindowCost | None = None  # of the parts that are done


class RetryPolicy:
    """One queue, from which all workers are served.

    Args:
        source: Of windows; read no faster than they are handed out.
    """

    def __init__(self, source: Source, config: ExecutorConfig) -> None:
        self._source, self._kind, self._runtime = source, config.compute.kind, config.runtime
        self._elastic, self._patience = self._runtime.enable_elastic_redistribution, self._runtime.max_retries_poison
        self._ahead = 2 + config.num_workers * self._runtime.prefetch_factor  # most windows that a worker has in hand
        self._again: deque[Task] = deque()
        self._splits: dict[int, _Split] = {}

    @property
    def left(self) -> bool:
        """Tell whether there may be tasks that nobody has in hand."""
        return bool(self._again) or not self._source.ended

    @property
    def needs_workers(self) -> bool:
        """Tell whether it matters that a worker is lost."""
        return self.left or not self._elastic

    def hand_out(self, members: Collection[Member]) -> bool:
        """Give every worker as much as it can prepare ahead, in turn.

        One that is still loading gets nothing yet: a large window does not fit into a pipe that nobody reads.

        Returns:
            Whether anything is left to wait for.
        """
        ready = [member for member in members if member.ready]
        ranks = {member.rank for member in members}
        while sum(self._hand_one(member, ranks) for member in sorted(ready, key=lambda each: len(each.in_hand))):
            pass  # in rounds, until nobody gets anything
        if len(ready) < len(members) and (self.left or not ready):
            return True  # what is left is for one that is loading
        return any(member.in_hand for member in ready)

    def _hand_one(self, member: Member, ranks: Set[int]) -> bool:
        """Give a worker one task, if it has room and there is one for it."""
        if len(member.in_hand) >= self._ahead or any(task.failures for task in member.in_hand.values()):
            return False  # a candidate stays alone
        # Of several bad sequences in a row, or a bad machine? A window that never failed will tell.
        doubtful = (member.deaths or 0) > self._runtime.max_retries_transient + self._patience
        task = self.next(member.rank, not member.in_hand, ranks, fresh=doubtful)
        if task is not None:
            member.submit(task)
        return task is not None

    def next(self, rank: int, alone: bool, ranks: Set[int], fresh: bool = False) -> Task | None:
        """Take the next task for a worker; None if there is none for now.

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

    def began(self, member: Member, event: Began) -> None:
        """Note that a worker has packed a task, and computes it."""
        member.begun.add(event.key)
        member.in_hand[event.key].blank = event.blank

    def computed(self, member: Member, event: Computed) -> list[WindowAndCost]:
        """Take in what a worker has computed; returns the window, if nothing of it is left to do."""
        member.begun.discard(event.key)
        member.deaths = 0  # it was not the machine that failed the one before
        return self.done(member.in_hand.pop(event.key), event.results, event.cost)

    def replaceable(self, member: Member) -> bool:
        """Tell whether another worker may take the place of one that is about to be `lost`."""
        limit = self._runtime.max_retries_transient
        if any(member.in_hand[key].failures for key in _candidates(member)):
            limit += self._patience + 1  # it is the window rather than the machine
        return self._elastic and (member.deaths or 0) < limit

    def lost(self, member: Member, reason: str) -> list[WindowAndCost]:
        """Take back what a worker had in hand that is gone; returns windows of which the last sequence was given up."""
        tasks, candidates = reversed(list(member.in_hand.items())), _candidates(member)
        member.in_hand, member.begun = {}, set()
        finished: list[WindowAndCost] = []
        for key, task in tasks:
            if not self._elastic:
                finished += self.give_up(task, reason, WindowCost(member.rank, member.device))
            elif key in candidates:
                finished += self.failed(task, reason, member)
            else:
                self._again.appendleft(task)  # its worker had not begun it
        return finished

    def give_up_the_rest(self, failed_ranks: list[int]) -> Iterator[WindowAndCost]:
        """Leave out what nobody has computed, for no worker is left."""
        reason = f"no worker is left ({', '.join(f'worker {rank} failed' for rank in failed_ranks)})"
        while (task := self.next(-1, alone=True, ranks=set())) is not None:
            yield from self.give_up(task, reason, WindowCost(failed_ranks[-1], "none"))

    def done(self, task: Task, results: list[WindowResult], cost: WindowCost) -> list[WindowAndCost]:
        """Take in a task's results; returns the window, if nothing of it is left to do."""
        index = task.window.index
        if (split := self._splits.get(index)) is None:
            return [(finish(task.window, results), cost)]
        split.results += results
        split.cost = split.cost + cost if split.cost else cost
        if sum(result.sequences for result in split.results) < self._blank(split.whole).sequences:
            return []
        del self._splits[index]
        return [(finish(split.whole.window, sorted(split.results, key=lambda part: part.only or ())), split.cost)]

    def failed(self, task: Task, reason: str, member: Member) -> list[WindowAndCost]:
        """Have a task tried again, or its halves; returns the window, if its last sequence was given up."""
        task.failures += 1
        task.ranks.add(member.rank)
        window = task.window
        tries = next_tries(window, self._blank(task).sequences, task.failures, self._patience)
        if not tries:
            return self.give_up(task, reason, WindowCost(member.rank, member.device))
        if tries[0] is window:
            self._again.append(task)
            return []
        if window.only is None:
            self._splits[window.index] = _Split(task)
        # A half is as likely a cause as the whole was, and has its own number of tries.
        self._again.extend(Task(part, max(1, self._patience - 1)) for part in tries)
        return []

    def give_up(self, task: Task, reason: str, cost: WindowCost) -> list[WindowAndCost]:
        """Leave a task's sequences out, without another try; returns the window, if nothing of it is left to do."""
        blank = self._blank(task)
        scores_S2 = np.full((blank.sequences, 2), np.nan, np.float32) if self._kind == InputKind.NUCLEOTIDE else None
        failures = dict.fromkeys(range(blank.sequences), reason)
        return self.done(task, [replace(blank, failures=failures, scores_S2=scores_S2)], cost)

    def _blank(self, task: Task) -> WindowResult:
        """Return the blank result of a task; translated here only if no worker ever packed it."""
        index, only = task.window.key
        if task.blank is None and only is not None:
            task.blank = replace(self._blank(self._splits[index].whole), only=only, sequences=only[1] - only[0])
        elif task.blank is None:
            task.blank = blank_result(task.window, sequences_of(task.window, self._kind))
        return task.blank


def _candidates(member: Member) -> set[Key]:
    """Name what a worker may have died of: what it was computing, or else what it was packing."""
    return member.begun or set(list(member.in_hand)[:1])
