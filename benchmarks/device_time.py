"""Device time: what the GPU spends the time of a full window on, by kind of kernel.

    python -m benchmarks.device_time WEIGHTS_DIR data/proteins-10k.faa data/contigs-10k.fa

PyTorch's profiler over two full windows of each input, after two that are not counted.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from itertools import islice
from pathlib import Path

CHUNK_SIZE = 500
SKIPPED, COUNTED = 2, 2  # windows, after the small first ones
# part of a kernel's name, in order: what it does. The matrix products are our own, with what is done at their ends, and
# cuBLAS's.
KINDS = {
    "_attend": "attention",
    "_add_norm": "LayerNorm and residual sum",
    "_moments": "LayerNorm and residual sum",
    "_quantise": "rounding to 8 bits",
    "_rotate": "rotation of queries and keys",
    "gelu": "GELU",
    "product": "matrix products",
    "gemm": "matrix products",
    "nvjet": "matrix products",
    "cutlass": "matrix products",
    "segment_reduce": "means",
    "emcpy": "copies",
}


def kind_of(kernel: str) -> str:
    return next((kind for part, kind in KINDS.items() if part in kernel), "other")


def measure(weights: Path, esm_model: str, path: str) -> tuple[int, float, dict[str, float]]:
    """Sequences, seconds from first to last kernel, and of these the seconds of each kind."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from virnucpro.config.compute import ComputeConfig
    from virnucpro.config.placement import GPU_SEQUENCES, GPU_TOKENS
    from virnucpro.engine.loader import FrontEnd
    from virnucpro.engine.model_runner import ModelRunner
    from virnucpro.models.locate import find_weights
    from virnucpro.reading.input_files import InputFiles
    from virnucpro.reading.windows import RAMP, windows

    files = InputFiles([path])
    found = find_weights(weights, esm_model, str(CHUNK_SIZE), None, files.kind)
    recipe = ComputeConfig(files.kind, found, esm_model, CHUNK_SIZE, "fp16", "auto", GPU_TOKENS, GPU_SEQUENCES, False)
    made = windows(files.reads(), files.kind, CHUNK_SIZE, GPU_SEQUENCES, GPU_TOKENS)
    front_end, engine = FrontEnd(recipe), ModelRunner(recipe, torch.device("cuda:0"))
    prepared = [front_end[window] for window in islice(made, RAMP, RAMP + SKIPPED + COUNTED)]
    for each in prepared[:SKIPPED]:
        engine.submit(each).result()
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        results = [pending.result() for pending in [engine.submit(each) for each in prepared[SKIPPED:]]]
    seconds: dict[str, float] = defaultdict(float)
    for event in profiled.key_averages():
        seconds[kind_of(event.key)] += event.self_device_time_total / 1e6
    return sum(result.sequences for result in results), sum(result.seconds for result in results), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights", type=Path, metavar="WEIGHTS_DIR")
    parser.add_argument("input", nargs="+", metavar="FASTA")
    parser.add_argument("--esm-model", default="esm2_t36_3B_UR50D", help="default: %(default)s")
    given = parser.parse_args()
    for path in given.input:
        sequences, whole, seconds = measure(given.weights, given.esm_model, path)
        print(f"{path}: {sequences} sequences in {whole:.2f} s")
        for kind, share in sorted(seconds.items(), key=lambda item: -item[1]):
            print(f"  {kind:28} {1e4 * share / sequences:6.2f} s per 10K  {100 * share / whole:5.1f} %", flush=True)


if __name__ == "__main__":
    main()
