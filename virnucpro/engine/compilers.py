"""Compilers: processes that compile a run's kernels while torch is imported and weights are read. No torch here.

Triton's compiler needs neither torch nor a context on the GPU, but it holds Python's lock for half of its time: by
threads of one process kernels are compiled nearly one after the other. What it makes goes into Triton's cache, where
the engine finds it. Whatever goes wrong here, the engine compiles for itself what it does not find.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Any

from virnucpro.config.compute import ComputeConfig
from virnucpro.models.catalog import PRECISIONS
from virnucpro.models.kernels import HOPPER, Kernels, forms, hopper_pays, probe
from virnucpro.models.language_models import LANGUAGE_MODELS
from virnucpro.models.launch import Blank, Launch
from virnucpro.system import helpers
from virnucpro.system.home import give_triton_a_cache

LIMIT = 60.0  # s, for all to be finished
COMPUTE_CAPABILITY = 75, 76  # cuDeviceGetAttribute's numbers for the two parts of it


class Compilers:
    """Processes under way; none where there is nothing for them to do, or to gain.

    Args:
        device: As torch names it.
    """

    def __init__(self, config: ComputeConfig, device: str) -> None:
        self._processes: list[Any] = []  # of multiprocessing
        # With torch there already is no time to be won, and the process may have begun with CUDA.
        if not compiles(config, device) or "torch" in sys.modules:
            return
        give_triton_a_cache()
        gpu = int(device.partition(":")[2] or 0)
        with suppress(OSError):  # as many pipes as the system gives
            reader, writer = os.pipe()  # every byte is the number of a task: who reads it does that
            with open(reader, "rb"), open(writer, "wb") as numbers:
                numbers.write(bytes(range(256)))
                numbers.flush()
                self._processes = helpers.started([partial(_compile, config, gpu, reader)] * helpers.how_many())

    def wait(self) -> None:
        """Return when all is compiled, or no more can be expected."""
        deadline = time.monotonic() + LIMIT
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
        self.close()

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
            process.join()
        self._processes = []


def compiles(config: ComputeConfig, device: str) -> bool:
    """Whether a run has kernels of Triton's."""
    return device.startswith("cuda") and PRECISIONS[config.precision].reduced and not config.plain


def launches(config: ComputeConfig, hopper: bool) -> list[Launch]:
    """What the published models need, each once, the slow ones first.

    Args:
        hopper: Whether the GPU is one.
    """
    precision, rows = PRECISIONS[config.precision], [LANGUAGE_MODELS[name] for name in config.weights.models]
    rows = [row for row in rows if not row.weightless]
    if not rows:
        return []
    shapes = [row.published(config.esm_model) for row in rows]
    hopper = hopper and hopper_pays(precision, max(shape.width for shape in shapes))
    models = [
        Kernels(shape, row.rotary, form, hopper, Blank)
        for shape, row in zip(shapes, rows, strict=True)
        for form in forms(precision)
    ]
    listed = (group(model) for group in Kernels.groups for model in models)
    return [*{str(launch): launch for launch in chain([probe(Blank)], *listed)}.values()]


def _compile(config: ComputeConfig, gpu: int, numbers: int) -> None:
    """Do the tasks that the numbers name; the body of a process."""
    capability = _settle(gpu)
    from triton.backends.nvidia.driver import CudaLauncher, CudaUtils

    def make(launch: Launch) -> None:
        compiled = launch.compile()
        CudaLauncher(compiled.src, compiled.metadata)  # what hands it its arguments, by the C compiler

    # The first is what loads kernels, made by the C compiler too.
    tasks = [CudaUtils, *(partial(make, launch) for launch in launches(config, capability == HOPPER))]
    while (given := os.read(numbers, 1)) and given[0] < len(tasks):
        with suppress(Exception):  # the engine will say it
            tasks[given[0]]()


def _settle(gpu: int) -> tuple[int, int]:
    """Have Triton compile for a GPU without torch, by which it would ask for it; return its compute capability."""
    sys.modules["torch"] = None  # type: ignore[assignment]  # else Triton would import it, for seconds, to know its types
    import triton
    from triton.backends.compiler import GPUTarget

    cuda = ctypes.CDLL("libcuda.so.1")
    device, part = ctypes.c_int(), ctypes.c_int()
    capability = []
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), gpu):
        raise OSError("no such GPU")
    for number in COMPUTE_CAPABILITY:
        cuda.cuDeviceGetAttribute(ctypes.byref(part), number, device)
        capability.append(part.value)
    major, minor = capability
    triton.runtime.driver.set_active(_Driver(GPUTarget("cuda", 10 * major + minor, 32)))
    return major, minor


class _Driver:
    """What Triton's compiler asks of a driver."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def get_current_target(self) -> Any:
        return self._target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0
