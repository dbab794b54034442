"""Memory needs: how much memory the models take, by their sizes, and how much there is. No torch here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from virnucpro.models.catalog import ESM2_SIZES, PRECISIONS, PUBLISHED_PRECISION
from virnucpro.models.language_models import LANGUAGE_MODELS, models_for
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.proteins import MAX_RESIDUES
from virnucpro.system.cgroups import CGROUPS, PROC, groups

# Arrays of (tokens, width) that are there at the same time beside the weights, at most. The 3B model's peaks on an H200
# were 7.0 GB for DNA in FP16 and packs of 16,384 tokens, 9.55 GB for proteins in 8 bits and packs of 16,896.
LIVE_ARRAYS = 14
CUDA_CONTEXT = 500_000_000  # bytes beside what PyTorch counts; a guess
FILES = {  # of a control group, by version
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}
PROGRAM = 1_500_000_000  # bytes of host memory beside the weights; a guess on the safe side of 6.5 GB in all


def weight_bytes(esm_model: str, precision: str, kind: InputKind) -> int:
    """Add up all language models that an input of this kind has; in 8 bits, each is there as it was loaded too."""
    row, models = PRECISIONS[precision], [LANGUAGE_MODELS[name] for name in models_for(kind)]
    loaded = sum(row.loaded.weight_bytes * model.parameters(esm_model) for model in models)
    likenesses = [model for model in models if row.quantised and model.eight_bit]
    return loaded + sum(row.weight_bytes * model.parameters(esm_model) for model in likenesses)


def device_bytes(esm_model: str, precision: str, token_budget: int, kind: InputKind = InputKind.NUCLEOTIDE) -> int:
    """Memory of a GPU that a run takes, within a tenth or so."""
    tokens, width = max(token_budget, MAX_RESIDUES + 2), ESM2_SIZES[esm_model][1]
    activations = LIVE_ARRAYS * tokens * width * PRECISIONS[precision].activation_bytes
    return weight_bytes(esm_model, precision, kind) + activations + CUDA_CONTEXT


def host_bytes(esm_model: str, precision: str, on_gpu: bool) -> int:
    """Host memory that a run of DNA takes: the mapped file (FP16) on a GPU, else the weights."""
    return PROGRAM + weight_bytes(esm_model, PUBLISHED_PRECISION if on_gpu else precision, InputKind.NUCLEOTIDE)


def available_memory(proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """Bytes that this process may still use: of the machine, and of the batch job or container it runs in.

    Args:
        proc, cgroups: Where Linux shows them. What is not there limits nothing.
    """
    free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")]  # without what caches would give back
    with suppress(OSError, ValueError):
        lines = (proc / "meminfo").read_text(encoding="ascii").splitlines()
        free = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")] or free
    for version, folder in groups("memory", proc, cgroups):
        free += _left_in(folder, *FILES[version])
    return min(free)


def _left_in(folder: Path, limit: str, used: str, cached: str) -> Iterator[int]:
    """What files are cached counts as used, and is given back when it is needed."""
    with suppress(OSError, ValueError):  # "max" is no number: no limit
        left = int((folder / limit).read_text()) - int((folder / used).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        yield left + int(stat.get(cached, 0))
