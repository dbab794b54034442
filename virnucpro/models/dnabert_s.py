"""DNABERT-S over packs: one mean representation a DNA sequence, from our own model code.

The model is a MosaicBERT: post-LayerNorm, ALiBi instead of position embeddings, gated GELU.
Axes: T tokens of a pack ([CLS] and [SEP] of every sequence included), S sequences, D model width, H heads,
K = D // H per head, F width of the MLP.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from virnucpro.errors import BadWeights
from virnucpro.models.attention import Attend
from virnucpro.models.catalog import PRECISIONS, REFERENCE_PRECISION, Precision
from virnucpro.models.dnabert_s_checkpoint import HEADS, NORM_EPS, WIDTH, DnabertShape, read_dnabert
from virnucpro.models.language_models import Shape
from virnucpro.models.linear import cast_weights
from virnucpro.models.ops import Ops
from virnucpro.models.pack import Pack
from virnucpro.models.tensor_files import Unfilled, fill
from virnucpro.models.tokens import load_tokenizer
from virnucpro.models.upload import to_device


def alibi_slopes(heads: int) -> list[float]:
    """Slope of each head's bias -slope * |i - j|.

    For a power of two n: 2^(-8/n), 2^(-16/n), ... Otherwise those of the next lower power of two,
    then every second one of the next higher (Press et al. 2022, as MosaicBERT has it).

    >>> alibi_slopes(12)[7:10]
    [0.00390625, 0.7071067811865476, 0.35355339059327384]
    """
    lower = 2 ** int(math.log2(heads))
    slopes = [2 ** (-8 * (i + 1) / lower) for i in range(lower)]
    return slopes + [2 ** (-4 * (i + 1) / lower) for i in range(0, 2 * (heads - lower), 2)]


class Layer(nn.Module):
    """Attention and gated MLP, each followed by a LayerNorm over its residual sum."""

    def __init__(self, shape: DnabertShape) -> None:
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.Wqkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, shape.norm_eps)
        self.gated_layers = nn.Linear(width, 2 * shape.mlp_width, bias=False)
        self.wo = nn.Linear(shape.mlp_width, width)
        self.mlp_norm = nn.LayerNorm(width, shape.norm_eps)

    def forward(self, x_TD: Tensor, slopes_H: Tensor, pack: Pack, attend: Attend, ops: Ops) -> Tensor:
        q_THK, k_THK, v_THK = ops.linear(x_TD, self.Wqkv).unflatten(-1, (3, self.heads, -1)).unbind(1)
        # scale 1 / sqrt(K): 1 / 8 for the published 64 per head
        y_TD = attend(q_THK, k_THK, v_THK, pack, slopes_H).flatten(1)
        x_TD = ops.add_norm(x_TD, ops.linear(y_TD, self.attention_out), self.attention_norm)[1]
        delta_TD = ops.linear(ops.gated_gelu(ops.linear(x_TD, self.gated_layers)), self.wo)
        return ops.add_norm(x_TD, delta_TD, self.mlp_norm)[1]


class Dnabert(nn.Module):
    """Encoder without pooler."""

    def __init__(self, shape: DnabertShape) -> None:
        super().__init__()
        self.shape = shape
        self.word_embeddings = nn.Embedding(shape.vocabulary, shape.width)
        self.token_type_embeddings = nn.Embedding(2, shape.width)
        self.norm = nn.LayerNorm(shape.width, shape.norm_eps)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.register_buffer("slopes_H", torch.tensor(alibi_slopes(shape.heads)), persistent=False)

    def forward(self, pack: Pack, attend: Attend, ops: Ops) -> Tensor:
        """Representations (T, D)."""
        types_TD = self.token_type_embeddings.weight[:1].expand(len(pack.token_ids_T), -1)
        x_TD = ops.add_norm(self.word_embeddings(pack.token_ids_T.int()), types_TD.clone(), self.norm)[1]
        for layer in self.layers:
            x_TD = layer(x_TD, self.slopes_H, pack, attend, ops)
        return x_TD


def dna_means(x_TD: Tensor, pack: Pack) -> Tensor:
    """Mean over all tokens of each sequence, [CLS] and [SEP] included: float32 (S, D)."""
    return torch.segment_reduce(x_TD.float(), "mean", offsets=pack.cu_seqlens_S1.long(), axis=0, unsafe=True)


def load_dnabert(folder: Path, device: torch.device, precision: Precision = PRECISIONS[REFERENCE_PRECISION]) -> Dnabert:
    """Load the model on `device`, in float32 unless told otherwise.

    Raises:
        BadWeights: As `read_dnabert`.
    """
    shape, state = read_dnabert(folder)
    with Unfilled():
        model = Dnabert(shape)
    model.slopes_H = torch.tensor(alibi_slopes(shape.heads), device=device)
    fill(model, to_device(state, device, precision))
    cast_weights(model, precision)
    return model


# What `language_models.Code` asks for.
load, means, prepare = load_dnabert, dna_means, cast_weights


def size(path: Path, esm_model: str) -> Shape:
    return read_dnabert(path)[0]


def check(path: Path, esm_model: str) -> Shape:
    shape, _ = read_dnabert(path)
    if (tokens := load_tokenizer(path).get_vocab_size()) != shape.vocabulary:
        raise BadWeights(
            f"{path}: tokenizer.json has {tokens} tokens, the model {shape.vocabulary}. "
            "Put the files of one model there."
        )
    return shape


def sample(esm_model: str, layers: int) -> tuple[nn.Module, dict[str, Tensor], int]:
    shape = DnabertShape(layers, WIDTH, HEADS, 4 * WIDTH, 4096, NORM_EPS)
    with Unfilled():
        model = Dnabert(shape)
    return model, {"slopes_H": torch.tensor(alibi_slopes(HEADS))}, shape.vocabulary
