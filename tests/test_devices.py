"""Devices: which worker runs where, on hosts this one is not."""

import sys
from types import SimpleNamespace

import pytest
import torch

from virnucpro.config import placement
from virnucpro.config.placement import LOADERS, Placement, place
from virnucpro.errors import BadRequest
from virnucpro.system import cgroups, devices
from virnucpro.system.devices import visible_gpus


@pytest.fixture
def host(monkeypatch):
    """A host with so many GPUs."""

    def make(gpus):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(gpus))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)

    return make


@pytest.mark.parametrize(
    "gpus, asked, parallel, per_gpu, workers",
    [
        (0, (0,), False, None, ["cpu"]),
        (0, (0,), True, None, ["cpu", "cpu"]),
        (0, None, True, 3, ["cpu"] * 3),
        (0, (7,), False, None, ["cpu"]),  # no GPU at all is no error
        (1, None, False, None, ["cuda:0"]),
        (1, (0,), True, None, ["cuda:0"]),
        (1, (0,), True, 4, ["cuda:0"]),  # a GPU has one worker, which packs as much as four would
        (2, None, True, None, ["cuda:0", "cuda:1"]),
        (2, (1,), True, 1, ["cuda:1"]),
        (2, (1, 0), True, None, ["cuda:1", "cuda:0"]),
        (2, (0, 1), False, None, ["cuda:0"]),  # --parallel is needed for more
        (2, None, False, None, ["cuda:0"]),
    ],
)
def test_place(host, gpus, asked, parallel, per_gpu, workers):
    host(gpus)
    assert place(asked, parallel, per_gpu) == Placement(tuple(workers))


def test_what_place_says(host, caplog):
    host(2)
    place(None, False, None)
    place((0,), True, 2)
    host(0)
    place(None, True, 3)
    assert [record.getMessage() for record in caplog.records] == [
        "Using GPU 0 alone. Add --parallel to use all of (0, 1).",
        "One process a GPU is the fastest: --workers-per-gpu 2 counts on the CPU only.",
        "Running on the CPU: no CUDA GPU is visible. Workers: 3.",
    ]


@pytest.mark.parametrize(
    "gpus, asked, message",
    [(1, (0, 3), r"asks for GPU 3, but 1 GPU is visible \(0\)"), (2, (2,), r"but 2 GPUs are visible \(0 to 1\)")],
)
def test_a_gpu_that_is_not_there(host, gpus, asked, message):
    host(gpus)
    with pytest.raises(BadRequest, match=message):
        place(asked, True, None)


@pytest.mark.parametrize(
    "workers, cpus, precision, loaders",  # loader processes of each worker
    [
        (["cpu"], 64, "fp32", 0),
        (["cpu", "cpu"], 64, "fp32", 0),
        (["cuda:0"], 64, "fp16", LOADERS),
        (["cuda:0"], 2, "fp16", 1),
        (["cuda:0", "cuda:1"], 2 * LOADERS + 2, "fp16", LOADERS),
        (["cuda:0", "cuda:1"], 2, "fp16", 1),  # never none: translation would hold the GPU up
    ],
)
def test_what_devices_settle(monkeypatch, workers, cpus, precision, loaders):
    monkeypatch.setattr(placement, "usable_cpus", lambda: cpus)
    found = Placement(tuple(workers))
    assert (found.precision, found.loaders) == (precision, loaders)


@pytest.mark.parametrize(
    "driver, listed, visible",
    [
        (4, None, 4),
        (4, "", 0),
        (4, " ", 0),
        (4, "0,2", 2),
        (4, "3,9,1", 1),  # CUDA stops at the first that does not exist
        (4, "-1", 0),
        (4, "1,-1,2", 1),
        (4, "GPU-5a3f,GPU-77", 2),
        (4, "GPU-5a3f,1", 1),  # UUIDs and indices do not mix
        (4, "1,GPU-5a3f", 1),
        (4, "MIG-1/2/3,MIG-1/3/3", 1),  # CUDA shows one part of a divided GPU
        (4, "NoDevFiles", 0),  # Slurm's, for a job without GPUs
        (4, "none", 0),
        (4, "void,0", 0),
        (4, "0,,1", 1),
        (4, "0,1,", 2),
        (4, "0, 1", 2),
        (4, "+1,2ampere", 2),  # digits count, as for strtoul
        (4, "1,1", 0),
        (4, "0,1,0", 0),
        (4, "GPU-5a3f,GPU-5a3f", 0),
        (1, "GPU-5a3f", 1),
        (None, "0", 0),  # no driver
        (0, None, 0),
    ],
)
def test_gpus_are_counted_without_torch(monkeypatch, driver, listed, visible):
    def start():
        if driver is None:
            raise OSError("libnvidia-ml.so.1: cannot open shared object file")

    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(nvmlInit=start, nvmlDeviceGetCount=lambda: driver))
    monkeypatch.delitem(sys.modules, "torch")
    if listed is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert visible_gpus() == visible
    assert "torch" not in sys.modules


@pytest.mark.parametrize(
    "lines, files, processors",
    [
        ("0::/job\n", {}, None),
        ("0::/job\n", {"job/cpu.max": "max 100000\n"}, None),
        ("0::/job\n", {"job/cpu.max": "250000 100000\n"}, 2.5),
        ("0::/pod/job\n", {"pod/job/cpu.max": "max 100000\n", "pod/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/pod/job\n", {"pod/job/cpu.max": "300000 100000\n", "pod/cpu.max": "800000 100000\n"}, 3.0),
        ("4:cpu,cpuacct:/job\n", {"cpu/job/cpu.cfs_quota_us": "-1", "cpu/job/cpu.cfs_period_us": "100000"}, None),
        ("4:cpu,cpuacct:/job\n", {"cpu/job/cpu.cfs_quota_us": "150000", "cpu/job/cpu.cfs_period_us": "50000"}, 3.0),
        # In a container its own group is the root of what is shown.
        ("1:cpu:/docker/f00\n", {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4.0),
        ("3:memory:/job\n", {"cpu.max": "100000 100000\n"}, None),
        ("0::/job\n", {"cpu.max": "nonsense\n", "job/cpu.max": "100000 0\n"}, None),
    ],
)
def test_a_container_has_the_time_of_so_many_processors(monkeypatch, tmp_path, lines, files, processors):
    for name, text in {"proc/self/cgroup": lines, **{f"groups/{name}": text for name, text in files.items()}}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = cgroups.processors(tmp_path / "proc", tmp_path / "groups")
    assert found == processors
    monkeypatch.setattr(cgroups, "processors", lambda: found)
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda pid: range(64), raising=False)
    assert devices.usable_cpus() == (64 if processors is None else max(1, int(processors)))
