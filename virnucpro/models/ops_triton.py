"""The fused steps in Triton; import only where CUDA is in use. See `ops` for what they compute.

Axes: T tokens, D model width, I inputs, O outputs, F of the MLP; H heads, K per head, J = K / 2.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from virnucpro.models import rows_kernel as rows
from virnucpro.models.catalog import Precision
from virnucpro.models.kernels import Kernels, Tensors
from virnucpro.models.language_models import Shape
from virnucpro.models.launch import Launch
from virnucpro.models.linear import Activations, Delta, Int8Linear, Linear, Products, Quantised
from virnucpro.models.pack import Tables
from virnucpro.models.product_triton import int8_product


class Fused:
    """`ops.Ops` by these kernels, with PyTorch's products but for 8-bit ones."""

    hopper = False

    def linear(self, x_TI: Activations, layer: Linear) -> Tensor:
        return int8_product(quantised(x_TI), layer) if isinstance(layer, Int8Linear) else Products.linear(x_TI, layer)

    def linear_gelu(self, x_TI: Activations, layer: Linear, spreads: bool = False) -> Tensor:
        if isinstance(layer, Int8Linear):
            return int8_product(quantised(x_TI), layer, gelu=True, spreads=spreads)
        y_TF = Products.linear(x_TI, layer)
        rows.gelu(y_TF, spreads).run()
        return y_TF

    def linear_rotated(
        self, x_TI: Activations, layer: Linear, heads: int, angles_TJ: Tables
    ) -> tuple[Tensor, Tensor, Tensor]:
        qkv_TE = self.linear(x_TI, layer)
        rows.rotate(qkv_TE, *angles_TJ).run()
        return apart(qkv_TE, heads)

    def linear_onto(self, x_TD: Tensor, y_TI: Activations, layer: Linear) -> tuple[Tensor, Delta]:
        return x_TD, self.linear(y_TI, layer)

    def add_norm(self, x_TD: Tensor, delta: Delta, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
        out_TD = torch.empty_like(x_TD)
        return self._add_norm(x_TD, delta, norm, out_TD, None), out_TD

    def add_norm_for(self, layer: Linear, x_TD: Tensor, delta: Delta, norm: nn.LayerNorm) -> tuple[Tensor, Activations]:
        if not isinstance(layer, Int8Linear):
            return self.add_norm(x_TD, delta, norm)
        h_TD = Quantised(torch.empty_like(x_TD, dtype=torch.int8), torch.empty(len(x_TD), device=x_TD.device))
        return self._add_norm(x_TD, delta, norm, *h_TD), h_TD

    @staticmethod
    def _add_norm(x_TD: Tensor, delta: Delta, norm: nn.LayerNorm, out_TD: Tensor, scales_T: Tensor | None) -> Tensor:
        delta_TD = delta if isinstance(delta, Tensor) else None
        # The sum may take the place of what was added: nobody needs that again.
        sum_TD = x_TD if delta_TD is None else delta_TD
        rows.add_norm(x_TD, delta_TD, norm.weight, norm.bias, sum_TD, out_TD, scales_T, norm.eps).run()
        return sum_TD

    @staticmethod
    def gated_gelu(x_T2F: Tensor) -> Tensor:
        tokens, width = len(x_T2F), x_T2F.shape[1] // 2
        out_TF = torch.empty(tokens, width, device=x_T2F.device, dtype=x_T2F.dtype)
        rows.gated_gelu(x_T2F, out_TF).run()
        return out_TF

    def launches(self, shape: Shape, rotary: bool, precision: Precision, tensors: Tensors) -> Iterable[Launch]:
        kernels = Kernels(shape, rotary, precision, self.hopper, tensors)
        return *kernels.products(), *kernels.rows()


def quantised(x_TI: Activations) -> Quantised:
    """Round activations as `linear.quantise` does, in one pass, unless the step before has done it."""
    if isinstance(x_TI, Quantised):
        return x_TI
    assert isinstance(x_TI, Tensor), "norms are left to 16-bit products alone"
    rounded = Quantised(torch.empty_like(x_TI, dtype=torch.int8), torch.empty(len(x_TI), device=x_TI.device))
    rows.quantise(x_TI, *rounded).run()
    return rounded


def apart(qkv_TE: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Split into queries, keys and values, (T, H, K) each."""
    q_THK, k_THK, v_THK = qkv_TE.unflatten(1, (3, heads, -1)).unbind(1)
    return q_THK, k_THK, v_THK
