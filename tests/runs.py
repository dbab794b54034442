"""Runs that are disturbed, and what they leave; fixtures and helpers of test_interruption.py and test_resume.py."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import ESM_8M, environment
from surroundings import HANG

READS = 48
WINDOWS = 14  # of 1, 1, 2 and then 4 reads


def write_reads(path, count, codons, seed):
    """Reads of so many codons whose first frame is open."""
    rng = random.Random(seed)
    some = ["GCT", "AAA", "GTT", "CTG", "GAC", "ATG", "TTC", "CCG"]
    path.write_text("".join(f">r{i}\n{''.join(rng.choices(some, k=codons))}\n" for i in range(count)))
    return path


@pytest.fixture(scope="module")
def reads(tmp_path_factory):
    return write_reads(tmp_path_factory.mktemp("reads") / "reads.fa", READS, codons=12, seed=5)


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
    """All that a run leaves, but the manifest and the telemetry, which have times."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name not in ("reads_run.json", "telemetry_reads.json")
    }


def start(weights, reads, out, *more, files=1):
    """Start a run and hold it when it has so many checkpoints; see `held`."""
    process = begin(out, files + 2, weights, "predict", reads, *options(out), *more)
    wait_for(lambda: out.with_suffix(".held").exists() or process.poll() is not None)
    assert process.poll() is None, process.stderr.read()
    assert len(list(out.glob("reads_windows/*.safetensors"))) >= files
    return process


def begin(out, count, weights, *arguments):
    """Start the program; see `held`."""
    return subprocess.Popen(
        [sys.executable, Path(__file__).with_name("held.py"), out, str(count), *map(str, arguments)],
        env=environment(weights), stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def end(process, out):
    """Let a run that is held go on, to its end: what it said since."""
    out.with_suffix(".go").touch()
    return process.communicate(timeout=HANG)[1]


def wait_for(condition):
    deadline = time.monotonic() + HANG
    while not (result := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
    return result


def children_of(pid, name="spawn_main"):
    """Process ids of the spawned workers, from /proc."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
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


def stop_after(monkeypatch, count):
    """Have a run in this process interrupted when so many windows are finished."""
    from virnucpro.pipeline.checkpoints import CheckpointStore

    plain, added = CheckpointStore.add, []

    def add(self, window):
        added.append(window)
        if len(added) == count:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(self, window)

    monkeypatch.setattr(CheckpointStore, "add", add)
