"""Placement: the devices of a run, and what they decide where nobody says. No torch here."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from virnucpro.errors import BadRequest
from virnucpro.models.catalog import CPU_PRECISION, GPU_PRECISION
from virnucpro.system.devices import usable_cpus, visible_gpus

log = logging.getLogger(__name__)

CPU_WORKERS = 2
# Most tokens of a pack: tiles of 128 for each of a GPU's 132 multiprocessors; the CPU's caches want fewer.
GPU_TOKENS, CPU_TOKENS = 132 * 128, 2048
# Most sequences of a window: a few seconds of an H200 with the 3B model, or of two cores with the smallest.
GPU_SEQUENCES, CPU_SEQUENCES = 2048, 64
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
        return GPU_PRECISION if self.on_gpu else CPU_PRECISION

    @property
    def token_budget(self) -> int:
        """Most tokens of a pack."""
        return GPU_TOKENS if self.on_gpu else CPU_TOKENS

    @property
    def buffer_size(self) -> int:
        """Most sequences of a window."""
        return GPU_SEQUENCES if self.on_gpu else CPU_SEQUENCES

    @property
    def loaders(self) -> int:
        """Loader processes for each worker; on the CPU they would only take the models' cores."""
        return min(LOADERS, max(1, usable_cpus() // len(self.workers) - 1)) if self.on_gpu else 0


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
    if absent := [gpu for gpu in chosen if gpu >= count]:
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
