"""Devices: which GPUs a run uses, and how many workers share one."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

import torch

from virnucpro.errors import BadRequest
from virnucpro.weights import ESM2_SIZES

log = logging.getLogger(__name__)

BATCH_RESIDUES, BATCH_RESIDUES_BF16 = 2048, 3072  # published v1.0: larger batches with BF16
CPU_WORKERS = 2
MAX_WORKERS_PER_GPU = 2
# Beside the float32 weights; 500-bp frames with the 3B model took 14.1 GB in all on an H200.
WORKING_MEMORY = 2.7e9  # bytes


@dataclass(frozen=True)
class Placement:
    """Devices of a run, one entry a worker: ``cuda:0``, ``cuda:0``, ``cuda:1``, ... or ``cpu``."""

    workers: list[str]
    bf16: bool  # autocast ESM-2 to BF16
    keep_casts: bool = False  # keep the BF16 copies of the weights from batch to batch

    @property
    def precision(self) -> str:
        return "bf16 autocast" if self.bf16 else "fp32"

    def batch_residues(self, asked: int | None) -> int:
        """Residues summed up in a batch of ESM-2."""
        return asked or (BATCH_RESIDUES_BF16 if self.bf16 else BATCH_RESIDUES)


def usable_cpus() -> int:
    """Processors this process may run on (a cluster job often gets fewer than the host has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def place(gpus: tuple[int, ...] | None, parallel: bool, workers_per_gpu: int | None, esm_model: str) -> Placement:
    """Choose a device for each worker.

    Args:
        gpus: Indices among the visible GPUs; None for all.
        parallel: Several workers on every GPU; otherwise one worker on the first.
        workers_per_gpu: None for as many as memory allows, up to 2.
        esm_model: Its size decides how many workers fit.
    Raises:
        BadRequest: A GPU that does not exist.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        reason = "this PyTorch is built without CUDA" if torch.version.cuda is None else "no CUDA GPU is visible"
        workers = (workers_per_gpu or CPU_WORKERS) if parallel else 1
        log.warning("Running on the CPU: %s. Workers: %d.", reason, workers)
        return Placement(["cpu"] * workers, bf16=False)
    chosen = tuple(range(count)) if gpus is None else gpus
    absent = [gpu for gpu in chosen if gpu >= count]
    if absent:
        raise BadRequest(
            f"--gpus asks for GPU {absent[0]}, but {count} GPU{'s are' if count > 1 else ' is'} visible "
            f"(0{f' to {count - 1}' if count > 1 else ''}). Give indices of visible GPUs."
        )
    if not parallel:
        if len(chosen) > 1:
            log.warning("Using GPU %d alone. Add --parallel to use all of %s.", chosen[0], chosen)
        chosen, workers_per_gpu = chosen[:1], 1
    workers = []
    keep_casts = True
    for gpu in chosen:
        memory = torch.cuda.get_device_properties(gpu).total_memory
        here = workers_per_gpu or workers_that_fit(memory, esm_model)
        workers += [f"cuda:{gpu}"] * here
        keep_casts &= memory / here >= worker_memory(esm_model, keep_casts=True)
    # Ampere (8.0) and later have BF16 units; a mixed host runs in what all of them can.
    bf16 = all(torch.cuda.get_device_capability(gpu) >= (8, 0) for gpu in chosen)
    log.info("Workers: %s; ESM-2 in %s.", ", ".join(workers), "BF16 autocast" if bf16 else "FP32")
    return Placement(workers, bf16, bf16 and keep_casts)


def worker_memory(esm_model: str, keep_casts: bool = False) -> float:
    """GPU memory of a worker in bytes: float32 weights (and their BF16 copies) and room to work.

    14 GB with the 3B model, 20 GB with the copies.
    """
    layers, width, _ = ESM2_SIZES[esm_model]
    parameters = 12 * layers * width**2  # the layers' matrices are nearly all of them
    return (6 if keep_casts else 4) * parameters + WORKING_MEMORY


def workers_that_fit(memory: int, esm_model: str) -> int:
    """2 where a GPU of `memory` bytes holds two workers, else 1."""
    return max(1, min(MAX_WORKERS_PER_GPU, int(memory // worker_memory(esm_model))))
