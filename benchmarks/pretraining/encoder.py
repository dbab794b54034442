"""Encoder: ESM-2 as it is trained, with the head that tells masked residues.

Source: fair-esm 2.0.0 (token dropout, rotary positions, exact GELU, pre-LayerNorm); initial weights by GPT-NeoX.
Axes: T tokens of a batch, M places to be told, D model width, H heads, K = D // H of one, L places of a sequence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.pretraining.alphabet import LONGEST, SHARE, VOCABULARY
from benchmarks.pretraining.attention import Attend
from benchmarks.pretraining.masking import NOT_TOLD, Batch


@dataclass(frozen=True)
class Shape:
    """Size of an encoder; that of ESM-2 8M if not told."""

    layers: int = 6
    width: int = 320
    heads: int = 20

    def flops(self, attended: float) -> float:
        """Operations that a token needs, forward and backward; what is computed twice counts once.

        Args:
            attended: Tokens that a token's queries see, on average.
        """
        matrices = self.layers * 12 * self.width**2 + SHARE * (self.width**2 + VOCABULARY * self.width)
        return 6 * matrices + 12 * self.layers * self.width * attended


class Layer(nn.Module):
    """Attention and MLP, each with a LayerNorm before it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, self.heads = shape.width, shape.heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x_TD: Tensor, cos_TK: Tensor, sin_TK: Tensor, batch: Batch, attend: Attend) -> Tensor:
        q_THK, k_THK, v_THK = self.qkv(self.attention_norm(x_TD)).unflatten(1, (3, self.heads, -1)).unbind(1)
        q_THK, k_THK = (rotated(part, cos_TK, sin_TK).to(v_THK.dtype) for part in (q_THK, k_THK))
        y_THK = attend(q_THK.contiguous(), k_THK.contiguous(), v_THK.contiguous(), batch)
        x_TD = x_TD + self.out(y_THK.flatten(1))
        y_TD: Tensor = x_TD + self.fc2(F.gelu(self.fc1(self.mlp_norm(x_TD))))
        return y_TD


def rotated(x_THK: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> Tensor:
    """Turn each pair (a channel of the first half, its like in the second) by its position's angle, in float32."""
    first, second = x_THK.float().chunk(2, dim=-1)
    return x_THK.float() * cos_TK[:, None] + torch.cat((-second, first), dim=-1) * sin_TK[:, None]


class Encoder(nn.Module):
    """ESM-2 with its language-model head, whose last weights are the embeddings."""

    cos_LK: Tensor
    sin_LK: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        width, head_width = shape.width, shape.width // shape.heads
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, width)
        self.head_norm = nn.LayerNorm(width)
        self.head_bias = nn.Parameter(torch.zeros(VOCABULARY))
        frequencies = 1.0 / 10000 ** (torch.arange(0, head_width, 2).float() / head_width)
        angles_LK = torch.outer(torch.arange(LONGEST).float(), frequencies).repeat(1, 2)
        self.register_buffer("cos_LK", angles_LK.cos(), persistent=False)
        self.register_buffer("sin_LK", angles_LK.sin(), persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        """Draw weights: small ones, and still smaller ones for what is added to the residual stream."""
        layers, width = self.shape.layers, self.shape.width
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=math.sqrt(2 / (5 * width)))
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        for layer in self.layers:
            assert isinstance(layer, Layer)
            for linear in (layer.out, layer.fc2):
                nn.init.normal_(linear.weight, std=2 / (layers * math.sqrt(width)))

    def forward(self, batch: Batch, attend: Attend) -> Tensor:
        """Representations after the final LayerNorm: (T, D)."""
        x_TD = self.embedding(batch.tokens_T) * batch.scale_T[:, None]
        cos_TK, sin_TK = self.cos_LK[batch.position_T], self.sin_LK[batch.position_T]
        for layer in self.layers:
            x_TD = layer(x_TD, cos_TK, sin_TK, batch, attend)
        y_TD: Tensor = self.norm(x_TD)
        return y_TD

    def logits(self, x_MD: Tensor) -> Tensor:
        """Of each token of the alphabet, at some places: (M, 33)."""
        x_MD = self.head_norm(F.gelu(self.head(x_MD)))
        logits: Tensor = F.linear(x_MD, self.embedding.weight) + self.head_bias
        return logits

    def loss(self, batch: Batch, attend: Attend) -> Tensor:
        """Sum of the cross-entropies, in nats, of what is to be told."""
        logits = self.logits(self(batch, attend).index_select(0, batch.chosen_M)).float()
        return F.cross_entropy(logits, batch.labels_M, ignore_index=NOT_TOLD, reduction="sum")
