"""K-mer frequencies over packs: the simplest of language models, which has no weights.

Axes: T k-mers of a pack, S sequences, K canonical 4-mers.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from virnucpro.models.attention import Attend
from virnucpro.models.catalog import CANONICAL_4MERS, Precision
from virnucpro.models.language_models import Shape
from virnucpro.models.ops import Ops
from virnucpro.models.pack import Pack

SHAPE = Shape(0, CANONICAL_4MERS, 0)


class KmerFrequencies(nn.Module):
    """Each k-mer is a vector with a one in its place; `NONE` is one of zeros. Float32 in every precision."""

    vectors: Tensor

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.shape = SHAPE
        self.register_buffer("vectors", torch.eye(CANONICAL_4MERS + 1, CANONICAL_4MERS, device=device))

    def forward(self, pack: Pack, attend: Attend, ops: Ops) -> Tensor:
        """Vectors (T, K)."""
        vectors_TK: Tensor = self.vectors.index_select(0, pack.token_ids_T.int())
        return vectors_TK


# What `language_models.Code` asks for.
def means(x_TK: Tensor, pack: Pack) -> Tensor:
    """Frequencies of each sequence's k-mers, which add up to one, or to nothing where it has none: float32 (S, K)."""
    return torch.segment_reduce(x_TK, "mean", offsets=pack.cu_seqlens_S1.long(), axis=0, unsafe=True)


def size(path: Path, esm_model: str) -> Shape:
    return SHAPE


check = size


def load(path: Path, device: torch.device, precision: Precision) -> nn.Module:
    return KmerFrequencies(device)


def prepare(model: nn.Module, precision: Precision) -> None:
    """Do nothing: there are no weights."""


def sample(esm_model: str, layers: int) -> tuple[nn.Module, dict[str, Tensor], int]:
    return KmerFrequencies(torch.device("cpu")), {}, CANONICAL_4MERS
