"""Ops: the steps of a layer; those between matrix products as one pass over memory where a compiler is at hand.

Kernels in Triton do in one pass each what PyTorch does in several. They need a C compiler at their first use (the
result is kept in Triton's cache); without one the engine goes on with PyTorch's own steps.

Axes: T tokens, D model width, H heads, K per head.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from virnucpro.models.linear import Products
from virnucpro.system.home import give_triton_a_cache


class Ops(Protocol):
    """Steps of a layer but for attention."""

    def linear(self, x_TI: Tensor, layer: nn.Linear) -> Tensor:
        """A matrix product, as `linear.Products` has it."""

    def add_norm(self, x_TD: Tensor, delta_TD: Tensor | None, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
        """The sum x + delta, and its LayerNorm."""

    def rotate(self, qkv_T3HK: Tensor, cos_TJ: Tensor, sin_TJ: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (T, H, K); the first two rotated by their positions, J = K / 2."""

    def gelu(self, x_TF: Tensor) -> Tensor:
        """Exact (erf) GELU."""

    def gated_gelu(self, x_T2F: Tensor) -> Tensor:
        """GELU of the first half of each row, times the second half: (T, F)."""


class Plain(Products):
    """PyTorch's own steps."""

    @staticmethod
    def add_norm(x_TD: Tensor, delta_TD: Tensor | None, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
        if delta_TD is not None:
            x_TD = x_TD + delta_TD
        return x_TD, F.layer_norm(x_TD, norm.normalized_shape, norm.weight, norm.bias, norm.eps)

    @staticmethod
    def rotate(qkv_T3HK: Tensor, cos_TJ: Tensor, sin_TJ: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        cos_T1J, sin_T1J = cos_TJ[:, None, None], sin_TJ[:, None, None]
        a, b = qkv_T3HK[:, :2].float().chunk(2, dim=-1)
        rotated = torch.cat([a * cos_T1J - b * sin_T1J, b * cos_T1J + a * sin_T1J], dim=-1).to(qkv_T3HK.dtype)
        return rotated[:, 0], rotated[:, 1], qkv_T3HK[:, 2]

    @staticmethod
    def gelu(x_TF: Tensor) -> Tensor:
        return F.gelu(x_TF)

    @staticmethod
    def gated_gelu(x_T2F: Tensor) -> Tensor:
        gate_TF, value_TF = x_T2F.chunk(2, dim=-1)
        return F.gelu(gate_TF) * value_TF


@lru_cache
def cannot_compile(device: torch.device) -> str | None:
    """Why Triton cannot make kernels for a CUDA device; None if it can. The first call takes a second or two."""
    give_triton_a_cache()
    try:
        from virnucpro.models.ops_triton import Fused

        with torch.cuda.device(device):
            x_TD = torch.ones(2, 32, device=device, dtype=torch.float16)
            Fused.add_norm(x_TD, torch.ones_like(x_TD), nn.LayerNorm(32, device=device, dtype=torch.float16))
    except Exception as error:  # no Triton, no C compiler, no room for its cache: Triton raises all kinds
        return str(error).strip().split("\n")[0] or type(error).__name__
    return None


def choose_ops(device: torch.device) -> tuple[Ops, str]:
    """The fused steps where they run, else PyTorch's own, and what to tell the user about it."""
    if device.type != "cuda":
        return Plain(), "PyTorch's own steps (fused ones are for CUDA)"
    if reason := cannot_compile(device):
        return Plain(), f"PyTorch's own steps, slower by a quarter: Triton cannot compile here ({reason})"
    from virnucpro.models.ops_triton import Fused

    return Fused(), "fused steps in Triton"
