"""The fused steps for Hopper: what stands between two products is done at the end of the first.

Axes: T tokens, D model width, I inputs, P parts of D, J pairs of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from virnucpro.models import kernels
from virnucpro.models import rows_kernel as rows
from virnucpro.models.hopper_finish import ADD, GELU, NOTHING, ROTATE, SPREAD_GELU
from virnucpro.models.hopper_kernel import PART
from virnucpro.models.linear import Activations, Added, Delta, Int8Linear, Linear, Normed
from virnucpro.models.ops_triton import Fused, apart, quantised
from virnucpro.models.pack import Tables
from virnucpro.models.product_hopper import product, rotates, supports


class Hopper(Fused):
    """`ops.Ops` for compute capability 9.0."""

    hopper = True

    def linear(self, x_TI: Activations, layer: Linear) -> Tensor:
        return product(_operand(x_TI, layer), layer, NOTHING) if _fits(layer) else super().linear(x_TI, layer)

    def linear_gelu(self, x_TI: Activations, layer: Linear, spreads: bool = False) -> Tensor:
        if not _fits(layer):
            return super().linear_gelu(x_TI, layer, spreads)
        return product(_operand(x_TI, layer), layer, SPREAD_GELU if spreads else GELU)

    def linear_rotated(
        self, x_TI: Activations, layer: Linear, heads: int, angles_TJ: Tables
    ) -> tuple[Tensor, Tensor, Tensor]:
        if not (_fits(layer) and rotates(layer, angles_TJ[0].shape[1])):
            return super().linear_rotated(x_TI, layer, heads, angles_TJ)
        return apart(product(_operand(x_TI, layer), layer, ROTATE, angles_TJ), heads)

    def linear_onto(self, x_TD: Tensor, y_TI: Activations, layer: Linear) -> tuple[Tensor, Delta]:
        if not _fits(layer):
            return super().linear_onto(x_TD, y_TI, layer)
        sums_TP2 = None
        # 8-bit layers are followed by others, before which LayerNorm is a pass of its own: it must find the largest.
        if not isinstance(layer, Int8Linear):
            sums_TP2 = torch.empty(len(x_TD), -(-x_TD.shape[1] // PART), 2, device=x_TD.device)
        product(_operand(y_TI, layer), layer, ADD, stream_TO=x_TD, sums_TP2=sums_TP2)
        return x_TD, Added(sums_TP2)

    def add_norm_for(self, layer: Linear, x_TD: Tensor, delta: Delta, norm: nn.LayerNorm) -> tuple[Tensor, Activations]:
        left = not isinstance(layer, Int8Linear) and _fits(layer) and norm.weight is None
        if not (left and isinstance(delta, Added) and delta.sums_TP2 is not None):
            return super().add_norm_for(layer, x_TD, delta, norm)
        tokens, width = x_TD.shape
        # Two tensors: of one with an odd row the second would not be aligned, and a kernel be compiled for that.
        means_T, scales_T = (torch.empty(tokens, device=x_TD.device) for _ in range(2))
        rows.moments(delta.sums_TP2, means_T, scales_T, width, norm.eps).run()
        return x_TD, Normed(x_TD, means_T, scales_T)


def _fits(layer: Linear) -> bool:
    """Whether the product for Hopper can be had, and is worth it."""
    return (isinstance(layer, Int8Linear) or layer.weight.numel() >= kernels.SMALL) and supports(layer)


def _operand(x_TI: Activations, layer: Linear) -> Activations:
    return quantised(x_TI) if isinstance(layer, Int8Linear) else x_TI
