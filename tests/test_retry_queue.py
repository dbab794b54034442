"""The retry queue: who gets which window, and how the sequence is found that a window fails by. No processes."""

import numpy as np
import pytest

from virnucpro.engine.results import WindowResult
from virnucpro.executors.retry_queue import RetryQueue
from virnucpro.reading.window_source import AtHand
from virnucpro.reading.windows import Piece, Window

PATIENCE = 2


def window(index, count):
    """A window of so many proteins."""
    return Window(index, tuple(Piece(f"w{index}p{place}", 3, "MKV", ((0, 3),)) for place in range(count)))


def outcome(task, kind="protein"):
    """What a worker makes of a task: the features of a sequence are its place."""
    count = len(task.window.pieces)
    first, end = task.window.only or (0, count)
    made = WindowResult(task.window.index, task.window.only, np.ones(count, np.uint8), end - first)
    made.esm2_SD = np.arange(first, end, dtype=np.float32)[:, None]
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
            done = tasks.failed(given, "died", rank)
        else:
            done = tasks.done(given, [outcome(given)])
        if done is not None:
            assert index not in finished
            finished[index] = done


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 13])
def test_the_poison_is_found_wherever_it_is(count):
    for place in range(count):
        finished, deaths = work_off(RetryQueue(AtHand([window(0, count)]), "protein", PATIENCE), {(0, place)})
        assert list(finished) == [0]
        assert finished[0].failures == {place: "died"}
        if count > 1:  # features of all others are in their places; those of the poison are nothing
            found = finished[0].esm2_SD[:, 0]
            assert np.isnan(found[place])
            assert np.array_equal(np.delete(found, place), np.delete(np.arange(count), place))
        # two tries of the whole, and one of each part that holds it: 13, 7, 4, 2, 1
        assert deaths <= 2 + np.ceil(np.log2(count))


@pytest.mark.parametrize("poison", [(0, 3), (0, 1, 2, 3), (1, 2), (3,)])
def test_several_poisons_in_a_window(poison):
    finished, _ = work_off(RetryQueue(AtHand([window(0, 4)]), "protein", PATIENCE), {(0, place) for place in poison})
    assert finished[0].failures == dict.fromkeys(poison, "died")
    if len(poison) < 4:
        assert np.flatnonzero(np.isnan(finished[0].esm2_SD[:, 0])).tolist() == list(poison)


@pytest.mark.parametrize("ranks", [(0,), (0, 1), (0, 1, 2)])
def test_other_windows_are_not_touched_by_it(ranks):
    tasks = RetryQueue(AtHand([window(index, 3) for index in range(4)]), "protein", PATIENCE)
    finished, _ = work_off(tasks, {(1, 2), (3, 0)}, ranks)
    assert {index: done.failures for index, done in finished.items()} == {0: {}, 1: {2: "died"}, 2: {}, 3: {0: "died"}}


@pytest.mark.parametrize("patience, tries", [(1, 1), (2, 2), (5, 5)])
def test_a_window_is_tried_so_often_as_a_whole(patience, tries):
    tasks = RetryQueue(AtHand([window(0, 2)]), "protein", patience)
    for number in range(1, tries + 1):
        task = tasks.next(0, True, {0})
        assert (task.window.only, task.failures) == (None, number - 1)
        assert tasks.failed(task, "died", 0) is None
    assert tasks.next(0, True, {0}).window.only == (0, 1)


def test_a_failed_window_goes_to_another_worker_and_alone():
    tasks = RetryQueue(AtHand([window(index, 2) for index in range(4)]), "protein", PATIENCE)
    first = tasks.next(0, True, {0, 1})
    tasks.failed(first, "died", 0)
    assert tasks.next(0, True, {0, 1}).window.index == 1  # it failed here: worker 0 gets another
    assert tasks.next(1, False, {0, 1}) is None  # worker 1 has to finish first what it has in hand
    assert tasks.next(1, True, {0, 1}) is first
    tasks.failed(first, "died", 1)
    assert tasks.next(0, True, {0, 1}).window.only == (0, 1)  # its halves are for everybody


def test_a_failed_window_comes_back_to_the_only_worker():
    tasks = RetryQueue(AtHand([window(0, 2)]), "protein", PATIENCE)
    first = tasks.next(0, True, {0})
    tasks.failed(first, "died", 0)
    assert tasks.next(0, True, {0}) is first


def test_what_was_not_begun_is_put_back_in_front():
    tasks = RetryQueue(AtHand([window(index, 1) for index in range(3)]), "protein", PATIENCE)
    zero, one = (tasks.next(0, False, {0}) for _ in range(2))
    for task in (one, zero):
        tasks.put_back(task)
    assert [tasks.next(0, False, {0}).window.index for _ in range(3)] == [0, 1, 2]
    assert tasks.left  # nobody has asked for more yet
    assert tasks.next(0, False, {0}) is None
    assert not tasks.left


def test_a_window_without_sequences_fails_for_nobody():
    empty = Window(0, (Piece("p", 0, "", ((0, 0),)),))
    tasks = RetryQueue(AtHand([empty]), "protein", 1)
    assert tasks.failed(tasks.next(0, True, {0}), "died", 0).failures == {}


def test_a_part_may_come_back_in_parts():
    """A worker that gets an exception for a part halves it by itself."""
    tasks = RetryQueue(AtHand([window(0, 4)]), "protein", 1)
    assert tasks.failed(tasks.next(0, True, {0}), "died", 0) is None
    left, right = (tasks.next(0, True, {0}) for _ in range(2))
    assert tasks.done(right, [outcome(right)]) is None
    quarters = [WindowResult(0, only, np.ones(4, np.uint8), 1) for only in ((0, 1), (1, 2))]
    quarters[0].esm2_SD = np.zeros((1, 1), np.float32)
    quarters[1].failures = {0: "bad"}
    finished = tasks.done(left, quarters)
    assert finished.failures == {1: "bad"}
    assert np.array_equal(finished.esm2_SD[:, 0], [0, np.nan, 2, 3], equal_nan=True)
