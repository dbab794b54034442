"""Prefetch: windows come back prepared and in order, whatever becomes of the processes that prepare them."""

import errno
import multiprocessing
import os
import resource
import signal
import struct
import threading
import time
from multiprocessing.connection import Connection

import packing
import pytest
from surroundings import HANG
from test_loader import plain

from virnucpro.diagnostics import doctor
from virnucpro.engine import prefetch
from virnucpro.engine.loader import FrontEnd
from virnucpro.engine.pending_result import PendingResult
from virnucpro.engine.prefetch import Prefetcher
from virnucpro.engine.window_loop import WindowLoop
from virnucpro.errors import DeviceLost
from virnucpro.pipeline.runtime_config import RuntimeConfig
from virnucpro.reading.window_source import AtHand
from virnucpro.system import processes


@pytest.fixture
def several():
    made = packing.windows_of({f"r{i}": "ATGGCC" * i for i in range(1, 12)}, buffer_size=8)
    assert len(made) == 4
    return made


@pytest.fixture
def front_end(weights):
    return FrontEnd(packing.recipe(weights))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(prefetch, "TICK", 0.05)
    monkeypatch.setattr(prefetch, "SILENCE", 40)


def all_of(prefetcher, windows):
    """Windows and what was prepared of them, in the order in which they came."""
    source, prepared, deadline = iter(windows), [], time.monotonic() + HANG
    try:
        while True:
            while prefetcher.room and (window := next(source, None)) is not None:
                prefetcher.put(window)
            if not prefetcher:
                return prepared
            if (one := prefetcher.next()) is not None:
                prepared.append(one)
            assert time.monotonic() < deadline, "it waits for ever"
    finally:
        prefetcher.close()


def assert_right(prepared, windows, front_end):
    assert [window.index for window, _ in prepared] == [window.index for window in windows]
    assert [plain(made) for _, made in prepared] == [plain(front_end[window]) for window in windows]


@pytest.mark.parametrize("processes", [0, 1, 2, 5])
def test_the_same_in_the_same_order(several, front_end, processes):
    prefetcher = Prefetcher(front_end.__getitem__, processes, 2, retries=3)
    assert_right(all_of(prefetcher, several), several, front_end)
    assert len(prefetcher) == 0


def test_each_process_has_so_many_in_hand_and_no_more(several, front_end):
    prefetcher = Prefetcher(front_end.__getitem__, 1, 2, retries=3)
    given = 0
    while prefetcher.room:
        prefetcher.put(several[given])
        given += 1
    prefetcher.close()
    assert given == 2


class Environment:
    def __init__(self, window):
        self.pid, self.devices = os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]
        self.handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)]


def test_processes_see_no_gpu_and_leave_signals_to_their_parent(several):
    ((_, seen),) = all_of(Prefetcher(Environment, 1, 2, retries=3), several[:1])
    assert seen.pid != os.getpid()
    assert seen.devices == ""
    assert seen.handlers == [signal.SIG_IGN, signal.SIG_IGN]


class Faulty:
    """Prepares windows, but does something else with the first it gets, or with every one of an index."""

    def __init__(self, front_end, tmp_path, what, poison=None):
        self.front_end, self.once, self.what, self.poison = front_end, tmp_path / "once", what, poison

    def __call__(self, window):
        if window.index == self.poison or (self.poison is None and not self.once.exists()):
            self.once.touch()
            if (instead := self.what()) is not None:
                return instead
        return self.front_end[window]


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def stopped():
    os.kill(os.getpid(), signal.SIGSTOP)


class Unpicklable:
    def __reduce__(self):
        raise MemoryError("no room for the answer")


def half_an_answer():
    """Not before the answer, but in the middle of it; in the forked process only."""

    def send(pipe, answer):
        os.write(pipe.fileno(), struct.pack("!i", 1000) + b"x")
        killed()

    Connection.send = send


class NoPickleHere:
    """An answer that cannot be read."""

    def __reduce__(self):
        return _no_pickle, ()


def _no_pickle():
    raise ValueError("made by another version")


@pytest.mark.parametrize(
    "what", [killed, Unpicklable, half_an_answer, NoPickleHere, lambda: os._exit(0)],
    ids=["killed before its answer", "cannot send", "killed in the middle of it", "not understood", "ended"],
)  # fmt: skip
def test_a_process_without_an_answer_is_replaced(several, front_end, tmp_path, caplog, what):
    prefetcher = Prefetcher(Faulty(front_end, tmp_path, what), 2, 2, retries=3)
    assert_right(all_of(prefetcher, several), several, front_end)
    assert "A loader process died" in caplog.text


def test_a_process_killed_after_its_answer_has_given_it(several, front_end, caplog):
    prefetcher = Prefetcher(front_end.__getitem__, 1, 4, retries=3)
    for window in several:
        prefetcher.put(window)
    while not all(order.future.done() for order in prefetcher._in_hand):
        time.sleep(0.01)
    (loader,) = prefetcher._loaders
    loader._process.kill()
    assert_right(all_of(prefetcher, []), several, front_end)
    assert not caplog.messages


def test_a_process_that_hangs_is_not_waited_for_for_ever(several, front_end, tmp_path, caplog):
    prefetcher = Prefetcher(Faulty(front_end, tmp_path, stopped), 1, 2, retries=3)
    assert_right(all_of(prefetcher, several), several, front_end)
    assert "Without loader processes: no answer in" in caplog.text


def test_one_that_takes_no_windows_is_not_waited_for_either(front_end, caplog):
    """It is stopped before it reads; the window is larger than a pipe."""
    (large,) = packing.windows_of({"r": "ATGGCC" * 1_000_000}, buffer_size=100_000)[:1]
    prefetcher = Prefetcher(lambda window: window.index, 1, 2, retries=3)
    os.kill(prefetcher._loaders[0]._process.pid, signal.SIGSTOP)
    assert all_of(prefetcher, [large]) == [(large, 0)]
    assert "no answer in" in caplog.text


@pytest.mark.parametrize("what", [killed, stopped], ids=["killed", "stopped"])
def test_none_outlives_its_prefetcher(several, front_end, tmp_path, what):
    prefetcher = Prefetcher(Faulty(front_end, tmp_path, what), 2, 2, retries=3)
    processes = [loader._process for loader in prefetcher._loaders]
    for window in several:
        prefetcher.put(window)
    prefetcher.close()
    assert not any(process.is_alive() for process in processes)


def test_a_window_that_kills_its_processes_is_for_a_coordinator(several, front_end, tmp_path):
    prefetcher = Prefetcher(Faulty(front_end, tmp_path, killed, poison=1), 1, 1, retries=2)
    with pytest.raises(DeviceLost, match="loader processes keep dying"):
        all_of(prefetcher, several)


def test_where_another_process_takes_the_place_of_this_one_it_prepares_the_window_itself(
    several, front_end, tmp_path, caplog
):
    here = os.getpid()
    faulty = Faulty(front_end, tmp_path, lambda: None if os.getpid() == here else killed(), poison=1)
    prefetcher = Prefetcher(faulty, 1, 1, retries=2, expendable=True)
    assert_right(all_of(prefetcher, several), several, front_end)
    assert "Without loader processes: they keep dying" in caplog.text


@pytest.mark.parametrize("processes", [0, 1])
def test_an_error_is_for_a_coordinator(several, front_end, tmp_path, processes):
    def bad():
        raise ValueError("a bad\nsequence")

    prefetcher = Prefetcher(Faulty(front_end, tmp_path, bad, poison=1), processes, 2, retries=3)
    with pytest.raises(DeviceLost, match=r"^preparing window 1 failed \(ValueError: a bad sequence\)$"):
        all_of(prefetcher, several)


def nothing_left(*arguments, **options):
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def no_thread(self):
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("call, instead", [("os.fork", nothing_left), ("threading.Thread.start", no_thread)])
def test_where_no_process_can_be_started_none_is_needed(several, front_end, monkeypatch, caplog, call, instead):
    before = set(multiprocessing.active_children())
    with monkeypatch.context() as patch:
        patch.setattr(call, instead)
        prefetcher = Prefetcher(front_end.__getitem__, 2, 2, retries=3)
    assert_right(all_of(prefetcher, several), several, front_end)
    assert "Without loader processes: none can be started" in caplog.text
    assert set(multiprocessing.active_children()) <= before


def test_the_doctor_says_whether_there_would_be_any(monkeypatch):
    (fine,) = doctor._loaders()
    assert (fine.verdict, fine.text) == (doctor.OK, "processes that prepare windows ahead can be started")
    for what, reason in (
        (nothing_left, "none can be started (BlockingIOError: [Errno 11] Resource temporarily unavailable)"),
        (os.fork, "one that was tried gave no answer (LoaderDied"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr("os.fork", what)
            patch.setattr(prefetch, "_answer", lambda window: killed())
            (slower,) = doctor._loaders()
        assert slower.verdict == doctor.NOTE
        assert slower.text.startswith(f"a run prepares its windows by itself, which is slower: {reason}")


def test_few_file_descriptors(several, front_end, caplog):
    """From none on: then there are no processes, then one, then both."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    counts = []
    for more in range(16):
        highest, taken = max(map(int, os.listdir("/proc/self/fd"))), [os.dup(0)]
        while taken[-1] < highest:  # so that there are no gaps
            taken.append(os.dup(0))
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (taken[-1] + 1 + more, hard))
            prefetcher = Prefetcher(front_end.__getitem__, 2, 2, retries=3)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in taken:
                os.close(descriptor)
        counts.append(len(prefetcher._loaders))
        assert_right(all_of(prefetcher, several), several, front_end)
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, 2)
    assert caplog.text.count("none can be started (OSError: [Errno 24]") == counts.count(0)


def test_a_daemonic_process_does_without(several, front_end, monkeypatch, caplog):
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    assert processes.why_no_children()
    assert_right(all_of(Prefetcher(front_end.__getitem__, 2, 2, retries=3), several), several, front_end)
    assert "Without loader processes: this is a daemonic process" in caplog.text


class Echo:
    """An engine that computes nothing."""

    def __init__(self, recipe):
        self.config, self.device = recipe, "none"

    def queue(self, prepared):
        yield PendingResult(prepared, self.config, {}, {})


def test_a_stream_whose_loader_process_hangs_ends_when_it_is_told_to(weights, several, front_end, tmp_path):
    recipe = packing.recipe(weights)
    loaders = Prefetcher(Faulty(front_end, tmp_path, stopped), 1, 2, retries=3)
    stream = WindowLoop(AtHand(several), loaders, RuntimeConfig())
    threading.Timer(0.2, stream.stop).start()
    assert list(stream.run(Echo(recipe))) == []
    loaders.close()


def test_a_source_may_have_nothing_for_now(weights, several, front_end):
    recipe = packing.recipe(weights)
    source = packing.Hesitant(several)
    loaders = Prefetcher(front_end.__getitem__, 2, 2, retries=3)
    stream = WindowLoop(source, loaders, RuntimeConfig())
    assert [window.index for window, _ in packing.computed(stream, Echo(recipe))] == [0, 1, 2, 3]
    loaders.close()
