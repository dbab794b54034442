"""Interruption, and going on from there: by signals, and with files that are not what they were."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import ESM_8M, command, environment

from benchmarks.synthetic_weights import write_classifier

pytestmark = pytest.mark.usefixtures("one_thread")
READS = 48
WINDOWS = 14  # of 1, 1, 2 and then 4 reads


@pytest.fixture(scope="module")
def reads(tmp_path_factory):
    """Reads of 240 bp whose first frame is open."""
    rng = random.Random(5)
    path = tmp_path_factory.mktemp("reads") / "reads.fa"
    codons = ["GCT", "AAA", "GTT", "CTG", "GAC", "ATG", "TTC", "CCG"]
    path.write_text("".join(f">r{i}\n{''.join(rng.choices(codons, k=80))}\n" for i in range(READS)))
    return path


def options(out, buffer_size=4):
    """For many windows, each a checkpoint."""
    windows = ("--set", f"buffer_size={buffer_size}", "--set", "checkpoint_seq_threshold=1")
    return ("--output-dir", out, "--esm-model", ESM_8M, "--no-progress", "--keep-intermediate", *windows)


@pytest.fixture(scope="module")
def undisturbed(program, reads, tmp_path_factory):
    """The directory of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    done = program("predict", reads, *options(out))
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def killed(weights, reads, tmp_path_factory):
    """The directory of a run that was killed when it had some checkpoints."""
    out = tmp_path_factory.mktemp("killed") / "out"
    process = start(weights, reads, out, files=4)
    process.kill()
    process.communicate()
    assert 3 <= len(finished(out)) < WINDOWS
    return out


@pytest.fixture
def whole(undisturbed):
    """Its files."""
    return files_of(undisturbed)


def files_of(out):
    """All that a run leaves, but the manifest, which has times."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name != "reads_run.json"
    }


def start(weights, reads, out, *more, files=1):
    """Start a run and wait until it has so many checkpoints."""
    process = subprocess.Popen(
        command("predict", reads, *options(out), *more),
        env=environment(weights), stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    wait_for(lambda: len(list(out.glob("reads_windows/*.safetensors"))) >= files or process.poll() is not None)
    assert process.poll() is None, process.stderr.read()
    return process


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
    return result


def children_of(pid, name="spawn_main"):
    """Process ids of the spawned workers, from /proc."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if name in Path(f"/proc/{child}/cmdline").read_text():
            found.append(int(child))
    return found


def runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def finished(out):
    """Indices of the windows that the manifest lists."""
    return [
        index for entry in json.loads((out / "reads_run.json").read_text())["checkpoints"] for index in entry["windows"]
    ]


def times(out):
    return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}


# Signals


@pytest.mark.parametrize(
    "how, more, send",
    [
        (signal.SIGINT, ("--parallel",), os.killpg),  # to all processes, as a terminal does
        (signal.SIGTERM, ("--parallel",), os.killpg),  # as some batch systems do
        (signal.SIGHUP, (), os.kill),
    ],
)
def test_an_interrupted_run_goes_on(program, weights, reads, whole, tmp_path, how, more, send):
    out = tmp_path / "out"
    process = start(weights, reads, out, *more)
    workers = children_of(process.pid)
    assert len(workers) == (2 if more else 0)
    send(process.pid, how)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Stopping when the window in hand is finished" in said
    assert "interrupted. Finished parts are kept; repeat the command with --resume." in said
    assert "Traceback" not in said
    assert "ERROR" not in said
    assert not any(runs(worker) for worker in workers)
    kept = finished(out)
    assert 1 <= len(kept) < WINDOWS
    assert not list(out.rglob("*.tmp"))
    assert not (out / "reads_merged").exists()

    done = program("predict", reads, *options(out), *more, "--resume")
    assert done.returncode == 0, done.stderr
    assert f"Resuming: {len(kept)} windows are done." in done.stderr
    assert files_of(out) == whole


@pytest.mark.parametrize("more", [("--parallel",), ()])
def test_a_second_signal_ends_the_run_at_once(weights, reads, tmp_path, more):
    out = tmp_path / "out"
    process = start(weights, reads, out, *more)
    workers = children_of(process.pid)
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)  # what is in hand will never be finished
    process.send_signal(signal.SIGTERM)
    if workers:
        time.sleep(0.5)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert not any(runs(worker) for worker in workers)
    assert not list(out.rglob("*.tmp"))


def test_signals_while_the_workers_start(weights, reads, undisturbed, tmp_path):
    """Nothing is written, and with --force the old results are still there."""
    forced = shutil.copytree(undisturbed, tmp_path / "forced")
    before = times(forced)
    for out, more in ((tmp_path / "new", ()), (forced, ("--force",))):
        process = subprocess.Popen(
            command("predict", reads, *options(out), "--parallel", *more),
            env=environment(weights), stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        workers = wait_for(lambda: children_of(process.pid))  # noqa: B023
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130, said
        assert "Traceback" not in said
        assert not any(runs(worker) for worker in workers)
    assert not (tmp_path / "new").exists()
    assert times(forced) == before


def test_a_signal_while_the_models_are_loaded_touches_nothing(main, reads, undisturbed, tmp_path, monkeypatch):
    from virnucpro.engine import Engine

    class Slow(Engine):
        def __init__(self, *arguments):
            os.kill(os.getpid(), signal.SIGINT)
            super().__init__(*arguments)

    monkeypatch.setattr("virnucpro.inline.Engine", Slow)
    out = shutil.copytree(undisturbed, tmp_path / "out")
    before = times(out)
    code, said = main("predict", reads, *options(out), "--force")
    assert (code, "Traceback" in said) == (130, False)
    assert times(out) == before


def test_a_killed_worker_costs_nothing(weights, reads, whole, tmp_path):
    out = tmp_path / "out"
    process = start(weights, reads, out, "--parallel")
    os.kill(children_of(process.pid)[0], signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "worker on cpu was killed by SIGKILL; " in said
    assert "Traceback" not in said
    assert files_of(out) == whole


def test_nothing_outlives_a_killed_run(weights, reads, tmp_path):
    process = start(weights, reads, tmp_path / "out", "--parallel", "--num-workers", 1)
    workers = children_of(process.pid)
    loaders = [loader for worker in workers for loader in children_of(worker)]
    assert len(loaders) == 2
    process.kill()
    process.wait()  # its loader processes may hold standard error open for a moment
    process.stderr.close()
    wait_for(lambda: not any(runs(pid) for pid in (*workers, *loaders)), seconds=30)


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
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert not (out / "reads_windows").exists()
    code, said = main("predict", reads, *options(out), *no_checkpoints, "--resume")
    assert code == 0
    assert "Resuming" not in said
    assert files_of(out) == whole
    assert "Nothing to do" in main("predict", reads, *options(out), *no_checkpoints, "--resume")[1]


# Two runs


def test_two_runs_do_not_share_a_directory(main, weights, reads, whole, tmp_path):
    out = tmp_path / "out"
    process = start(weights, reads, out)
    process.send_signal(signal.SIGSTOP)  # so that it cannot finish first
    try:
        for word in ("--resume", "--force"):
            code, said = main("predict", reads, *options(out), word)
            assert code == 2
            assert "Another process is at work on this run" in said
    finally:
        process.send_signal(signal.SIGCONT)
    process.communicate(timeout=60)
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


def stop_after(monkeypatch, count):
    """Have a run in this process interrupted when so many windows are finished."""
    from virnucpro.store import Store

    plain, added = Store.add, []

    def add(self, window):
        added.append(window)
        if len(added) == count:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(self, window)

    monkeypatch.setattr(Store, "add", add)


def test_a_lock_that_its_holder_has_just_removed_is_none(tmp_path, monkeypatch):
    import fcntl

    from virnucpro.errors import BadRequest
    from virnucpro.rundir import RunDirectory

    plain, opened = fcntl.flock, []

    def flock(file, how):
        if not opened:  # between our opening and locking it, the last holder removes it
            opened.append(file.name)
            os.unlink(file.name)
        return plain(file, how)

    monkeypatch.setattr("virnucpro.rundir.fcntl.flock", flock)
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
    own = ".S1_nucleotide.fa.7.tmp", ".S1_run.json.7.tmp", ".S1-input-abcd_f9h.tmp"
    for name in (*others, *own):
        (out / name).write_text("x")
    assert main("predict", tmp_path / "S1.fa", "--output-dir", out, "--esm-model", ESM_8M, "--resume")[0] == 0
    assert sorted(path.name for path in out.glob(".*")) == sorted(others)


# What is there


def test_resuming_a_complete_run_does_nothing(main, weights, reads, undisturbed, tmp_path):
    out = shutil.copytree(undisturbed, tmp_path / "out")
    before = times(out)
    moved = shutil.copytree(weights, tmp_path / "weights")  # the same weights at another place
    code, said = main("predict", reads, *options(out), "--resume", "--weights-dir", moved)
    assert code == 0
    assert "Nothing to do" in said
    assert "Checkpoint" not in said
    without_keeping = [option for option in options(out) if option != "--keep-intermediate"]
    assert main("predict", reads, *without_keeping, "--resume")[0] == 0
    assert times(out) == before  # what was kept once is not removed now


def test_an_empty_input_can_be_resumed(main, tmp_path):
    (tmp_path / "none.fa").write_text("")
    run = ("predict", tmp_path / "none.fa", "--output-dir", tmp_path / "out", "--esm-model", ESM_8M)
    assert main(*run)[0] == 0
    code, said = main(*run, "--resume")
    assert (code, "Nothing to do" in said) == (0, True)


def test_missing_results_are_made_again(main, reads, undisturbed, whole, tmp_path):
    out = shutil.copytree(undisturbed, tmp_path / "out")
    (out / "reads_merged" / "contigs.tsv").unlink()
    code, said = main("predict", reads, *options(out), "--resume")
    assert code == 0
    assert "Checkpoint" not in said  # that they are gone is no damage
    assert files_of(out) == whole


@pytest.mark.parametrize("state", ["undisturbed", "killed"])
def test_another_run_is_not_gone_on_with(main, weights, reads, request, tmp_path, state):
    out = shutil.copytree(request.getfixturevalue(state), tmp_path / "out")
    for hidden in out.rglob(".*"):  # the killed run's lock and temporary files
        hidden.unlink()
    before = times(out)
    changed = tmp_path / "reads.fa"
    changed.write_text(reads.read_text().replace(">r7\n", ">r7x\n"))
    other = shutil.copytree(weights, tmp_path / "weights")
    write_classifier(other / "500_model.pth", 344, seed=1)
    for source, more, differs in (
        (changed, (), "other input: sha256"),
        (reads, ("--batch-tokens", 100), "other settings: batch_tokens (2048 then, 100 now)"),
        (reads, ("--deterministic",), "other settings: "),
        (reads, ("--save-embeddings",), "other settings: save_embeddings"),
        (reads, ("--model-type", 300), "other weights: 300_model.pth (None then"),
        (reads, ("--weights-dir", other), "other weights: 500_model.pth ("),
    ):
        code, said = main("predict", source, *options(out), "--resume", *more)
        assert code == 2, differs
        assert differs in said
        assert "start over with --force" in said
        assert times(out) == before
    code, said = main("predict", reads, *options(out, buffer_size=5), "--resume")
    assert (code, "other settings: buffer_size (4 then, 5 now)" in said) == (2, True)
    assert times(out) == before


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda path: path.unlink(), "no run of virnucpro is recorded in reads_run.json"),
        (lambda path: path.write_text(path.read_text()[:100]), "is no manifest of a run"),
        (lambda path: path.write_text("[]"), "is no manifest of a run"),
        (lambda path: path.write_text(path.read_text().replace('"settings"', '"sett"')), "it lacks entries"),
    ],
)
def test_without_its_manifest_a_run_is_nobodys(main, reads, undisturbed, tmp_path, spoil, said):
    out = shutil.copytree(undisturbed, tmp_path / "out")
    spoil(out / "reads_run.json")
    before = times(out)
    for word in ("--resume", "--force"):
        code, told = main("predict", reads, *options(out), word)
        assert code == 2
        assert said in told
        assert times(out) == before


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # one bit, in the middle
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-10]), "is damaged or of another run"),
        (flip, "is damaged or of another run"),
        (lambda path: shutil.copy(path.with_stem("000000"), path), "is damaged or of another run"),
        (lambda path: path.unlink(), "is missing"),
    ],
)
def test_a_damaged_checkpoint_is_computed_again(main, reads, killed, whole, tmp_path, damage, said):
    out = shutil.copytree(killed, tmp_path / "out")
    damage(out / "reads_windows" / "000001.safetensors")
    code, told = main("predict", reads, *options(out), "--resume")
    assert code == 0
    assert f"Checkpoint 000001.safetensors {said}: its windows are computed again." in told
    assert f"Resuming: {len(finished(killed)) - 1} windows are done." in told
    assert files_of(out) == whole


def test_force_keeps_the_old_results_until_the_new_run_has_begun(main, weights, reads, undisturbed, whole, tmp_path):
    out = shutil.copytree(undisturbed, tmp_path / "out")
    before = times(out)
    broken = shutil.copytree(weights, tmp_path / "weights")
    (broken / f"{ESM_8M}.pt").write_text("<html>")
    assert main("predict", reads, *options(out), "--force", "--weights-dir", broken)[0] == 2
    assert times(out) == before
    (out / "mine.txt").write_text("x")
    assert main("predict", reads, *options(out), "--force")[0] == 0
    assert files_of(out) == whole | {"mine.txt": b"x"}
    assert not before.items() & times(out).items()


@pytest.mark.parametrize("more", [("--num-workers", 1), ("--parallel",)])
def test_an_input_of_few_windows_is_not_through_before_the_run_begins(main, tmp_path, more):
    """Its intermediate files would be whole before the models are loaded, and go with the old run's."""
    fasta, out = tmp_path / "reads.fa", tmp_path / "out"
    fasta.write_text(">a\nGCTAAAGTTCTG\n")
    assert main("predict", fasta, *options(out), *more)[0] == 0
    before = files_of(out)
    assert "reads_protein.faa" in before
    assert main("predict", fasta, *options(out), *more, "--force")[0] == 0
    assert files_of(out) == before


def test_input_that_changes_meanwhile_leaves_nothing_to_go_on_from(main, reads, whole, tmp_path, monkeypatch):
    from virnucpro.pipeline.computation import Computation

    source, out = Path(shutil.copy(reads, tmp_path)), tmp_path / "out"
    plain = Computation.run
    monkeypatch.setattr(
        Computation, "run", lambda self: source.write_text(reads.read_text().replace(">r40", ">rx")) and plain(self)
    )
    code, said = main("predict", source, *options(out))
    assert code == 1
    assert "changed while it was read" in said
    assert not list(out.rglob("*.tmp"))
    assert not (out / "reads_windows").exists()
    monkeypatch.setattr(Computation, "run", plain)
    shutil.copy(reads, source)
    code, said = main("predict", source, *options(out), "--resume")
    assert code == 0
    assert "Checkpoint" not in said
    assert files_of(out) == whole
