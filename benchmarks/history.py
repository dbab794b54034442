"""History: all that the suite knows of how releases differ. Nothing else in it asks which commit is installed.

The command line is the same at every commit. Whatever goes through the API asks here first, and skips with the reason
where the installed commit is older than that API.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from benchmarks.support.package_api import can_write, has_precision, has_streaming
from benchmarks.support.skip import Skip

EVERYTHING = "VIRNUCPRO_BENCH_ALL"


def one_process_per_gpu() -> bool:
    """Since v2.0 a GPU has one process, whatever --workers-per-gpu says."""
    return has_streaming() or find_spec("virnucpro.stream") is not None


def require_release() -> None:
    """
    Raises:
        Skip: The installed commit lies between releases, and `EVERYTHING` is not set.
    """
    from virnucpro import __version__

    if "dev" in __version__ and not os.environ.get(EVERYTHING):
        raise Skip(f"{__version__} is no release: measured at releases only, or with {EVERYTHING}=1.")


def require_engine() -> None:
    """
    Raises:
        Skip: The installed commit is older than v2.0's engine as its release has it.
    """
    if has_streaming():
        return
    if find_spec("virnucpro.stream") is None:
        raise Skip("needs v2.0's engine, which this commit does not have yet.")
    from dataclasses import fields

    from virnucpro.work import Cost

    if not {"idle_seconds", "capacity"} <= {field.name for field in fields(Cost)}:
        raise Skip("needs what v2.0 tells of idle time and capacity, which this commit does not yet.")


def require_precision(name: str) -> None:
    """
    Raises:
        Skip: The installed commit does not know that precision.
    """
    if not has_precision(name):
        raise Skip(f"needs --precision {name}, which this version does not have.")


def require_writers() -> None:
    """
    Raises:
        Skip: The installed commit is older than v2.0's tables.
    """
    if not can_write():
        raise Skip("needs v2.0's finished windows and tables, which this commit does not have yet.")


def protein_embeddings(output_dir: Path, stem: str):
    """What a run over proteins left.

    Returns:
        dict: name -> float32 (D,). v1.0 writes a ``.pt`` file a part, v2.0 one ``embeddings.h5``.
    """
    file = output_dir / f"{stem}_merged" / "embeddings.h5"
    if file.exists():
        import h5py

        with h5py.File(file) as content:
            return dict(zip(content["ids"].asstr()[:], content["embeddings"][:], strict=True))
    import torch

    found = {}
    for path in sorted((output_dir / f"{stem}_features").glob("*.pt")):
        part = torch.load(path, weights_only=True)
        found |= dict(zip(part["ids"], part["esm2"].numpy(), strict=True))
    return found


def frame_scores(output_dir: Path, stem: str) -> dict[str, float]:
    """Frame -> its score as a virus (score2), as `prediction_results.txt` has it in every release."""
    lines = (output_dir / f"{stem}_merged" / "prediction_results.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    name, score = rows[0].index("Sequence_ID"), rows[0].index("score2")
    return {row[name]: float(row[score]) for row in rows[1:]}
