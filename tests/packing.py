"""Sequences through a model in packs, and recipes and windows for tests of the engine."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from conftest import ESM_8M
from torch import Tensor

from virnucpro.config.compute import ComputeConfig
from virnucpro.engine.events import Computed
from virnucpro.engine.model_runner import ModelRunner
from virnucpro.engine.packing import pack
from virnucpro.engine.window_loop import WindowLoop
from virnucpro.models import attention
from virnucpro.models.catalog import PRECISIONS, Precision
from virnucpro.models.dnabert_s import Dnabert, dna_means
from virnucpro.models.esm2 import Esm2, protein_means
from virnucpro.models.locate import find_weights
from virnucpro.models.ops import Ops, Plain
from virnucpro.models.pack import Pack
from virnucpro.models.tokens import esm2_tokens
from virnucpro.reading.reads import Read
from virnucpro.reading.window_source import AtHand
from virnucpro.reading.windows import Window, windows


def random_proteins(lengths: Iterable[int], seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices("LAGVSERTIDPKQNFYMHWCXBUZO", k=length)) for length in lengths]


def random_dna(lengths: Iterable[int], seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices("ACGTN", weights=[9, 9, 9, 9, 1], k=length)) for length in lengths]


def precision_of(dtype: torch.dtype) -> Precision:
    """The row that computes in a type of torch, products and all."""
    rows = (row for row in PRECISIONS.values() if not row.quantised)
    return next(row for row in rows if f"torch.{row.activations}" == str(dtype))


def pack_of(tokens: list[list[int]], device: str | torch.device = "cpu") -> Pack:
    """One pack of these sequences, in this order."""
    lengths = tuple(map(len, tokens))
    edges = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
    return Pack(torch.tensor([token for ids in tokens for token in ids], device=device), edges, lengths)


@torch.inference_mode()
def run(
    model: Esm2 | Dnabert, tokens: list[list[int]], budget: int, backend: str = "sdpa", ops: Ops | None = None
) -> Tensor:
    """Mean representations of all sequences in their order, on the CPU: float32 (sequences, width)."""
    ops = ops or Plain()
    attend = attention.BACKENDS[backend].load()
    device = next(model.parameters()).device
    means = protein_means if isinstance(model, Esm2) else dna_means
    plan = pack(np.array([len(ids) for ids in tokens]), budget)
    features_SD = torch.empty(len(tokens), model.shape.width)
    begin = 0
    for size in plan.sizes_P:
        order = plan.order_S[begin : begin + size]
        one = pack_of([tokens[i] for i in order], device)
        x_TD = model(one, attend, ops)
        features_SD[torch.from_numpy(order)] = means(x_TD, one).cpu()
        begin += size
    return features_SD


def run_esm2(model: Esm2, proteins: list[str], budget: int = 2048, **options: object) -> Tensor:
    """`run` for residues."""
    return run(model, [list(esm2_tokens([protein.encode()])) for protein in proteins], budget, **options)


def spoil_esm2(path: Path) -> None:
    """Put a number that is none into the weights of a fair-esm file."""
    content = torch.load(path, weights_only=False)
    content["model"]["encoder.sentence_encoder.layers.3.fc1.weight"][0, 0] = torch.nan
    torch.save(content, path)


def recipe(weights: Path, kind: str = "nucleotide", **changes: object) -> ComputeConfig:
    """The small weights, float32, packs of 2,048 tokens, features wanted."""
    settled = {
        "kind": kind,
        "weights": find_weights(weights, ESM_8M, "500", None, kind),
        "esm_model": ESM_8M,
        "chunk_size": 500,
        "precision": "fp32",
        "attention": "auto",
        "token_budget": 2048,
        "buffer_size": 64,
        "keep_features": True,
    }
    return ComputeConfig(**settled | changes)


def windows_of(sequences: dict[str, str], kind: str = "nucleotide", buffer_size: int = 64) -> list[Window]:
    reads = [Read(name, sequence) for name, sequence in sequences.items()]
    return list(windows(reads, kind, 500, buffer_size, 2048))


def computed(loop: WindowLoop, engine: ModelRunner) -> Iterator[tuple[Window, Computed]]:
    """What is finished, without what begins."""
    return ((window, event) for window, event in loop.run(engine) if isinstance(event, Computed))


class Hesitant(AtHand):
    """Has nothing at first, and before each window once more."""

    def __init__(self, windows: Iterable[Window], wait: Callable[[], object] = lambda: None) -> None:
        super().__init__(windows)
        self.wait, self._now = wait, True

    def take(self) -> Window | None:
        self._now = not self._now
        return super().take() if self._now else None
