"""Workers that die, hang or raise, with real processes; what they had in hand is done all the same."""

import errno
import itertools
import logging
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from functools import partial
from multiprocessing.connection import wait
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ESM_8M
from faulty import Fault, faulty_work_for

from virnucpro.config.compute import ComputeConfig
from virnucpro.config.settings import Settings
from virnucpro.errors import BadRequest, DeviceLost, Interrupted, VirnucproError
from virnucpro.executors import agent
from virnucpro.executors.agent import Agent
from virnucpro.executors.base import ExecutorConfig
from virnucpro.executors.coordinator import Coordinator
from virnucpro.models.locate import WeightPaths
from virnucpro.pipeline.run import run
from virnucpro.pipeline.runtime_config import RuntimeConfig
from virnucpro.reading.window_source import AtHand
from virnucpro.reading.windows import Piece, Window

pytestmark = pytest.mark.usefixtures("quick_workers")
WINDOWS, PROTEINS = 5, 4  # and as many in each
SEQUENCES = [
    ["".join(np.random.default_rng((w, p)).choice(list("ADEFGHIKLM"), 12)) for p in range(PROTEINS)]
    for w in range(WINDOWS)
]


@pytest.fixture
def work(weights):
    """What a worker is told, with settings of the run."""

    def make(**config):
        recipe = ComputeConfig(
            "protein", WeightPaths({"esm2": weights / f"{ESM_8M}.pt"}, None), ESM_8M, None, "fp32", "auto", 64, 64, True
        )
        return ExecutorConfig(recipe, RuntimeConfig(**config), 0, 1, logging.WARNING)

    return make


@pytest.fixture(scope="module")
def expected(weights):
    """Features of every window, by fair-esm."""
    from benchmarks.support.reference import fair_esm_features

    return [fair_esm_features(weights / f"{ESM_8M}.pt", proteins).numpy() for proteins in SEQUENCES]


def source():
    for index, proteins in enumerate(SEQUENCES):
        pieces = (Piece(f"w{index}p{place}", 12, text, ((0, 12),)) for place, text in enumerate(proteins))
        yield Window(index, tuple(pieces))


@pytest.fixture
def struck(monkeypatch, tmp_path):
    """A file for `Fault.told`. With it the coordinator's clock is ahead, by an hour each time that a fault has struck
    and no worker has anything more to say."""
    file, hours = tmp_path / "struck", [0]

    def wait_and_look(pipes, timeout):
        said = wait(pipes, 1.0)  # s
        if not said and file.exists() and file.stat().st_size > hours[0]:
            hours[0] += 1
        return said

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + 3600 * hours[0])
    monkeypatch.setattr(agent, "TICK", 3600.0)  # of which two count at most between two looks
    monkeypatch.setattr(agent, "time", clock)
    monkeypatch.setattr(agent, "wait", wait_and_look)
    return file


def compute(work, fault=None, workers=2, windows=None, stop_at=None):
    """All windows through `workers` processes; returns what is finished, who did it, and the coordinator."""
    body = {} if fault is None else {"body": partial(faulty_work_for, fault=fault)}
    crew = Coordinator(work, ("cpu",) * workers, **body)
    finished, ranks = {}, {}
    try:
        crew.check()
        crew.load(AtHand(source() if windows is None else windows))
        for window, cost in crew.run():
            assert window.index not in finished
            finished[window.index], ranks[window.index] = window, cost.rank
            if stop_at == len(finished):
                crew.stop()
    finally:
        crew.close()
    assert not multiprocessing.active_children()
    return finished, ranks, crew


def assert_all_but(finished, expected, failed=()):
    """Every sequence has its features, in its place, but those that failed."""
    assert sorted(finished) == list(range(WINDOWS))
    for index, window in finished.items():
        places = [place for at, place in failed if at == index]
        assert sorted(window.failures) == places
        assert window.names == [f"w{index}p{place}" for place in range(PROTEINS)]
        if len(places) < PROTEINS:
            good = np.delete(np.arange(PROTEINS), places)
            assert np.abs(window.features["esm2"][good] - expected[index][good]).max() <= 1e-4
            assert np.isnan(window.features["esm2"][places]).all()


def reasons(finished):
    return {reason for window in finished.values() for reason in window.failures.values()}


def test_without_a_fault(work, expected):
    finished, _, crew = compute(work())
    assert_all_but(finished, expected)
    assert crew.failed_ranks == []


def test_a_worker_ends_its_loaders_even_those_that_hang(work, expected, monkeypatch):
    """Else it would wait for them, and be killed when patience is at its end."""
    ends, end = [], Agent.end
    monkeypatch.setattr(Agent, "end", lambda self: ends.append(end(self)) or ends[-1])
    fault = Fault("stop loaders", "finished", frozenset({(WINDOWS - 1, 0)}))
    finished, *_ = compute(replace(work(), num_workers=1), fault, workers=1)
    assert_all_but(finished, expected)
    assert ends == ["worker on cpu ended with exit code 0"]


@pytest.mark.parametrize("how", ["kill", "raise"])
def test_the_windows_of_a_dead_worker_go_to_another(work, expected, tmp_path, how):
    where = "engine" if how == "kill" else "front end"
    fault = Fault(how, where, frozenset({(0, 2)}), once=tmp_path / "once")
    finished, _, crew = compute(work(), fault)
    assert fault.once.exists()
    assert_all_but(finished, expected)
    assert crew.failed_ranks == []


@pytest.mark.parametrize(
    "fault, why",
    [
        (Fault("kill"), "worker on cpu was killed by SIGKILL"),
        (Fault("exit", "front end"), "worker on cpu ended with exit code 3"),
        (Fault("raise"), "RuntimeError: a bad sequence"),
    ],
)
def test_the_poison_is_found(work, expected, caplog, fault, why):
    poison = frozenset({(1, 3)})
    finished, _, crew = compute(work(), Fault(fault.how, fault.where, poison))
    assert_all_but(finished, expected, failed=poison)
    assert reasons(finished) == {why}
    assert crew.failed_ranks == []


def test_time_in_which_the_parent_was_suspended_does_not_count(work, expected, monkeypatch):
    """Suspended for hours at every look at the clock: no worker is late for that."""
    hours = itertools.count(0, 10_000.0)
    monkeypatch.setattr("virnucpro.executors.agent.time", SimpleNamespace(monotonic=lambda: next(hours)))
    finished, _, crew = compute(work(timeout_per_attempt=1000.0))
    assert_all_but(finished, expected)
    assert crew.failed_ranks == []


def started_but(ranks):
    """An `Agent` for which the system has nothing left at these ranks."""

    class Some(Agent):
        def __init__(self, body, config, device, rank, *rest):
            if rank in ranks:
                raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
            super().__init__(body, config, device, rank, *rest)

    return Some


def test_a_worker_that_cannot_be_started_leaves_its_work_to_the_others(work, expected, monkeypatch, caplog):
    monkeypatch.setattr("virnucpro.executors.coordinator.Agent", started_but({0}))
    finished, ranks, crew = compute(work())
    assert_all_but(finished, expected)
    assert (set(ranks.values()), crew.failed_ranks) == ({1}, [0])
    assert "Worker 0 on cpu cannot be started (BlockingIOError: [Errno 11] Resource" in caplog.text


def test_without_any_worker_the_run_ends_with_the_reason(work, monkeypatch):
    monkeypatch.setattr("virnucpro.executors.coordinator.Agent", started_but({0, 1}))
    with pytest.raises(BadRequest, match=r"No worker process could be started \(the last: BlockingIOError: "):
        compute(work())


def test_a_dead_worker_that_cannot_be_replaced(work, expected, tmp_path, monkeypatch):
    agents, plain = [], Agent.__init__

    def only_two(self, *arguments):
        agents.append(arguments)
        if len(agents) > 2:
            raise OSError(errno.EMFILE, "Too many open files")
        plain(self, *arguments)

    monkeypatch.setattr(Agent, "__init__", only_two)
    finished, _, crew = compute(work(), Fault("kill", once=tmp_path / "once"))
    assert_all_but(finished, expected)
    assert len(crew.failed_ranks) == 1


def test_a_worker_out_of_time_is_ended(work, expected, struck):
    poison = frozenset({(2, 0)})
    config = work(timeout_per_attempt=1800.0, max_retries_poison=1)
    finished, _, crew = compute(config, Fault("hang", "front end", poison, told=struck), workers=1)
    assert_all_but(finished, expected, failed=poison)
    assert reasons(finished) == {"worker on cpu was ended after 1800 s on one window"}
    assert crew.failed_ranks == []


def test_a_broken_machine_is_given_up_and_spoils_nothing(work, expected):
    finished, ranks, crew = compute(work(max_retries_transient=1), Fault("kill", ranks=frozenset({1})))
    assert_all_but(finished, expected)
    assert set(ranks.values()) == {0}
    assert crew.failed_ranks in ([1], [])  # [] if worker 0 was done before


def test_a_machine_that_cannot_start_is_given_up(work, expected):
    finished, _, crew = compute(work(max_retries_transient=0), Fault("exit", "start", ranks=frozenset({0})))
    assert_all_but(finished, expected)
    assert crew.failed_ranks == [0]


def test_no_machine_can_start(work):
    with pytest.raises(VirnucproError, match="No worker process could be started"):
        compute(work(), Fault("exit", "start"))
    assert not multiprocessing.active_children()


def test_no_machine_can_load_the_models(work):
    """Nothing is known of the windows then, so none of them has failed."""
    with pytest.raises(
        BadRequest, match=r"No worker could load the models \(the last worker on cpu was killed by SIGK"
    ):
        compute(work(), Fault("kill", "loading"))
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_window_of_poison_spoils_no_other(work, expected, workers):
    poison = [(0, place) for place in range(PROTEINS)]
    finished, _, _ = compute(work(), Fault("kill", poison=frozenset(poison)), workers)
    assert_all_but(finished, expected, failed=poison)


def test_poison_in_every_window_spoils_no_other(work, expected):
    poison = [(index, 0) for index in range(WINDOWS)]
    finished, _, crew = compute(work(), Fault("kill", poison=frozenset(poison)), workers=1)
    assert_all_but(finished, expected, failed=poison)
    assert crew.failed_ranks == []


def test_no_worker_is_left(work, expected):
    finished, _, crew = compute(work(max_retries_transient=0), Fault("kill"))
    assert_all_but(finished, expected, failed=[(w, p) for w in range(WINDOWS) for p in range(PROTEINS)])
    assert "no worker is left (worker " in reasons(finished).pop()
    assert sorted(crew.failed_ranks) == [0, 1]


def test_without_redistribution_nothing_is_handed_to_others(work, expected):
    config = work(enable_elastic_redistribution=False)
    finished, ranks, crew = compute(config, Fault("kill", poison=frozenset({(0, 0)})))
    (lost,) = crew.failed_ranks
    failed = {index for index, window in finished.items() if window.failures}
    assert 0 in failed
    assert len(failed) <= 2  # what the worker had in hand
    assert all(ranks[index] == lost for index in failed)
    assert all(ranks[index] != lost for index in set(finished) - failed)
    assert_all_but(finished, expected, failed=[(index, place) for index in sorted(failed) for place in range(PROTEINS)])
    assert reasons(finished) == {"worker on cpu was killed by SIGKILL"}


def test_nobody_waits_for_a_worker_that_is_still_loading(work, tmp_path):
    """Windows that do not fit into a pipe must not be sent where nobody reads."""
    windows = [Window(i, (Piece(f"p{i}" * 1_000_000, 9, "A" * 9, ((0, 9),)),)) for i in range(2)]
    fault = Fault("hang", "start", ranks=frozenset({1}), over=tmp_path / "over")
    finished, ranks, _ = compute(work(), fault, windows=windows)
    assert not fault.over.exists()
    assert set(ranks.values()) == {0}
    assert sorted(finished) == [0, 1]


def test_nobody_waits_for_a_worker_that_does_not_read(work, struck, tmp_path):
    windows = [Window(i, (Piece(f"p{i}" * 1_000_000, 9, "A" * 9, ((0, 9),)),)) for i in range(8)]
    fault = Fault("stop", "finished", ranks=frozenset({0}), once=tmp_path / "once", told=struck)
    finished, _, _ = compute(work(timeout_per_attempt=1800.0), fault, windows=iter(windows))
    assert sorted(finished) == list(range(8))
    assert not any(window.failures for window in finished.values())


def test_a_window_costs_what_its_parts_cost(work):
    crew = Coordinator(work(), ("cpu",), body=partial(faulty_work_for, fault=Fault("kill", poison=frozenset({(1, 3)}))))
    try:
        crew.check()
        crew.load(AtHand(source()))
        costs = {window.index: cost for window, cost in crew.run()}
    finally:
        crew.close()
    assert {index: cost.sequences for index, cost in costs.items()} == {0: 4, 1: 3, 2: 4, 3: 4, 4: 4}
    assert (costs[1].tokens, costs[1].capacity, costs[1].packs) == (3 * 14, 2 * 64, 2)


def test_stop_finishes_what_is_in_hand(work):
    finished, _, crew = compute(work(), stop_at=1)
    assert 1 <= len(finished) < WINDOWS
    assert crew.failed_ranks == []


def test_stop_while_the_workers_start(work):
    crew = Coordinator(work(), ("cpu", "cpu"))
    crew.stop()
    with pytest.raises(Interrupted):
        crew.check()
    crew.close()
    assert not multiprocessing.active_children()


def test_weights_that_are_none_are_refused(work, tmp_path):
    (tmp_path / f"{ESM_8M}.pt").write_text("<html>")
    bad = work()
    weights = WeightPaths({"esm2": tmp_path / f"{ESM_8M}.pt"}, None)
    with pytest.raises(BadRequest, match="a web page"):
        compute(
            ExecutorConfig(
                ComputeConfig("protein", weights, ESM_8M, None, "fp32", "auto", 64, 64, True), bad.runtime, 0, 1, 30
            )
        )
    assert not multiprocessing.active_children()


# The whole run


@pytest.fixture(scope="module")
def reads(tmp_path_factory):
    path = tmp_path_factory.mktemp("reads") / "reads.fa"
    letters = np.random.default_rng(7).choice(["GCT", "AAA", "GTT", "CTG", "GAC", "ATG"], (12, 20))
    path.write_text("".join(f">r{i}\n{''.join(row)}\n" for i, row in enumerate(letters)))
    return path


@pytest.fixture
def predicted(weights, reads, tmp_path, monkeypatch):
    """Run on the reads, with windows of two; returns the result files and the summary."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    def predict(name="out", config=(), **options):
        settings = Settings(
            (str(reads),), tmp_path / name, weights, esm_model=ESM_8M, show_progress=False,
            runtime=RuntimeConfig(buffer_size=2, checkpoint_seq_threshold=1, **dict(config)), **options,
        )  # fmt: skip
        summary = run(settings)
        return {path.name: path.read_bytes() for path in summary.results.iterdir()}, summary

    return predict


@pytest.fixture
def undisturbed(predicted):
    return predicted("undisturbed")[0]


def on_window(monkeypatch, name, index, act):
    """Have `act` done once, when this process comes to a window."""
    module, kind = name.rsplit(".", 1)
    owner = getattr(__import__(f"virnucpro.{module}", fromlist=[kind]), kind)
    method = {"ModelRunner": "queue", "FrontEnd": "__getitem__", "CheckpointStore": "add"}[kind]
    plain, struck = getattr(owner, method), []

    def wrapped(self, window, *rest):
        if getattr(window, "blank", window).index == index and not struck:  # packed, or not
            struck.append(True)
            act()
        return plain(self, window, *rest)

    monkeypatch.setattr(owner, method, wrapped)


def lose():
    raise DeviceLost("cuda:0: an illegal memory access was encountered")


def fail():
    raise RuntimeError("a bad window")


@pytest.mark.parametrize(
    "name, index, act",
    [
        ("engine.model_runner.ModelRunner", 3, lose),
        ("engine.loader.FrontEnd", 3, fail),
        ("engine.model_runner.ModelRunner", 7, lose),  # all is read by then
    ],
)
def test_one_process_that_cannot_go_on_hands_over_to_another(
    predicted, undisturbed, monkeypatch, caplog, name, index, act
):
    on_window(monkeypatch, name, index, act)
    results, summary = predicted(keep_intermediate=True)
    assert results == undisturbed
    assert "Going on in a new process." in caplog.text
    assert summary.failed_ranks == []
    assert sorted(path.name for path in summary.results.parent.glob("*.f*a")) == [
        "reads_chunked500.fa", "reads_nucleotide.fa", "reads_protein.faa",
    ]  # fmt: skip
    assert not list(summary.results.parent.rglob("*.tmp"))


@pytest.mark.parametrize("name", ["engine.model_runner.ModelRunner", "pipeline.checkpoints.CheckpointStore"])
def test_a_killed_loader_process_is_replaced(predicted, undisturbed, monkeypatch, caplog, name):
    """Whatever this process is at when it dies."""

    def kill_the_loader():
        (loader,) = multiprocessing.active_children()
        os.kill(loader.pid, signal.SIGKILL)
        # Not join, which would take the news from whoever else wants to hear of it.
        os.waitid(os.P_PID, loader.pid, os.WEXITED | os.WNOWAIT)

    on_window(monkeypatch, name, 1, kill_the_loader)
    results, _ = predicted(num_workers=1)
    assert results == undisturbed
    assert "A loader process died" in caplog.text


def test_a_partial_result_names_what_failed_and_is_tried_again(predicted, undisturbed, monkeypatch):
    fault = Fault("kill", poison=frozenset({(4, 1)}))
    faulty = partial(Coordinator, body=partial(faulty_work_for, fault=fault))
    options = {"parallel": True, "workers_per_gpu": 2, "save_embeddings": True}
    with monkeypatch.context() as patch:
        patch.setattr("virnucpro.executors.coordinator.Coordinator", faulty)
        results, summary = predicted(**options)
    table = [line.split("\t") for line in results["sequences.tsv"].decode().splitlines()[1:]]
    (failed,) = [row for row in table if row[4] != "scored"]
    assert failed[4] == "failed: worker on cpu was killed by SIGKILL"
    assert summary.fates == {"scored": 11, "failed": 1}
    assert (summary.results.parent / "reads_windows").is_dir()

    results, summary = predicted(resume=True, **options)
    assert summary.fates == {"scored": 12}
    assert {name: results[name] for name in undisturbed} == undisturbed
    assert not (summary.results.parent / "reads_windows").exists()
