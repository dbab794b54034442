"""Compilers: kernels are compiled ahead, each once, by processes that nobody has to wait for in vain."""

import os
import sys
import time
import types
from pathlib import Path

import packing
import pytest

from virnucpro.engine import compilers
from virnucpro.engine.compilers import Compilers
from virnucpro.models.launch import Blank
from virnucpro.system import helpers


class Told:
    """A launch that tells in a folder that it was compiled."""

    def __init__(self, folder: Path, name: str, fails: bool = False) -> None:
        self.folder, self.name, self.fails = folder, name, fails

    def compile(self):
        with open(self.folder / self.name, "a") as file:
            file.write("compiled\n")
        if self.fails:
            raise RuntimeError("no C compiler")
        return types.SimpleNamespace(src=None, metadata=None)


@pytest.fixture
def gpu(monkeypatch):
    """A machine of 8 cores with a GPU, before torch is imported; processes inherit all of it."""
    driver = types.ModuleType("triton.backends.nvidia.driver")
    driver.CudaUtils = driver.CudaLauncher = lambda *_: None
    for name in ("triton", "triton.backends", "triton.backends.nvidia"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "triton.backends.nvidia.driver", driver)
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(helpers, "usable_cpus", lambda: 8)
    monkeypatch.setattr(compilers, "_settle", lambda gpu: (9, 0))


def run(weights, monkeypatch, launches, **recipe) -> Compilers:
    monkeypatch.setattr(compilers, "launches", lambda config, hopper: launches)
    return Compilers(packing.recipe(weights, precision="fp16", **recipe), "cuda:0")


@pytest.mark.parametrize("device, number", [("cuda", 0), ("cuda:0", 0), ("cuda:3", 3)])
def test_they_compile_for_the_device_that_is_named(weights, gpu, monkeypatch, tmp_path, device, number):
    """As torch takes it: without a number it is the first."""
    told = lambda gpu: (tmp_path / "gpu").write_text(str(gpu)) and (9, 0)  # noqa: E731
    monkeypatch.setattr(compilers, "_settle", told)
    monkeypatch.setattr(compilers, "launches", lambda config, hopper: [])
    Compilers(packing.recipe(weights, precision="fp16"), device).wait()
    assert (tmp_path / "gpu").read_text() == str(number)


def test_every_kernel_is_compiled_once_whatever_becomes_of_another(weights, gpu, monkeypatch, tmp_path):
    names = [f"kernel{number}" for number in range(20)]
    launches = [Told(tmp_path, name, fails=name == "kernel3") for name in names]
    run(weights, monkeypatch, launches).wait()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(names, "compiled\n")


def test_a_process_that_hangs_is_not_waited_for_for_ever(weights, gpu, monkeypatch, tmp_path):
    monkeypatch.setattr(compilers, "LIMIT", 0.1)
    started = tmp_path / "pid"

    class Hangs(Told):
        def compile(self):
            started.write_text(str(os.getpid()))
            time.sleep(600)

    processes = run(weights, monkeypatch, [Hangs(tmp_path, "")])
    while not (started.exists() and started.read_text()):
        time.sleep(0.01)
    processes.wait()
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


def test_without_a_pipe_to_be_had_nothing_is_compiled_ahead(weights, gpu, monkeypatch):
    def pipe():
        raise OSError("Too many open files")

    monkeypatch.setattr(os, "pipe", pipe)
    assert Compilers(packing.recipe(weights, precision="fp16"), "cuda:0")._processes == []


@pytest.mark.parametrize(
    "why, recipe, device",
    [
        ("the CPU has no kernels", {}, "cpu"),
        ("FP32 has none", {"precision": "fp32"}, "cuda:0"),
        ("PyTorch's own steps are asked for", {"plain": True}, "cuda:0"),
    ],
)
def test_nothing_is_compiled_ahead_where(weights, gpu, why, recipe, device):
    assert Compilers(packing.recipe(weights, **{"precision": "fp16"} | recipe), device)._processes == []


def test_nothing_is_compiled_ahead_once_torch_is_there(weights, gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    assert Compilers(packing.recipe(weights, precision="fp16"), "cuda:0")._processes == []


def test_a_blank_tensor_is_contiguous():
    blank = Blank("float16", 80, 40, 64)
    assert (blank.stride(), blank.stride(0), len(blank), blank.numel()) == ((2560, 64, 1), 2560, 80, 204_800)
