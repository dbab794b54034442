"""Devices: which GPUs a run uses. No torch here: a parent that only coordinates does without."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from virnucpro.errors import BadRequest

log = logging.getLogger(__name__)

CPU_WORKERS = 2
LOADERS = 2  # processes for each GPU; one makes thousands of sequences a second, an H200 takes 500 of the 3B model


@dataclass(frozen=True)
class Placement:
    """Devices of a run, one a worker: ``cuda:0``, ``cuda:1``, ... or ``cpu``, ``cpu``."""

    workers: tuple[str, ...]

    @property
    def on_gpu(self) -> bool:
        return self.workers[0] != "cpu"

    @property
    def precision(self) -> str:
        """What is computed in unless the user says otherwise."""
        return "fp16" if self.on_gpu else "fp32"

    @property
    def token_budget(self) -> int:
        """Tokens of a pack: of 4,096 to 16,384 the fastest on an H200, by 2 to 5 %; on the CPU caches want fewer."""
        return 16384 if self.on_gpu else 2048

    @property
    def buffer_size(self) -> int:
        """Sequences of a window: a few seconds of an H200 with the 3B model, or of two cores with the smallest."""
        return 2048 if self.on_gpu else 64

    @property
    def loaders(self) -> int:
        """Loader processes for each worker; on the CPU they would only take the models' cores."""
        return min(LOADERS, max(1, usable_cpus() // len(self.workers) - 1)) if self.on_gpu else 0


def usable_cpus() -> int:
    """Processors this process may run on (a cluster job often gets fewer than the host has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> int:
    """How many GPUs CUDA will show, asked of the driver's library without starting CUDA."""
    if "torch" in sys.modules:
        import torch

        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    listed = listed_gpus()
    if listed == []:
        return 0
    try:
        import pynvml

        pynvml.nvmlInit()
        count: int = pynvml.nvmlDeviceGetCount()
    except Exception:  # no driver, no GPU, or a broken installation of either
        return 0
    if listed is None:
        return count
    # CUDA stops at the first that does not exist, and shows one part of a divided GPU.
    there = list(takewhile(lambda name: not isinstance(name, int) or name < count, listed))
    return min(1, len(there)) if str(there[:1]).startswith("['MIG-") else len(there)


def listed_gpus() -> list[int | str] | None:
    """What CUDA_VISIBLE_DEVICES names, read as CUDA does; None where it is not set.

    Indices, of which what follows the digits is ignored; or UUIDs, which begin with ``GPU-`` or ``MIG-``. The list ends
    at the first that is neither (-1, nothing, Slurm's NoDevFiles), and one named twice leaves none.
    """
    text = os.environ.get("CUDA_VISIBLE_DEVICES")
    if text is None:
        return None
    names = text.split(",")
    listed: list[int | str]
    if (kind := names[0][:4]) in ("GPU-", "MIG-"):
        uuids: Iterator[str] = takewhile(lambda name: name.startswith(kind), names)
        listed = [*uuids]
    else:
        numbers = takewhile(lambda found: found is not None, (re.match(r"\s*\+?\d+", name) for name in names))
        listed = [int(found[0]) for found in numbers if found]
    return listed if len(set(listed)) == len(listed) else []


def place(gpus: tuple[int, ...] | None, parallel: bool, workers_per_gpu: int | None) -> Placement:
    """Choose a device for each worker.

    Args:
        gpus: Indices among the visible GPUs; None for all.
        parallel: A worker on every GPU, or several on the CPU; otherwise one worker on the first.
        workers_per_gpu: On the CPU, how many workers; on a GPU there is one.
    Raises:
        BadRequest: A GPU that does not exist beside others that do. (Without any, the CPU is used, and that is said.)
    """
    count = visible_gpus()
    if count == 0:
        workers = (workers_per_gpu or CPU_WORKERS) if parallel else 1
        log.warning("Running on the CPU: no CUDA GPU is visible. Workers: %d.", workers)
        return Placement(("cpu",) * workers)
    chosen = tuple(range(count)) if gpus is None else gpus
    absent = [gpu for gpu in chosen if gpu >= count]
    if absent:
        raise BadRequest(
            f"--gpus asks for GPU {absent[0]}, but {count} GPU{'s are' if count > 1 else ' is'} visible "
            f"(0{f' to {count - 1}' if count > 1 else ''}). Give indices of visible GPUs."
        )
    if not parallel and len(chosen) > 1:
        log.warning("Using GPU %d alone. Add --parallel to use all of %s.", chosen[0], chosen)
        chosen = chosen[:1]
    if (workers_per_gpu or 1) > 1:
        log.warning("One process a GPU is the fastest: --workers-per-gpu %d counts on the CPU only.", workers_per_gpu)
    return Placement(tuple(f"cuda:{gpu}" for gpu in chosen))
