"""Steady state: this package with its models loaded and warm, on proteins, in this process."""

from __future__ import annotations

import math

from benchmarks import history, workloads
from benchmarks.measured import Measured
from benchmarks.support import inputs
from benchmarks.support.floor import products_seconds
from benchmarks.support.inputs import Workload
from benchmarks.support.package_api import embed

WARM_UP = 3  # windows: the small ones of the ramp
MOST_ON_CPU = 100  # proteins: ten seconds of two cores


def packed(
    work: Workload,
    count: int,
    precision: str,
    num_workers: int = 2,
    eager: bool = False,
) -> dict[str, float | None]:
    """Embed `count` proteins with the package's own loader, packs and engine; results on the host.

    Args:
        num_workers: Processes of the asynchronous loader; 0 for none, everything in turn.
        eager: PyTorch's own steps and varlen attention instead of the kernels in Triton.
    Raises:
        Skip: The installed commit has no such engine.
    """
    history.require_engine()
    on_gpu = work.device != "cpu"
    costs = embed(
        inputs.weights(work), work.esm_model, workloads.proteins(count), work.device,
        loaders=num_workers if on_gpu else 0,
        threads=None if on_gpu else 1,  # as each of the command's workers has there
        token_budget=work.token_budget, buffer_size=work.buffer_size, precision=precision,
        attention="varlen" if eager and on_gpu else "auto", plain=eager,
    )  # fmt: skip
    counted = costs[WARM_UP:]
    seconds = counted[-1][0] - costs[WARM_UP - 1][0]
    capacity = sum(cost.capacity for _, cost in counted)
    idle = [cost.idle_seconds for _, cost in counted if cost.idle_seconds is not None]
    return {
        "seconds_per_10k": 1e4 * seconds / sum(cost.sequences for _, cost in counted),
        "tokens": sum(cost.tokens for _, cost in counted),
        "sequences": sum(cost.sequences for _, cost in counted),
        "windows": len(costs),
        "packing_waste": 100 * (1 - sum(cost.tokens for _, cost in counted) / capacity),
        "gpu_idle": 100 * sum(idle) / seconds if idle else None,
        "loader_wait": 1000 * sorted(cost.wait for _, cost in counted)[math.ceil(0.95 * len(counted)) - 1],
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
        seconds = products_seconds(work, path, found["tokens"], precision)
        floor = 1e4 * seconds / found["sequences"]
        above = 100 * (found["seconds_per_10k"] / floor - 1)
        return found | {"floor_seconds_per_10k": floor, "above_floor": above}
