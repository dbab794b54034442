"""The package as functions: arguments become `Settings`, and these a run. Nothing heavy is imported before a call."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from virnucpro.config.runtime import RuntimeConfig
    from virnucpro.pipeline.run import Summary


def predict(
    input: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    *,
    weights_dir: str | os.PathLike[str] | None = None,
    model: str | os.PathLike[str] | None = None,
    model_type: str = "500",
    esm_model: str | None = None,
    precision: str = "auto",
    audit: str | None = None,
    gpus: tuple[int, ...] | None = None,
    resume: bool = False,
    force: bool = False,
    save_embeddings: bool = False,
    write_viral: str | os.PathLike[str] | None = None,
    runtime_config: RuntimeConfig | None = None,
) -> Summary:
    """Classify the sequences of a file, as `virnucpro predict` does.

    Args:
        input: FASTA or FASTQ, plain or compressed.
        output_dir: For the result files; made if missing.
        weights_dir: With the models' weights; None for VIRNUCPRO_WEIGHTS, or where the command line looks without it.
        model: A classifier that `virnucpro train` wrote, which decides chunk size, features and ESM-2; or "demo", the
            small one that comes with the program.
        model_type: Of a published classifier: "300" or "500", the chunk size in bp that the classifier was trained on.
        esm_model: A key of `virnucpro.models.catalog.ESM2_SIZES`; None for the one that the classifier was trained
            with, which is the 3B model of the published ones.
        precision: "fp16", "bf16", "fp32" or "int8"; "auto" is fp16 on a GPU, fp32 on the CPU.
        audit: With "int8", what to do where its audit fails: "report" (a partial result) or "fallback" (all in FP16);
            None is "report".
        gpus: Indices; None for all. Without a GPU one process runs on the CPU.
        resume: Resume the run in `output_dir`.
        force: Start the run in `output_dir` over.
        save_embeddings: Write the features, too.
        write_viral: FASTA for the records called Viral, compressed if its suffix says so.
        runtime_config: Checkpoints, retries, loader and packing.
    Returns:
        Summary: where the results are, and how many records met each fate.
    Raises:
        virnucpro.errors.BadInput, virnucpro.errors.BadRequest: The sequences, or the request; one sentence.
    """
    from virnucpro.config.runtime import RuntimeConfig
    from virnucpro.config.settings import Settings
    from virnucpro.models.locate import named_directory
    from virnucpro.pipeline.run import run
    from virnucpro.system.devices import visible_gpus

    return run(
        Settings(
            inputs=(os.fspath(input),),
            output_dir=Path(output_dir),
            weights_dir=named_directory(weights_dir),
            model=Path(model) if model else None,
            model_type=model_type,
            esm_model=esm_model,
            precision=precision,
            audit=audit,
            gpus=gpus,
            parallel=visible_gpus() > 0,
            resume=resume,
            force=force,
            save_embeddings=save_embeddings,
            write_viral=Path(write_viral) if write_viral else None,
            show_progress=False,
            runtime=runtime_config or RuntimeConfig(),
        )
    )


def embed(
    input: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    *,
    weights_dir: str | os.PathLike[str] | None = None,
    esm_model: str = "esm2_t36_3B_UR50D",
    enable_fp16: bool | None = None,
    world_size: int | None = None,
    runtime_config: RuntimeConfig | None = None,
) -> Path:
    """Embed the proteins of a file with ESM-2.

    Args:
        input: Protein FASTA, plain or compressed.
        output_dir: For embeddings.h5; an unfinished run of the same input in it is resumed.
        weights_dir: As in `predict`.
        esm_model: As in `predict`.
        enable_fp16: None is FP16 on a GPU, FP32 on the CPU.
        world_size: GPUs; None for all.
        runtime_config: As in `predict`.
    Returns:
        Path: HDF5 with `ids` (text) and `embeddings`, float32 (n, width), in the order of the input. A sequence that
            could not be embedded is not in it; sequences.tsv, beside it, says why.
    Raises:
        virnucpro.errors.BadInput, virnucpro.errors.BadRequest: As in `predict`.
    """
    from virnucpro.pipeline.multi_gpu_inference import run_multi_gpu_inference

    model = {"model_type": "esm2", "model_name": esm_model, "enable_fp16": enable_fp16, "weights_dir": weights_dir}
    return run_multi_gpu_inference([os.fspath(input)], output_dir, model, world_size, runtime_config=runtime_config)[0]
