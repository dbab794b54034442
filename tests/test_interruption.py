"""Runs ended by signals, by kill, or beside another run; and going on from there."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ESM_8M, environment
from runs import WINDOWS, begin, children_of, end, files_of, finished, options, runs, start, stop_after, times, wait_for
from surroundings import HANG

from virnucpro.output.tables import write_fates

pytestmark = pytest.mark.usefixtures("quick_workers")


@pytest.mark.parametrize(
    "how, more, send",
    [
        (signal.SIGINT, ("--parallel",), os.killpg),  # to all processes, as a terminal does
        (signal.SIGTERM, ("--parallel",), os.killpg),  # as some batch systems do
        (signal.SIGHUP, (), os.kill),
    ],
)
def test_an_interrupted_run_goes_on(main, weights, reads, whole, tmp_path, how, more, send):
    out = tmp_path / "out"
    process = start(weights, reads, out, *more)
    workers = children_of(process.pid)
    assert len(workers) == (2 if more else 0)
    send(process.pid, how)
    said = end(process, out)
    assert process.returncode == 130, said
    assert "Stopping when what is in hand is finished" in said
    assert "interrupted. To go on from what is saved, repeat the command with --resume." in said
    assert "Traceback" not in said
    assert "ERROR" not in said
    assert not any(runs(worker) for worker in workers)
    kept = finished(out)
    assert 1 <= len(kept) < WINDOWS
    assert not list(out.rglob("*.tmp"))
    assert not (out / "reads_merged").exists()

    code, said = main("predict", reads, *options(out), *more, "--resume")
    assert code == 0, said
    assert f"Resuming: {len(kept)} windows are done." in said
    assert files_of(out) == whole


@pytest.mark.parametrize("more", [("--parallel",), ()])
def test_a_second_signal_ends_the_run_at_once(weights, reads, tmp_path, more):
    out = tmp_path / "out"
    process = start(weights, reads, out, *more)
    workers = children_of(process.pid)
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)  # what is in hand will never be finished
    process.send_signal(signal.SIGTERM)
    while "Stopping when what is in hand is finished" not in (said := process.stderr.readline()):
        assert said, "it ended without saying that it would"
    process.send_signal(signal.SIGTERM)
    said = end(process, out)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert not any(runs(worker) for worker in workers)
    assert not list(out.rglob("*.tmp"))


IMPATIENT = """
import sys
from virnucpro import cli
from virnucpro.system import processes
processes.GRACE, processes.LAST = 1.0, {last}
{more}
sys.exit(cli.main(sys.argv[1:]))
"""
STOPPED = """
from functools import partial
sys.path.insert(0, {tests!r})
from faulty import Fault, faulty_work_for
from virnucpro.executors import coordinator
body = partial(faulty_work_for, fault=Fault("stop", "finished"))  # each worker, when it has sent its first window
coordinator.Coordinator = partial(coordinator.Coordinator, body=body)
"""
STUCK = """
import ctypes
from virnucpro.engine.model_runner import ModelRunner
def stuck(*_):
    mutex = ctypes.create_string_buffer(64)  # whoever locks it twice waits in the system, where Python hears no signal
    print("stuck", file=sys.stderr, flush=True)
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(mutex)
ModelRunner.queue = stuck
"""


def impatient(weights, reads, out, *more, last=60.0, code=""):
    """A run as by the command, but for how long it waits after a signal."""
    return subprocess.Popen(
        [sys.executable, "-c", IMPATIENT.format(last=last, more=code), "predict", reads, *options(out), *more],
        env=environment(weights), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_one_signal_is_enough_where_the_workers_get_no_further(main, weights, reads, whole, tmp_path):
    out = tmp_path / "out"
    process = impatient(weights, reads, out, "--parallel", code=STOPPED.format(tests=str(Path(__file__).parent)))
    wait_for(lambda: len(list(out.glob("reads_windows/*.safetensors"))) >= 1)
    workers = children_of(process.pid)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=HANG)
    assert process.returncode == 130, said
    assert "What is in hand is not finished 1 s after the signal" in said
    assert "Traceback" not in said
    assert not any(runs(worker) for worker in workers)
    assert main("predict", reads, *options(out), "--resume")[0] == 0
    assert files_of(out) == whole


def test_one_signal_is_enough_where_the_program_is_stuck(weights, reads, tmp_path):
    """As in a driver whose device does not answer."""
    process = impatient(weights, reads, tmp_path / "out", last=1.0, code=STUCK)
    while process.stderr.readline() != "stuck\n":
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=HANG)
    assert process.returncode == 130, said
    assert "The program does not end by itself." in said


def test_signals_while_the_workers_start(weights, reads, undisturbed, tmp_path):
    """Nothing is written, and with --force the old results are still there."""
    forced = shutil.copytree(undisturbed, tmp_path / "forced")
    before = times(forced)
    for out, more in ((tmp_path / "new", ()), (forced, ("--force",))):
        process = begin(out, 0, weights, "predict", reads, *options(out), "--parallel", *more)
        workers = wait_for(lambda: children_of(process.pid))  # noqa: B023
        process.send_signal(signal.SIGINT)
        said = end(process, out)
        assert process.returncode == 130, said
        assert "Traceback" not in said
        assert not any(runs(worker) for worker in workers)
    assert not (tmp_path / "new").exists()
    assert times(forced) == before


def test_a_signal_while_the_models_are_loaded_touches_nothing(main, reads, undisturbed, tmp_path, monkeypatch):
    from virnucpro.engine.model_runner import ModelRunner

    class Slow(ModelRunner):
        def __init__(self, *arguments):
            os.kill(os.getpid(), signal.SIGINT)
            super().__init__(*arguments)

    monkeypatch.setattr("virnucpro.executors.local.ModelRunner", Slow)
    out = shutil.copytree(undisturbed, tmp_path / "out")
    before = times(out)
    code, said = main("predict", reads, *options(out), "--force")
    assert (code, "Traceback" in said) == (130, False)
    assert times(out) == before


def test_a_signal_while_the_report_is_written_ends_the_run(main, reads, whole, tmp_path, monkeypatch):
    out, plain = tmp_path / "out", write_fates

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return plain(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("virnucpro.pipeline.run.write_fates", interrupted)
        code, said = main("predict", reads, *options(out))
    assert code == 130
    assert "repeat the command with --resume" in said
    assert not (out / "reads_merged" / "sequences.tsv").exists()
    code, said = main("predict", reads, *options(out), "--resume")
    assert code == 0
    assert f"Resuming: {WINDOWS} windows are done." in said
    assert files_of(out) == whole


def test_a_killed_worker_costs_nothing(weights, reads, whole, tmp_path):
    out = tmp_path / "out"
    process = start(weights, reads, out, "--parallel")
    os.kill(children_of(process.pid)[0], signal.SIGKILL)
    said = end(process, out)
    assert process.returncode == 0, said
    assert "worker on cpu was killed by SIGKILL; " in said
    assert "Traceback" not in said
    assert files_of(out) == whole


def test_nothing_outlives_a_killed_run(weights, reads, tmp_path):
    process = start(weights, reads, tmp_path / "out", "--parallel", "--num-workers", 1)
    workers = children_of(process.pid)

    def loaders_of_both():
        found = [children_of(worker) for worker in workers]
        return all(found) and [loader for each in found for loader in each]

    loaders = wait_for(loaders_of_both)
    process.kill()
    process.wait()  # its loader processes may hold standard error open for a moment
    process.stderr.close()
    wait_for(lambda: not any(runs(pid) for pid in (*workers, *loaders)))


def test_a_killed_run_does_not_lock_its_directory(main, weights, reads, whole, tmp_path):
    """Its loader processes may live on for a moment, but they hold no lock."""
    out = tmp_path / "out"
    process = start(weights, reads, out, "--num-workers", 1)
    process.kill()
    process.wait()  # its loader processes may hold standard error open for a moment
    process.stderr.close()
    code, said = main("predict", reads, *options(out), "--resume")
    assert code == 0, said
    assert files_of(out) == whole


def test_without_checkpoints_none_are_left(main, weights, reads, whole, tmp_path):
    out = tmp_path / "out"
    no_checkpoints = ("--set", "enable_checkpointing=false")
    process = start(weights, reads, out, *no_checkpoints)
    assert finished(out) == []
    process.send_signal(signal.SIGINT)
    said = end(process, out)
    assert process.returncode == 130, said
    assert not (out / "reads_windows").exists()
    code, said = main("predict", reads, *options(out), *no_checkpoints, "--resume")
    assert code == 0
    assert "Resuming" not in said
    assert files_of(out) == whole
    assert "Nothing to do" in main("predict", reads, *options(out), *no_checkpoints, "--resume")[1]


def test_two_runs_do_not_share_a_directory(main, weights, reads, whole, tmp_path):
    out = tmp_path / "out"
    process = start(weights, reads, out)
    for word in ("--resume", "--force"):
        code, said = main("predict", reads, *options(out), word)
        assert code == 2
        assert "Another process is at work on this run" in said
    end(process, out)
    assert process.returncode == 0
    assert files_of(out) == whole


def test_runs_with_one_place_for_checkpoints_do_not_meet(main, reads, whole, tmp_path, monkeypatch):
    """Two runs of input with the same name; the first is interrupted, the second must not take its checkpoints."""
    place = ("--set", f"checkpoint_dir={tmp_path / 'checkpoints'}")
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        assert main("predict", reads, *options(tmp_path / "one"), *place)[0] == 130
    (kept,) = (tmp_path / "checkpoints").iterdir()
    before = times(kept)
    for word in ((), ("--force",), ("--resume",)):
        assert main("predict", reads, *options(tmp_path / "two"), *place, *word)[0] == 0
        assert times(kept) == before
    code, said = main("predict", reads, *options(tmp_path / "one"), *place, "--resume")
    assert code == 0
    assert "Resuming: " in said
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two") == whole
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_lock_that_its_holder_has_just_removed_is_none(tmp_path, monkeypatch):
    import fcntl

    from virnucpro.errors import BadRequest
    from virnucpro.pipeline.run_directory import RunDirectory

    plain, opened = fcntl.flock, []

    def flock(file, how):
        if not opened:  # between our opening and locking it, the last holder removes it
            opened.append(file.name)
            os.unlink(file.name)
        return plain(file, how)

    monkeypatch.setattr("virnucpro.system.files.fcntl.flock", flock)
    out = tmp_path / "out"
    with RunDirectory(out, "x").opened(resume=True, force=False):
        assert opened
        with (
            pytest.raises(BadRequest, match="Another process is at work"),
            RunDirectory(out, "x").opened(resume=True, force=False),
        ):
            pass
        assert (out / ".x.lock").exists()  # the refused one has not removed it


def test_a_run_leaves_the_temporary_files_of_others_alone(main, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "S1.fa").write_text("")
    others = ".S1_L001_nucleotide.fa.7.tmp", ".S1_L001-input-abcdefgh.tmp", ".input-abcdefgh.tmp"
    own = ".S1_nucleotide.fa.7.tmp", ".S1_run.json.7.tmp", ".S1-input-abcd_f9h.tmp", ".telemetry_S1.json.7.tmp"
    for name in (*others, *own):
        (out / name).write_text("x")
    assert main("predict", tmp_path / "S1.fa", "--output-dir", out, "--esm-model", ESM_8M, "--resume")[0] == 0
    assert sorted(path.name for path in out.glob(".*")) == sorted(others)
