"""The retry policy: who gets which window, and how the sequence is found that a window fails by. No processes."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ESM_8M

from virnucpro.config.compute import WeightsInfo
from virnucpro.config.runtime import RuntimeConfig
from virnucpro.engine.events import Began, Computed, WindowCost
from virnucpro.engine.results import WindowResult, next_tries
from virnucpro.executors import retry_policy
from virnucpro.executors.base import ExecutorConfig
from virnucpro.executors.retry_policy import RetryPolicy, Task
from virnucpro.reading.window_source import AtHand
from virnucpro.reading.windows import Piece, Window

PATIENCE = 2
COST = WindowCost(0, "cpu", tokens=1)


@dataclass
class Worker:
    """A member without a process."""

    rank: int = 0
    device: str = "cpu"
    ready: bool = True
    in_hand: dict = field(default_factory=dict)
    begun: set = field(default_factory=set)
    deaths: int | None = None

    def submit(self, task):
        self.in_hand[task.window.key] = task


def policy(windows, patience=PATIENCE, **runtime):
    runtime = RuntimeConfig(max_retries_poison=patience, **runtime)
    return RetryPolicy(AtHand(windows), ExecutorConfig(SimpleNamespace(kind="protein"), runtime, 0, None, 0))


def window(index, count):
    """A window of so many proteins."""
    return Window(index, tuple(Piece(f"w{index}p{place}", 3, "MKV", ((0, 3),)) for place in range(count)))


def outcome(task):
    """What a worker makes of a task: the features of a sequence are its place."""
    count = len(task.window.pieces)
    first, end = task.window.only or (0, count)
    made = WindowResult(task.window.index, task.window.only, np.ones(count, np.uint8), end - first)
    made.features["esm2"] = np.arange(first, end, dtype=np.float32)[:, None]
    return made


def work_off(tasks, poison, ranks=(0,)):
    """Do all tasks, by workers in turn; those that hold `poison` fail. Returns what is finished, and deaths."""
    finished, deaths, turn = {}, 0, 0
    while True:
        given = None
        for _ in ranks:
            turn += 1
            rank = ranks[turn % len(ranks)]
            if (given := tasks.next(rank, True, set(ranks))) is not None:
                break
        if given is None:
            return finished, deaths
        index = given.window.index
        first, end = given.window.only or (0, len(given.window.pieces))
        if any(index == where and first <= place < end for where, place in poison):
            deaths += 1
            done = tasks.failed(given, "died", Worker(rank))
        else:
            done = tasks.done(given, [outcome(given)], COST)
        for whole, _ in done:
            assert index not in finished
            finished[index] = whole


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 13])
def test_the_poison_is_found_wherever_it_is(count):
    for place in range(count):
        finished, deaths = work_off(policy([window(0, count)]), {(0, place)})
        assert list(finished) == [0]
        assert finished[0].failures == {place: "died"}
        if count > 1:  # features of all others are in their places; those of the poison are nothing
            found = finished[0].features["esm2"][:, 0]
            assert np.isnan(found[place])
            assert np.array_equal(np.delete(found, place), np.delete(np.arange(count), place))
        # two tries of the whole, and one of each part that holds it: 13, 7, 4, 2, 1
        assert deaths <= 2 + np.ceil(np.log2(count))


@pytest.mark.parametrize("poison", [(0, 3), (0, 1, 2, 3), (1, 2), (3,)])
def test_several_poisons_in_a_window(poison):
    finished, _ = work_off(policy([window(0, 4)]), {(0, place) for place in poison})
    assert finished[0].failures == dict.fromkeys(poison, "died")
    if len(poison) < 4:
        assert np.flatnonzero(np.isnan(finished[0].features["esm2"][:, 0])).tolist() == list(poison)


@pytest.mark.parametrize("ranks", [(0,), (0, 1), (0, 1, 2)])
def test_other_windows_are_not_touched_by_it(ranks):
    tasks = policy([window(index, 3) for index in range(4)])
    finished, _ = work_off(tasks, {(1, 2), (3, 0)}, ranks)
    assert {index: done.failures for index, done in finished.items()} == {0: {}, 1: {2: "died"}, 2: {}, 3: {0: "died"}}


@pytest.mark.parametrize("patience, tries", [(1, 1), (2, 2), (5, 5)])
def test_a_window_is_tried_so_often_as_a_whole(patience, tries):
    tasks = policy([window(0, 2)], patience)
    for number in range(1, tries + 1):
        task = tasks.next(0, True, {0})
        assert (task.window.only, task.failures) == (None, number - 1)
        assert tasks.failed(task, "died", Worker(0)) == []
    assert tasks.next(0, True, {0}).window.only == (0, 1)


def test_a_failed_window_goes_to_another_worker_and_alone():
    tasks = policy([window(index, 2) for index in range(4)])
    first = tasks.next(0, True, {0, 1})
    tasks.failed(first, "died", Worker(0))
    assert tasks.next(0, True, {0, 1}).window.index == 1  # it failed here: worker 0 gets another
    assert tasks.next(1, False, {0, 1}) is None  # worker 1 has to finish first what it has in hand
    assert tasks.next(1, True, {0, 1}) is first
    tasks.failed(first, "died", Worker(1))
    assert tasks.next(0, True, {0, 1}).window.only == (0, 1)  # its halves are for everybody


def test_a_failed_window_comes_back_to_the_only_worker():
    tasks = policy([window(0, 2)])
    first = tasks.next(0, True, {0})
    tasks.failed(first, "died", Worker(0))
    assert tasks.next(0, True, {0}) is first


def test_what_was_not_begun_is_put_back_in_front():
    tasks, dead = policy([window(index, 2) for index in range(5)]), Worker(0)
    for _ in range(4):
        dead.submit(tasks.next(0, False, {0}))
    tasks.began(dead, Began((0, None), WindowResult(0, None, np.ones(2, np.uint8), 2)))
    assert tasks.lost(dead, "died") == []
    assert [tasks.next(1, True, {1}).window.index for _ in range(5)] == [1, 2, 3, 0, 4]  # 0 is what it may have died of
    assert tasks.left  # nobody has asked for more yet
    assert tasks.next(1, True, {1}) is None
    assert not tasks.left


def test_a_window_without_sequences_fails_for_nobody():
    empty = Window(0, (Piece("p", 0, "", ((0, 0),)),))
    tasks = policy([empty], 1)
    ((finished, _),) = tasks.failed(tasks.next(0, True, {0}), "died", Worker(0))
    assert finished.failures == {}


def test_a_part_may_come_back_in_parts():
    """A worker that gets an exception for a part halves it by itself."""
    tasks = policy([window(0, 4)], 1)
    assert tasks.failed(tasks.next(0, True, {0}), "died", Worker(0)) == []
    left, right = (tasks.next(0, True, {0}) for _ in range(2))
    assert tasks.done(right, [outcome(right)], COST) == []
    quarters = [WindowResult(0, only, np.ones(4, np.uint8), 1) for only in ((0, 1), (1, 2))]
    quarters[0].features["esm2"] = np.zeros((1, 1), np.float32)
    quarters[1].failures = {0: "bad"}
    ((finished, cost),) = tasks.done(left, quarters, COST)
    assert cost.tokens == 2
    assert finished.failures == {1: "bad"}
    assert np.array_equal(finished.features["esm2"][:, 0], [0, np.nan, 2, 3], equal_nan=True)


@pytest.mark.parametrize(
    "only, sequences, failures, tries",
    [
        (None, 5, 1, [None]),  # itself again
        (None, 5, 2, [(0, 2), (2, 5)]),
        ((2, 5), 3, 2, [(2, 3), (3, 5)]),
        ((3, 4), 1, 1, [(3, 4)]),
        ((3, 4), 1, 2, []),  # it is found
        (None, 0, 2, []),
    ],
)
def test_what_is_tried_after_a_failure(only, sequences, failures, tries):
    failed = Window(7, (), only)
    assert [each.key for each in next_tries(failed, sequences, failures, PATIENCE)] == [(7, each) for each in tries]


# The policy over members that are no processes


def indices(worker):
    return [index for index, _ in worker.in_hand]


def compute(tasks, worker, key):
    """Have a worker finish a task."""
    return tasks.computed(worker, Computed(key, [outcome(worker.in_hand[key])], WindowCost(worker.rank, "cpu", 1)))


def test_windows_go_out_in_turn_to_those_who_are_ready():
    workers = [Worker(0), Worker(1), Worker(2, ready=False)]
    tasks = policy([window(index, 1) for index in range(6)])
    assert tasks.hand_out(workers)
    assert list(map(indices, workers)) == [[0, 2], [1, 3], []]
    ((finished, cost),) = compute(tasks, workers[1], (1, None))
    assert (finished.index, cost.rank) == (1, 1)
    assert tasks.hand_out(workers)
    assert list(map(indices, workers)) == [[0, 2], [3, 4], []]


def test_who_has_least_in_hand_is_served_first():
    workers = [Worker(0), Worker(1)]
    tasks = policy([window(index, 1) for index in range(2)])
    workers[0].submit(tasks.next(0, True, {0, 1}))
    tasks.hand_out(workers)
    assert list(map(indices, workers)) == [[0], [1]]


def test_what_failed_on_the_others_is_left_for_one_that_is_loading():
    loading, worker = Worker(0, ready=False), Worker(1)
    tasks = policy([window(0, 1)])
    tasks.hand_out([loading, worker])
    tasks.lost(worker, "died")
    assert tasks.hand_out([loading, worker])
    assert indices(worker) == []


def test_there_is_something_to_wait_for_as_long_as_anything_is_left():
    loading, worker = Worker(0, ready=False), Worker(1)
    tasks = policy([window(0, 1)])
    assert tasks.hand_out([loading])
    assert not tasks.hand_out([])
    assert tasks.hand_out([loading, worker])
    compute(tasks, worker, (0, None))
    assert not tasks.hand_out([loading, worker])


def test_the_window_that_a_dead_worker_computed_is_tried_alone_and_the_rest_put_back():
    dead, other = Worker(0), Worker(1)
    tasks = policy([window(index, 2) for index in range(2)])
    tasks.hand_out([dead])
    tasks.began(dead, Began((1, None), WindowResult(1, None, np.ones(2, np.uint8), 2)))
    assert tasks.lost(dead, "died") == []
    assert (dead.in_hand, dead.begun) == ({}, set())
    for index, failures in ((0, 0), (1, 1)):
        tasks.hand_out([other])
        assert {key: task.failures for key, task in other.in_hand.items()} == {(index, None): failures}
        compute(tasks, other, (index, None))
    assert not tasks.hand_out([other])


def test_who_had_begun_nothing_may_have_died_of_what_it_prepared():
    dead = Worker()
    tasks = policy([window(index, 2) for index in range(2)])
    tasks.hand_out([dead])
    first, second = dead.in_hand.values()
    tasks.lost(dead, "died")
    assert (first.failures, second.failures) == (1, 0)


@pytest.mark.parametrize(
    "deaths, failures, elastic, expected",
    [
        (None, 0, True, True),
        (2, 0, True, True),
        (3, 0, True, False),  # max_retries_transient
        (3, 1, True, True),  # of a window that had failed before
        (5, 1, True, True),
        (6, 1, True, False),
        (None, 0, False, False),
    ],
)
def test_when_a_worker_is_replaced(deaths, failures, elastic, expected):
    worker = Worker(deaths=deaths)
    worker.submit(Task(window(0, 2), failures))
    tasks = policy([], enable_elastic_redistribution=elastic, max_retries_transient=3)
    assert tasks.replaceable(worker) == expected


def test_a_finished_window_clears_the_machine():
    worker = Worker(deaths=3)
    tasks = policy([window(0, 2)])
    tasks.hand_out([worker])
    compute(tasks, worker, (0, None))
    assert worker.deaths == 0


def test_without_redistribution_what_a_dead_worker_had_is_given_up():
    worker = Worker(3)
    tasks = policy([window(index, 2) for index in range(3)], enable_elastic_redistribution=False)
    tasks.hand_out([worker])
    lost, given_up = tasks.lost(worker, "died"), {0: "died", 1: "died"}
    assert {finished.index: finished.failures for finished, _ in lost} == {0: given_up, 1: given_up}
    assert {cost.rank for _, cost in lost} == {3}
    ((rest, cost),) = tasks.give_up_the_rest([3])
    assert (rest.index, rest.failures[1], cost.device) == (2, "no worker is left (worker 3 failed)", "none")


def test_what_a_worker_told_is_not_counted_again(monkeypatch):
    """A window is translated here only if it was lost before any worker had prepared it."""
    monkeypatch.setattr(retry_policy, "sequences_of", None)
    worker, done = Worker(), []
    tasks = policy([window(0, 2)], patience=1)
    while tasks.hand_out([worker]):
        ((key, _),) = worker.in_hand.items()
        if key == (0, None):
            tasks.began(worker, Began(key, WindowResult(0, None, np.ones(2, np.uint8), 2, cut=1)))
        done += compute(tasks, worker, key) if key == (0, (1, 2)) else tasks.lost(worker, "died")
    ((finished, cost),) = done
    assert (finished.failures, finished.cut, finished.open_C.tolist()) == ({0: "died"}, 1, [1, 1])
    assert np.array_equal(finished.features["esm2"][:, 0], [np.nan, 1], equal_nan=True)
    assert cost.tokens == 1  # of the half that was computed


class InThisThread(Worker):
    """An executor from outside, and its one member: it computes windows in this thread, and loses those with poison."""

    failed_ranks: list[int] = []

    def __init__(self, config, poison):
        super().__init__()
        self.config, self.poison, self.stopped = config, poison, False

    def check(self):
        return WeightsInfo(0, synthetic=True)

    def load(self, source):
        self.policy = RetryPolicy(source, self.config)
        return {"attention": "none", "steps": "none", "device": "none", "torch": "none"}

    def run(self):
        while not self.stopped and self.policy.hand_out([self]):
            key, task = next(iter(self.in_hand.items()))
            result = outcome(task)
            self.policy.began(self, Began(key, WindowResult(*key, result.open_C, result.sequences)))
            first, end = key[1] or (0, result.sequences)
            if any(key[0] == index and first <= place < end for index, place in self.poison):
                yield from self.policy.lost(self, "died")
            else:
                yield from self.policy.computed(self, Computed(key, [result], COST))

    def stop(self):
        self.stopped = True

    def close(self):
        """There is nothing to end."""


def test_another_executor_is_one_class(main, tmp_path, monkeypatch):
    """A run computed by it, from the command to the table."""
    fasta, out = tmp_path / "x.faa", tmp_path / "out"
    fasta.write_text("".join(f">p{place}\nMKVA\n" for place in range(12)))

    def make_executor(compute, runtime, *_):
        return InThisThread(ExecutorConfig(compute, runtime, 0, None, 0), {(2, 0), (4, 1)})

    monkeypatch.setattr("virnucpro.pipeline.compute.make_executor", make_executor)
    code, said = main("predict", fasta, "--output-dir", out, "--esm-model", ESM_8M, "--set", "buffer_size=4")
    assert "Partial result: 2 of 12 sequences failed (died)." in said
    table = [line.split("\t") for line in (out / "x_merged" / "sequences.tsv").read_text().splitlines()[1:]]
    assert (code, [row[0] for row in table if "failed: died" in row]) == (3, ["p2", "p9"])
