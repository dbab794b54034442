"""Embeddings of protein FASTA files on all GPUs, as one function call."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from virnucpro.config.runtime import RuntimeConfig
from virnucpro.config.settings import Settings
from virnucpro.errors import BadRequest
from virnucpro.models.catalog import AUTO
from virnucpro.models.locate import named_directory
from virnucpro.pipeline.run import run
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.reads import stem_of
from virnucpro.system.devices import visible_gpus
from virnucpro.telemetry.recorder import TelemetryLogger

MODEL_CONFIG_KEYS = ("model_type", "model_name", "enable_fp16", "weights_dir")


def run_multi_gpu_inference(
    fasta_files: str | Path | Sequence[str | Path],
    output_dir: str | os.PathLike[str],
    model_config: Mapping[str, object],
    world_size: int | None = None,
    timeout: float | None = None,
    runtime_config: RuntimeConfig | None = None,
) -> tuple[Path, list[int]]:
    """Embed the proteins of FASTA files with ESM-2.

    Writes to `output_dir`, with the name of the first file as {stem}: `{stem}_merged/embeddings.h5` (`ids`,
    `embeddings` float32 (n, width), in the order of the input; see `virnucpro.output.embeddings_file`),
    `{stem}_merged/sequences.tsv` and `telemetry_{stem}.json`. A directory with an unfinished run of the same input,
    weights and settings is resumed, unless `force_restart` is set.

    Args:
        fasta_files: One, or several that are read in this order; ids must be unique over all of them.
        output_dir: Made if missing.
        model_config: model_type ("esm2"), model_name (a key of `virnucpro.models.catalog.ESM2_SIZES`; default the 3B
            model), enable_fp16 (None or missing: FP16 on a GPU, FP32 on the CPU), weights_dir (default:
            VIRNUCPRO_WEIGHTS).
        world_size: GPUs to use, a process each but for one; None for all. Without a GPU: CPU workers, None for one.
        timeout: Seconds a worker may take for one window before it is replaced; as `timeout_per_attempt`.
        runtime_config: Checkpoints, retries, loader and packing.
    Returns:
        Path of embeddings.h5, and the ranks of workers that were lost for good (their work was done by others). A
        sequence that could not be embedded is not in the file; sequences.tsv, beside it, says why.
    Raises:
        BadInput: The sequences cannot be used.
        BadRequest: The request cannot be met.
    """
    runtime = runtime_config or RuntimeConfig()
    if timeout is not None:
        runtime = replace(runtime, timeout_per_attempt=timeout)
    output_dir = Path(output_dir)
    files = (fasta_files,) if isinstance(fasta_files, (str, Path)) else fasta_files
    settings = Settings(
        inputs=tuple(map(str, files)),
        output_dir=output_dir,
        input_type=InputKind.PROTEIN,
        save_embeddings=True,
        resume=not runtime.force_restart,
        force=runtime.force_restart,
        show_progress=False,
        runtime=runtime,
        **_model(model_config),
        **_devices(world_size),
    )
    telemetry = TelemetryLogger(output_dir, stem_of(settings.inputs[0]))
    telemetry.set_run_metadata(model=dict(model_config, weights_dir=None), world_size=world_size)
    summary = run(settings, telemetry)
    assert summary.embeddings is not None, "proteins without features"
    return summary.embeddings, summary.failed_ranks


def _model(model_config: Mapping[str, object]) -> dict[str, Any]:
    """Return the settings of the model; the name is checked with them."""
    unknown = sorted(model_config.keys() - set(MODEL_CONFIG_KEYS))
    if unknown:
        raise BadRequest(f"model_config has {unknown[0]!r}. Known keys: {', '.join(MODEL_CONFIG_KEYS)}.")
    kind = model_config.get("model_type", "esm2")
    if kind != "esm2":
        raise BadRequest(f"model_config: model_type is {kind!r}. Only 'esm2' is known.")
    fp16 = model_config.get("enable_fp16")
    if fp16 not in (None, True, False):
        raise BadRequest(f"model_config: enable_fp16 is {fp16!r}, not True, False or None.")
    directory = model_config.get("weights_dir")
    return {
        "esm_model": model_config.get("model_name", "esm2_t36_3B_UR50D"),
        "precision": AUTO if fp16 is None else "fp16" if fp16 else "fp32",
        "weights_dir": named_directory(None if directory is None else str(directory)),
    }


def _devices(world_size: int | None) -> dict[str, Any]:
    """Return the settings of the devices."""
    if world_size is not None and (type(world_size) is not int or world_size < 1):
        raise BadRequest(f"world_size is {world_size!r}. Give 1 or more, or None for all GPUs.")
    gpus, several = visible_gpus(), (world_size or 1) > 1
    if gpus == 0:
        return {"parallel": several, "workers_per_gpu": world_size if several else None}
    if world_size is not None and world_size > gpus:
        raise BadRequest(f"world_size is {world_size}, but {gpus} GPUs are visible. Give {gpus} or less.")
    return {"gpus": tuple(range(world_size or gpus)), "parallel": True}
