"""Steady state: this package with its models loaded and warm, on proteins, in this process."""

from __future__ import annotations

import math
import random
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks import history, workloads
from benchmarks.front_end import TOKENIZER
from benchmarks.measured import Measured
from benchmarks.support import gpu, inputs
from benchmarks.support.floor import floors
from benchmarks.support.inputs import Workload
from benchmarks.support.package_api import embed, prepare

WARM_UP = 3  # windows: the small ones of the ramp
MOST_ON_CPU = 100  # proteins: ten seconds of two cores
FRAME = workloads.CHUNK_SIZE // 3  # residues: of a full chunk


def frames(count: int) -> workloads.Records:
    """Random proteins, each as long as an open frame of a full chunk: windows of DNA, as ESM-2 has them."""
    rng = random.Random(workloads.SEED)
    for number in range(count):
        yield f"frame_{number:05d}", "".join(rng.choices(workloads.RESIDUES, k=FRAME))


def packed(
    work: Workload,
    count: int,
    precision: str,
    num_workers: int = 2,
    eager: bool = False,
) -> dict[str, float | None]:
    """Embed `count` proteins of the workload; see `warm`."""
    return warm(work, workloads.proteins(count), precision, work.token_budget, num_workers, eager)


def warm(
    work: Workload,
    proteins: Iterable[tuple[str, str]],
    precision: str,
    token_budget: int | None,
    num_workers: int = 2,
    eager: bool = False,
) -> dict[str, Any]:
    """Embed proteins with the package's own loader, packs and engine; results on the host.

    Args:
        token_budget: None for the device's own.
        num_workers: Processes of the asynchronous loader; 0 for none, everything in turn.
        eager: PyTorch's own steps and varlen attention instead of the kernels in Triton.
    Raises:
        Skip: The installed commit has no such engine.
    """
    history.require_engine()
    on_gpu = work.device != "cpu"
    costs = embed(
        inputs.weights(work), work.esm_model, proteins, work.device,
        loaders=num_workers if on_gpu else 0,
        threads=None if on_gpu else 1,  # as each of the command's workers has there
        token_budget=token_budget, buffer_size=work.buffer_size, precision=precision,
        attention="varlen" if eager and on_gpu else "auto", plain=eager,
        now=lambda: (time.perf_counter(), gpu.joules() if on_gpu else None),
    )  # fmt: skip
    counted = [cost for _, cost in costs[WARM_UP:]]
    (begun, joules_before), (ended, joules_after) = costs[WARM_UP - 1][0], costs[-1][0]
    seconds, sequences = ended - begun, sum(cost.sequences for cost in counted)
    capacity = sum(cost.capacity for cost in counted)
    idle = [cost.idle_seconds for cost in counted if cost.idle_seconds is not None]
    tells = None not in (joules_before, joules_after)
    return {
        "seconds_per_10k": 1e4 * seconds / sequences,
        "joules_per_10k": 1e4 * (joules_after - joules_before) / sequences if tells else None,
        "tokens": sum(cost.tokens for cost in counted),
        "sequences": sequences,
        "windows": len(costs),
        "token_budget": counted[0].capacity // counted[0].packs,
        "packing_waste": 100 * (1 - sum(cost.tokens for cost in counted) / capacity),
        "gpu_idle": 100 * sum(idle) / seconds if idle else None,
        "loader_wait": 1000 * sorted(cost.wait for cost in counted)[math.ceil(0.95 * len(counted)) - 1],
    }


class SteadyState(Measured):
    """As users run it: FP16 on a GPU, FP32 on the CPU."""

    params = ["gpu-10k", "cpu-small"]
    param_names = ["workload"]
    figures = {
        "seconds_per_10k": "s per 10,000 proteins",
        "floor_seconds_per_10k": "s per 10,000 proteins",  # the matrix products alone, then and on as many tokens
        "above_floor": "% above the matrix products alone",
        "packing_waste": "% of the packs' tokens",
        "gpu_idle": "% of the time between windows",
        "loader_wait": "ms, p95",
    }

    def measure(self, workload: str) -> dict[str, float | None]:
        work = inputs.require(workload)
        precision = "fp32" if work.device == "cpu" else "fp16"
        count = work.sequences("proteins")
        found = packed(work, min(count, MOST_ON_CPU) if work.device == "cpu" else count, precision)
        path = inputs.weights(work) / f"{work.esm_model}.pt"
        packs = found["tokens"] / work.token_budget  # full ones
        (seconds,) = floors(work, path, [work.token_budget] * math.ceil(packs), precision).values()
        floor = 1e4 * seconds * packs / math.ceil(packs) / found["sequences"]
        above = 100 * (found["seconds_per_10k"] / floor - 1)
        return found | {"floor_seconds_per_10k": floor, "above_floor": above}


class _Steady(Measured):
    """In one precision, with the device's own token budget; the floor is of the very packs that the engine makes, by
    the fastest product of that precision."""

    precision = ""
    params = (["gpu-10k"], ["proteins", "frames"])
    param_names = ("workload", "sequences")
    figures = {
        "seconds_per_10k": "s per 10,000 sequences",
        "joules_per_10k": "J per 10,000 sequences",
        "floor_seconds_per_10k": "s per 10,000 sequences",
        "above_floor": "% above the matrix products alone",
    }

    def measure(self, workload: str, sequences: str) -> dict[str, float | None]:
        work = inputs.require(workload)
        count = work.sequences("proteins")
        records = list((frames if sequences == "frames" else workloads.proteins)(count))
        found = warm(work, records, self.precision, None)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "all.faa")
            path.write_text(workloads.fasta(iter(records)), encoding="ascii")
            packs = [sum(pack) for pack in prepare(str(path), TOKENIZER, found["token_budget"]).packs]
        checkpoint = inputs.weights(work) / f"{work.esm_model}.pt"
        per_10k = {
            name: 1e4 * seconds / count for name, seconds in floors(work, checkpoint, packs, self.precision).items()
        }
        floor = min(per_10k.values())
        above = 100 * (found["seconds_per_10k"] / floor - 1)
        by_way = {f"{name}_seconds_per_10k": per_10k.get(name) for name in ("fp8", "own")}
        return found | by_way | {"floor_seconds_per_10k": floor, "above_floor": above}


class SteadyFp16(_Steady):
    """The floor is cuBLAS's."""

    precision = "fp16"


class SteadyInt8(_Steady):
    """The floor is the faster of PyTorch's product of FP8, with a scale for each row, and our own without its ends."""

    precision = "int8"
    figures = {"fp8_seconds_per_10k": "s per 10,000 sequences", "own_seconds_per_10k": "s per 10,000 sequences"}

    def measure(self, workload: str, sequences: str) -> dict[str, float | None]:
        history.require_precision(self.precision)
        return super().measure(workload, sequences)
