"""Hosts that have little to give: the run ends with the same results, by another way if need be."""

import multiprocessing
import resource
import shutil
import subprocess

import pytest
from conftest import command, environment
from runs import files_of, options

pytestmark = pytest.mark.usefixtures("one_thread")
FULL = "mount -t tmpfs -o size=4k tmpfs /dev/shm && dd if=/dev/zero of=/dev/shm/full bs=4k count=1 status=none"


def can_mount():
    """Whether this user may have a /dev/shm of its own."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-m", "sh", "-c", FULL], capture_output=True).returncode == 0


def starved(weights, tmp_path, arguments, descriptors):
    """Run the program with a TMPDIR too long for a socket, few file descriptors, and a full /dev/shm."""
    long = tmp_path / ("d" * 120)
    long.mkdir(exist_ok=True)
    line = command(*arguments)
    if can_mount():
        line = ["unshare", "-m", "sh", "-c", f'{FULL} && exec "$@"', "sh", *line]
    return subprocess.run(
        line,
        env=environment(weights) | {"TMPDIR": str(long)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors)),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize("descriptors", [20, 100])
def test_with_loader_processes(weights, reads, whole, tmp_path, descriptors):
    out = tmp_path / "out"
    done = starved(weights, tmp_path, ["predict", reads, *options(out), "--num-workers", 2], descriptors)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert files_of(out) == whole


def test_with_workers_that_have_loader_processes(weights, reads, whole, tmp_path):
    out = tmp_path / "out"
    done = starved(weights, tmp_path, ["predict", reads, *options(out), "--parallel", "--num-workers", 1], 40)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert files_of(out) == whole


@pytest.mark.parametrize("more", [("--num-workers", 2), ("--parallel",), ("--set", "timeout_per_attempt=100")])
def test_a_daemonic_process(main, reads, whole, tmp_path, monkeypatch, more):
    """As in a pool, where Python allows no processes."""
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    out = tmp_path / "out"
    code, said = main("predict", reads, *options(out), *more)
    assert code == 0, said
    assert "this is a daemonic process (of a pool, say), which may start none" in said
    assert files_of(out) == whole


def test_predict_in_a_pool(weights, reads, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        fates = pool.apply(in_a_pool, (str(reads), str(tmp_path / "out"), str(weights)))
    assert fates == {"scored": 48}


def in_a_pool(path, out, weights):
    import virnucpro
    from virnucpro.pipeline.runtime_config import RuntimeConfig

    loaders = RuntimeConfig(num_workers=1)
    done = virnucpro.predict(path, out, weights_dir=weights, esm_model="esm2_t6_8M_UR50D", runtime_config=loaders)
    return done.fates
