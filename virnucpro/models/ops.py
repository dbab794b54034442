"""Ops: the steps of a layer, each as few passes over memory as the device allows.

Kernels in Triton do in one pass each what PyTorch does in several. They need a C compiler at their first use (the
result is kept in Triton's cache); without one the engine goes on with PyTorch's own steps.

Axes: T tokens, D model width, I inputs, O outputs, F of the MLP; H heads, K per head, J = K / 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from virnucpro.models.catalog import Precision
from virnucpro.models.kernels import HOPPER, Tensors, hopper_pays, hopper_probe, probe
from virnucpro.models.language_models import Shape
from virnucpro.models.launch import Launch
from virnucpro.models.linear import Activations, Delta, Linear, Products, spread, torch_type
from virnucpro.models.pack import Tables
from virnucpro.system.home import give_triton_a_cache


class Ops(Protocol):
    """Steps of a layer but for attention. A step may write over its input."""

    def linear(self, x_TI: Activations, layer: Linear) -> Tensor:
        """A matrix product, as `linear.Products` has it."""

    def linear_gelu(self, x_TI: Activations, layer: Linear, spreads: bool = False) -> Tensor:
        """A matrix product and exact (erf) GELU, then `linear.spread` if wanted."""

    def linear_rotated(
        self, x_TI: Activations, layer: Linear, heads: int, angles_TJ: Tables
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A matrix product as queries, keys and values (T, H, K); the first two rotated in neighbouring pairs."""

    def linear_onto(self, x_TD: Tensor, y_TI: Activations, layer: Linear) -> tuple[Tensor, Delta]:
        """A matrix product of y that is to be added to x: for `add_norm`, which adds it if it is not done here."""

    def add_norm(self, x_TD: Tensor, delta: Delta, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
        """The sum x + delta, and its LayerNorm."""

    def add_norm_for(self, layer: Linear, x_TD: Tensor, delta: Delta, norm: nn.LayerNorm) -> tuple[Tensor, Activations]:
        """`add_norm`, in a form that `layer` multiplies."""

    def gated_gelu(self, x_T2F: Tensor) -> Tensor:
        """GELU of the first half of each row, times the second half: (T, F)."""

    def launches(self, shape: Shape, rotary: bool, precision: Precision, tensors: Tensors) -> Iterable[Launch]:
        """What of `kernels` a model of that shape makes of these steps."""


class Plain(Products):
    """PyTorch's own steps."""

    def linear_gelu(self, x_TI: Activations, layer: Linear, spreads: bool = False) -> Tensor:
        y_TF = F.gelu(self.linear(x_TI, layer))
        return spread(y_TF) if spreads else y_TF

    def linear_rotated(
        self, x_TI: Activations, layer: Linear, heads: int, angles_TJ: Tables
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self.rotate(self.linear(x_TI, layer).unflatten(1, (3, heads, -1)), *angles_TJ)

    @staticmethod
    def rotate(qkv_T3HK: Tensor, cos_TJ: Tensor, sin_TJ: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values; the first two with each pair (2j, 2j + 1) rotated by its token's angle."""
        cos_T11J, sin_T11J = cos_TJ[:, None, None], sin_TJ[:, None, None]
        a, b = qkv_T3HK[:, :2].float().unflatten(-1, (-1, 2)).unbind(-1)
        rotated = torch.stack([a * cos_T11J - b * sin_T11J, b * cos_T11J + a * sin_T11J], dim=-1).flatten(-2)
        q_THK, k_THK = rotated.to(qkv_T3HK.dtype).unbind(1)
        return q_THK, k_THK, qkv_T3HK[:, 2]

    def linear_onto(self, x_TD: Tensor, y_TI: Activations, layer: Linear) -> tuple[Tensor, Delta]:
        return x_TD, self.linear(y_TI, layer)

    def add_norm_for(self, layer: Linear, x_TD: Tensor, delta: Delta, norm: nn.LayerNorm) -> tuple[Tensor, Activations]:
        return self.add_norm(x_TD, delta, norm)

    @staticmethod
    def add_norm(x_TD: Tensor, delta: Delta, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
        if isinstance(delta, Tensor):
            x_TD = x_TD + delta
        return x_TD, F.layer_norm(x_TD, norm.normalized_shape, norm.weight, norm.bias, norm.eps)

    @staticmethod
    def gated_gelu(x_T2F: Tensor) -> Tensor:
        gate_TF, value_TF = x_T2F.chunk(2, dim=-1)
        return F.gelu(gate_TF) * value_TF

    def launches(self, *_: object) -> Iterable[Launch]:
        return ()


@lru_cache
def cannot_compile(device: torch.device) -> str | None:
    """Why Triton cannot make kernels for a CUDA device; None if it can. The first call takes a second or two."""
    give_triton_a_cache()
    return _why_not(probe, device)


@lru_cache
def cannot_run_on_hopper(device: torch.device, activations: str) -> str | None:
    """Why products for Hopper cannot be had on a CUDA device, for activations of this type; None if they can."""
    if (capability := torch.cuda.get_device_capability(device)) != HOPPER:
        return f"compute capability {capability[0]}.{capability[1]} is not {HOPPER[0]}.{HOPPER[1]}"
    return _why_not(partial(hopper_probe, dtype=activations, activations=activations), device)


def _why_not(launch: Callable[[Tensors], Launch], device: torch.device) -> str | None:
    """Why a launch fails; None if it does not."""
    try:
        with torch.cuda.device(device):
            launch(lambda dtype, *sizes: torch.zeros(sizes, dtype=torch_type(dtype), device=device)).run()
    except Exception as error:  # no Triton, or an older one; no C compiler, no room for its cache: it raises all kinds
        return str(error).strip().split("\n")[0] or type(error).__name__
    return None


def choose_ops(device: torch.device, precision: Precision, width: int) -> tuple[Ops, str]:
    """The fused steps where they run, else PyTorch's own, and what to tell the user about it.

    Args:
        width: Of the model; of several, the widest.
    """
    if device.type != "cuda":
        return Plain(), "PyTorch's own steps (fused ones are for CUDA)"
    if reason := cannot_compile(device):
        return Plain(), f"PyTorch's own steps, slower by a quarter: Triton cannot compile here ({reason})"
    from virnucpro.models.ops_triton import Fused

    if not hopper_pays(precision, width):
        return Fused(), "fused steps in Triton"
    if reason := cannot_run_on_hopper(device, precision.activations):
        return Fused(), f"fused steps in Triton (those for Hopper need another GPU or Triton: {reason})"
    from virnucpro.models.ops_hopper import Hopper

    return Hopper(), "fused steps in Triton, products for Hopper"
