"""Embed: `run_multi_gpu_inference` as a command, for one device, without checkpoints; what a cold call of it costs.

python -m benchmarks.embed proteins.faa DIR --weights-dir W --esm-model esm2_t36_3B_UR50D --fp16
"""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("fasta", type=Path)
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("--weights-dir", type=Path, required=True)
    parser.add_argument("--esm-model", required=True)
    parser.add_argument("--fp16", action="store_true", help="enable_fp16=True; else as the device has it by default")
    given = parser.parse_args()
    from virnucpro.pipeline.multi_gpu_inference import run_multi_gpu_inference
    from virnucpro.pipeline.runtime_config import RuntimeConfig

    model = {"model_type": "esm2", "model_name": given.esm_model, "weights_dir": given.weights_dir}
    if given.fp16:
        model |= {"enable_fp16": True}
    config = RuntimeConfig(enable_checkpointing=False)
    path, failed_ranks = run_multi_gpu_inference(given.fasta, given.output_dir, model, 1, runtime_config=config)
    print(path, f"failed ranks: {failed_ranks}")


if __name__ == "__main__":
    main()
