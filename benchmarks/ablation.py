"""Ablation: what each step from v1.0's way to v2.0's is worth, measured one by one on the same proteins."""

from __future__ import annotations

from benchmarks import history
from benchmarks.measured import Measured
from benchmarks.support import inputs
from benchmarks.support.inputs import Workload
from benchmarks.support.padded import batches, fair_esm, first_proteins, residues, seconds_per_10k
from benchmarks.support.skip import Skip

RESIDUES = {"fp32": 2048, "bf16": 3072, "fp16": 3072}  # in a batch of v1.0
# step: precision, and how it runs
STEPS = {
    "padded fp32": ("fp32", "padded"),
    "padded bf16": ("bf16", "padded"),  # v1.0's way
    "padded fp16": ("fp16", "padded"),
    "packed fp16, eager, synchronous loader": ("fp16", "synchronous"),
    "packed fp16, eager": ("fp16", "eager"),
    "packed fp16": ("fp16", "compiled"),  # v2.0's way
    # beside the path
    "packed bf16": ("bf16", "compiled"),
    "packed fp32": ("fp32", "compiled"),
}
# proteins measured on the GPU: those of the slow ways are fewer
COUNTS = {"padded fp32": 200, "padded bf16": 800, "padded fp16": 800, "packed fp32": 1700}
COUNT = 4000


class Ablation(Measured):
    """One process, model loaded and warm; `seconds_per_10k` on proteins of the workload."""

    params = (["gpu-10k", "cpu-small"], list(STEPS))
    param_names = ("workload", "step")
    figures = {"seconds_per_10k": "s per 10,000 proteins"}

    def measure(self, workload: str, step: str) -> dict[str, float | None]:
        work = inputs.require(workload)
        history.require_release()
        history.require_engine()  # it takes the new engine apart: on older commits there is nothing to take apart
        precision, way = STEPS[step]
        if work.device == "cpu" and precision != "fp32":
            raise Skip(f"{precision} is for the GPU: on the CPU the package computes in FP32.")
        count = work.sequences("proteins") if work.device == "cpu" else COUNTS.get(step, COUNT)
        return padded(work, count, precision) if way == "padded" else packed(work, count, precision, way)


def padded(work: Workload, count: int, precision: str) -> dict[str, float | None]:
    """v1.0's batches, in file order; the longest protein of a batch decides what all of it costs."""
    if work.device == "cpu":
        count //= 8  # padding is slow
    made = list(batches(first_proteins(count), residues, RESIDUES[precision]))
    return {"seconds_per_10k": seconds_per_10k(fair_esm(work, precision, one_by_one=True), made, work.device)}


def packed(work: Workload, count: int, precision: str, way: str) -> dict[str, float | None]:
    from benchmarks.steady import packed as run

    return run(work, count, precision, num_workers=0 if way == "synchronous" else 2, eager=way != "compiled")
