"""ESM-2 over packs: one mean representation a protein.

Axes: T tokens of a pack, S proteins, D model width, H heads, K = D // H per head, F = 4 D of the MLP.
Source: fair-esm 2.0.0 (token dropout, rotary positions, exact GELU, pre-LayerNorm).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from virnucpro.errors import BadWeights
from virnucpro.models.attention import Attend
from virnucpro.models.catalog import ESM2_SIZES, PRECISIONS, REFERENCE_PRECISION, Precision
from virnucpro.models.esm2_checkpoint import Esm2Shape, check_size, exact_frequencies, read_esm2
from virnucpro.models.language_models import Shape
from virnucpro.models.linear import Delta, cast_weights
from virnucpro.models.ops import Ops
from virnucpro.models.pack import Pack, Tables
from virnucpro.models.tensor_files import State, Unfilled, fill, renamed
from virnucpro.models.tokens import VOCABULARY
from virnucpro.models.upload import to_device
from virnucpro.reading.proteins import MAX_RESIDUES

# Trained with 15 % of the tokens masked, 80 % of these blanked out; at inference all embeddings are scaled likewise.
TOKEN_DROPOUT_SCALE = 1 - 0.15 * 0.8


class Layer(nn.Module):
    """Attention and MLP, each with a LayerNorm before and its residual sum left to the next LayerNorm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.spreads = False  # the outputs of GELU, as `quantised_esm2` wants it
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(
        self, x_TD: Tensor, delta: Delta, angles: Tables, pack: Pack, attend: Attend, ops: Ops
    ) -> tuple[Tensor, Delta]:
        """The residual stream, and what of this layer's MLP is still to be added to it."""
        x_TD, h_TD = ops.add_norm_for(self.qkv, x_TD, delta, self.attention_norm)
        q_THK, k_THK, v_THK = ops.linear_rotated(h_TD, self.qkv, self.heads, angles)
        x_TD, delta = ops.linear_onto(x_TD, attend(q_THK, k_THK, v_THK, pack, None).flatten(1), self.out)
        x_TD, h_TD = ops.add_norm_for(self.fc1, x_TD, delta, self.mlp_norm)
        return ops.linear_onto(x_TD, ops.linear_gelu(h_TD, self.fc1, self.spreads), self.fc2)

    def fold_norms(self) -> None:
        """Let the products after the norms do what the norms' weights do."""
        for norm, linear in ((self.attention_norm, self.qkv), (self.mlp_norm, self.fc1)):
            linear.bias.add_(linear.weight @ norm.bias)
            linear.weight.mul_(norm.weight)
        self.attention_norm, self.mlp_norm = bare(self.attention_norm), bare(self.mlp_norm)


def bare(norm: nn.LayerNorm) -> nn.LayerNorm:
    """The norm without weights."""
    return nn.LayerNorm(norm.normalized_shape, norm.eps, elementwise_affine=False)


class Esm2(nn.Module):
    """Encoder without language-model and contact heads."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Esm2Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(VOCABULARY, shape.width)
        self.layers = nn.ModuleList(Layer(shape.width, shape.heads) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        self.restore: nn.Linear | None = None  # from a rotated residual stream, as `quantised_esm2` makes it
        for name in ("cos", "sin"):
            table = torch.empty(MAX_RESIDUES + 2, shape.width // shape.heads // 2)
            self.register_buffer(name, table, persistent=False)

    def embed(self, pack: Pack) -> Tensor:
        """The residual stream before the first layer: (T, D)."""
        x_TD: Tensor = self.embedding(pack.token_ids_T.int())
        return x_TD * TOKEN_DROPOUT_SCALE if self.shape.token_dropout else x_TD

    def forward(self, pack: Pack, attend: Attend, ops: Ops) -> Tensor:
        """Representations after the final LayerNorm: (T, D)."""
        x_TD, delta = self.embed(pack), None
        # float32, so that positions stay exact: float16 cannot tell 2049 from 2048, bfloat16 257 from 256
        angles = pack.angles((self.cos, self.sin))
        for layer in self.layers:
            x_TD, delta = layer(x_TD, delta, angles, pack, attend, ops)
        _, y_TD = ops.add_norm(x_TD, delta, self.norm)
        return y_TD if self.restore is None else ops.linear(y_TD, self.restore)


def protein_means(x_TD: Tensor, pack: Pack) -> Tensor:
    """Mean of each protein's residues, <cls> and <eos> left out: float32 (S, D)."""
    # Every second segment is the <eos> of a protein and the <cls> of the next: [1, L-1), [L-1, L+1), ...
    cu_S1 = pack.cu_seqlens_S1.long()
    edges = torch.stack([cu_S1[:-1] + 1, cu_S1[1:] - 1], dim=1).flatten()
    means = torch.segment_reduce(x_TD.float(), "mean", offsets=edges, axis=0, unsafe=True)
    return means[::2]


def load_esm2(path: Path, device: torch.device, precision: Precision = PRECISIONS[REFERENCE_PRECISION]) -> Esm2:
    """Load an ESM-2 on `device`, in float32 unless told otherwise.

    Raises:
        BadWeights: As `read_esm2`.
    """
    shape, state = read_esm2(path)
    frequencies = [state.pop(f"layers.{number}.self_attn.rot_emb.inv_freq") for number in range(shape.layers)]
    if not all(torch.equal(frequencies[0], other) for other in frequencies):
        raise BadWeights(f"{path}: the layers' rotary frequencies differ. Is it an ESM-2?")
    with Unfilled():
        model = Esm2(shape)
    fill(model, _joined(to_device(state, device, precision), shape))
    prepare(model, precision)
    # The published frequencies are rounded to half precision and belong to the weights.
    model.cos, model.sin = (table.to(device) for table in rotary_tables(frequencies[0]))
    return model


def rotary_tables(frequencies_J: Tensor) -> Tables:
    """Cosines and sines of every position's angles: float32 (1,026, J)."""
    angles = torch.outer(torch.arange(MAX_RESIDUES + 2, dtype=torch.float32), frequencies_J.float())
    return angles.cos(), angles.sin()


_NAMES = {
    "embed_tokens.": "embedding.",
    "emb_layer_norm_after.": "norm.",
    ".self_attn_layer_norm.": ".attention_norm.",
    ".self_attn.out_proj.": ".out.",
    ".final_layer_norm.": ".mlp_norm.",
}


def _joined(state: State, shape: Esm2Shape) -> State:
    """Our names; the queries', keys' and values' projections as one.

    Rotation pairs the first half of a head with the second. Here partners stand side by side, as kernels want them;
    scores do not mind, where queries and keys agree.
    """
    for number in range(shape.layers):
        for kind in ("weight", "bias"):
            q, k, v = (state.pop(f"layers.{number}.self_attn.{name}_proj.{kind}") for name in "qkv")
            paired = [part.unflatten(0, (shape.heads, 2, -1)).transpose(1, 2).flatten(0, 2) for part in (q, k)]
            state[f"layers.{number}.qkv.{kind}"] = torch.cat([*paired, v])
    return {renamed(name, _NAMES): tensor for name, tensor in state.items()}


def prepare(model: nn.Module, precision: Precision) -> None:
    """Make a model filled with published weights into what runs in this precision.

    Kernels for 16 and 8 bits apply LayerNorm at the end of the product that follows it, where it has no weights.
    """
    if precision.reduced:
        for layer in model.modules():
            if isinstance(layer, Layer):
                layer.fold_norms()
    cast_weights(model, precision)


# What `language_models.Code` asks for.
load, means = load_esm2, protein_means


def size(path: Path, esm_model: str) -> Shape:
    return Shape(*ESM2_SIZES[esm_model])


def check(path: Path, esm_model: str) -> Shape:
    shape, _ = read_esm2(path)
    check_size(shape, esm_model, path)
    return shape


def sample(esm_model: str, layers: int) -> tuple[nn.Module, dict[str, Tensor], int]:
    most, width, heads = ESM2_SIZES[esm_model]
    with Unfilled():
        model = Esm2(Esm2Shape(min(layers, most), width, heads))
    cos, sin = rotary_tables(exact_frequencies(width // heads))
    return model, {"cos": cos, "sin": sin}, VOCABULARY
