"""Coordinator: several devices, a worker process each, windows handed out from one queue. No torch here.

A worker that is slow, or lost, costs time and nothing else: what it had in hand goes to the others.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

from virnucpro.config.compute import WeightsInfo
from virnucpro.engine.results import FinishedWindow
from virnucpro.errors import BadRequest, Interrupted, one_line
from virnucpro.executors.agent import PATIENCE, Agent
from virnucpro.executors.base import DECISIVE, ExecutorConfig, WindowAndCost, WindowCost
from virnucpro.executors.retry_queue import RetryQueue
from virnucpro.executors.worker import STOP, work_for
from virnucpro.reading.window_source import AtHand, Source
from virnucpro.system.processes import interrupts_held

log = logging.getLogger(__name__)
TICK = 1.0  # s, between looks at the clock and at a request to stop
LONG = 600.0  # s on one window, after which the user is told


class Coordinator:
    """A `work.Executor` of several.

    Args:
        devices: One a worker.
        body: What a process runs; tests put in one that fails.
    """

    def __init__(self, work: ExecutorConfig, devices: tuple[str, ...], body: Callable[..., None] = work_for) -> None:
        self._work, self._devices, self._body = work, devices, body
        self._workers: dict[Connection, Agent] = {}
        self._stopping = False
        self._lived = 0.0  # s that this process ran, looking at its workers at least every tick
        self._looked = time.monotonic()
        self._why = ""  # how the last one that was lost ended
        self._costs: dict[int, WindowCost] = {}  # of the parts of windows that are done in parts
        self.failed_ranks: list[int] = []
        self._backends: dict[str, str] = {}  # of the first that has loaded
        self._tasks = RetryQueue(AtHand(()), work.recipe.kind, 1)  # until `load`

    def check(self) -> WeightsInfo:
        """Start the workers; the first that has checked the weights answers for all."""
        for rank, device in enumerate(self._devices):
            if not self._start(rank, device):
                self.failed_ranks.append(rank)
        while self._workers:
            if self._stopping:
                raise Interrupted
            for pipe in wait(list(self._workers), timeout=TICK):
                worker = self._workers[pipe]
                message = self._receive(worker)
                if message is None:
                    del self._workers[pipe]
                    self._why = worker.end()
                    log.error("Worker %d: %s while it started.", worker.rank, self._why)
                    self.failed_ranks.append(worker.rank)
                elif message[0] == "ready":
                    facts: WeightsInfo = message[1]
                    return facts
        raise BadRequest(
            f"No worker process could be started (the last: {self._why}). Leave out --parallel; in a script, call "
            'virnucpro under `if __name__ == "__main__":`, for each worker imports it again.'
        )

    def load(self, source: Source) -> dict[str, str]:
        """Wait for the first worker that has its models; nothing is handed out to those that have not."""
        self._tasks = RetryQueue(source, self._work.recipe.kind, self._work.config.max_retries_poison)
        try:
            while self._workers and not self._backends and not self._stopping:
                for pipe in wait(list(self._workers), timeout=TICK):
                    list(self._attend(self._workers[pipe]))  # nobody has a window in hand: none is finished
                self._kill_the_late()
            if not self._workers and not self._stopping:
                raise BadRequest(
                    f"No worker could load the models (the last {self._why}). "
                    "Free memory, ask for fewer workers, or choose a smaller --esm-model."
                )
        except BaseException:
            self.close()
            raise
        return dict(self._backends)

    def run(self) -> Iterator[WindowAndCost]:
        try:
            while self._hand_out():
                for pipe in wait(list(self._workers), timeout=TICK):
                    yield from self._attend(self._workers[pipe])
                self._kill_the_late()
            yield from self._finish_in_hand()
            if not self._workers and not self._stopping:
                yield from self._give_up_the_rest()
        finally:
            self.close()

    def stop(self) -> None:
        self._stopping = True

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers.values():
            worker.process.kill()
        for worker in self._workers.values():
            worker.end()
        self._workers = {}

    def _start(self, rank: int, device: str, deaths: int | None = None) -> bool:
        """Start a worker; whether the system had what that takes."""
        try:
            with interrupts_held():
                worker = Agent(self._body, self._work, device, rank, deaths)
                self._workers[worker.pipe] = worker
        except (OSError, RuntimeError) as error:  # no processes, descriptors or threads left
            self._why = one_line(error)
            log.error("Worker %d on %s cannot be started (%s).", rank, device, self._why)
            return False
        return True

    def _hand_out(self) -> bool:
        """Give every worker as much as it can prepare ahead, in turn; whether anything is left to wait for.

        One that is still loading gets nothing yet: a large window does not fit into a pipe that nobody reads.
        """
        loaded = [worker for worker in self._workers.values() if worker.loaded]
        if self._stopping or not loaded:
            return bool(self._workers) and not self._stopping
        ranks = {worker.rank for worker in self._workers.values()}
        most = 2 + self._work.num_workers * self._work.config.prefetch_factor
        given = True
        while given:
            given = False
            for worker in sorted(loaded, key=lambda worker: len(worker.in_hand)):
                if len(worker.in_hand) >= most or any(task.failures for task in worker.in_hand.values()):
                    continue  # a suspect stays alone
                # Of several bad sequences in a row, or a bad machine? A window that never failed will tell.
                config = self._work.config
                doubtful = (worker.deaths or 0) > config.max_retries_transient + config.max_retries_poison
                task = self._tasks.next(worker.rank, not worker.in_hand, ranks, fresh=doubtful)
                if task is None:
                    continue
                if not worker.in_hand:
                    worker.since = self._lived
                worker.in_hand[task.key] = task
                worker.send(task.window)
                given = True
        # What is left then is for one that is loading.
        return any(worker.in_hand for worker in loaded) or (self._tasks.left and len(loaded) < len(self._workers))

    def _receive(self, worker: Agent) -> tuple[Any, ...] | None:
        """A worker's message; None at its end. Log records are passed on, refusals raised."""
        try:
            message: tuple[Any, ...] = worker.pipe.recv()
        except (EOFError, OSError):
            return None
        match message:
            case ("log", record):
                logging.getLogger(record.name).handle(record)
            case ("refused", text) if worker.deaths is None:
                raise BadRequest(text)
            case ("backends", backends):
                worker.loaded = True
                self._backends = self._backends or backends
                if any(backends[name] != self._backends[name] for name in DECISIVE):
                    raise BadRequest(
                        f"The GPUs of this run would compute differently ({self._backends}, and {backends}). "
                        "Choose --attention sdpa, or --gpus of one kind."
                    )
            case ("lost" | "refused", text):
                worker.why = f"gave up: {text}"
        return message

    def _attend(self, worker: Agent) -> Iterator[WindowAndCost]:
        """Take in a message of a worker, or its end; what is finished with it."""
        message = self._receive(worker)
        if message is None or message[0] in ("lost", "refused"):
            yield from self._replace_worker(worker)
        else:
            yield from self._act(worker, message)

    def _act(self, worker: Agent, message: tuple[Any, ...]) -> Iterator[WindowAndCost]:
        match message:
            case ("began", index, only):
                worker.begun.add((index, only))
                worker.since = self._lived
            case ("finished", index, only, outcomes, cost):
                worker.begun.discard((index, only))
                worker.since = self._lived
                worker.deaths = 0  # it was not the machine that failed the one before
                finished = self._tasks.done(worker.in_hand.pop((index, only)), outcomes)
                yield from self._with_cost(index, finished, cost)

    def _with_cost(self, index: int, finished: FinishedWindow | None, cost: WindowCost) -> Iterator[WindowAndCost]:
        """A window, if nothing of it is left to do, with what all of its parts have cost."""
        if index in self._costs:
            cost = self._costs.pop(index) + cost
        if finished is None:
            self._costs[index] = cost
        else:
            yield finished, cost

    def _replace_worker(self, worker: Agent) -> Iterator[WindowAndCost]:
        """Take back what a dead worker had in hand, and start another in its place."""
        del self._workers[worker.pipe]
        reason = self._why = worker.end()
        log.error("Worker %d: %s; it had %d windows in hand.", worker.rank, reason, len(worker.in_hand))
        config = self._work.config
        elastic = config.enable_elastic_redistribution
        # Of those it was computing, or else of the one it was preparing, each may have been the death of it.
        suspects = worker.begun or set(list(worker.in_hand)[:1])
        deaths, limit = (worker.deaths or 0) + 1, config.max_retries_transient
        if any(worker.in_hand[key].failures for key in suspects):
            limit += config.max_retries_poison + 1  # it is the window rather than the machine
        cost = WindowCost(worker.rank, worker.device, 0, 0, 0, 0.0, 0.0)
        for key, task in reversed(worker.in_hand.items()):
            if elastic and key not in suspects:
                self._tasks.put_back(task)
                continue
            tasks = self._tasks
            finished = tasks.failed(task, reason, worker.rank) if elastic else tasks.give_up(task, reason)
            yield from self._with_cost(task.window.index, finished, cost)
        if self._stopping or (elastic and not self._tasks.left):
            return
        if not (elastic and deaths <= limit and self._start(worker.rank, worker.device, deaths)):
            self.failed_ranks.append(worker.rank)

    def _kill_the_late(self) -> None:
        """End workers that take longer than they may, or else tell the user of them.

        Time in which this process was suspended does not count: what the workers sent meanwhile is not read yet.
        """
        now = time.monotonic()
        self._lived, self._looked = self._lived + min(now - self._looked, 2 * TICK), now
        limit = self._work.config.timeout_per_attempt
        for worker in self._workers.values():
            late = self._lived - worker.since if worker.in_hand else 0.0
            if limit is not None and late > limit:
                worker.why = f"was ended after {limit:g} s on one window"
                worker.process.kill()
            elif limit is None and late > LONG and not worker.warned:
                worker.warned = True
                log.warning(
                    "Worker %d (%s) has been on one window for %.0f minutes. If it hangs, stop the run and go on with "
                    "--resume --set timeout_per_attempt=SECONDS, which ends such a worker.",
                    worker.rank, worker.device, LONG / 60,
                )  # fmt: skip

    def _finish_in_hand(self) -> Iterator[WindowAndCost]:
        """Tell the workers to stop, and take in what they were computing."""
        for worker in self._workers.values():
            worker.send(STOP)
            if not worker.loaded:
                worker.process.kill()  # it would listen only when its models are loaded
        deadline = time.monotonic() + PATIENCE
        while any(worker.begun for worker in self._workers.values()) or time.monotonic() < deadline:
            for pipe in wait(list(self._workers), timeout=TICK):
                worker = self._workers[pipe]
                message = self._receive(worker)
                if message is None:
                    del self._workers[pipe]
                    worker.end()
                else:
                    yield from self._act(worker, message)
            if not self._workers:
                return
            self._kill_the_late()

    def _give_up_the_rest(self) -> Iterator[WindowAndCost]:
        """No worker is left: list what nobody computed."""
        reason = f"no worker is left ({', '.join(f'worker {rank} failed' for rank in self.failed_ranks)})"
        while (task := self._tasks.next(-1, alone=True, ranks=set())) is not None:
            finished = self._tasks.give_up(task, reason)
            cost = WindowCost(self.failed_ranks[-1], "none", 0, 0, 0, 0.0, 0.0)
            yield from self._with_cost(task.window.index, finished, cost)
