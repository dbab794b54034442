"""8-bit product as a function of tensors; the kernel is in `product_kernel`.

Axes: T tokens, O outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from virnucpro.models.linear import Int8Linear, Quantised
from virnucpro.models.product_kernel import product


def int8_product(x_TI: Quantised, layer: Int8Linear, gelu: bool = False, spreads: bool = False) -> Tensor:
    """Multiply as `linear.Products` does, then apply GELU and `spread` if wanted: (T, O), of the layer's type."""
    y_TO = torch.empty(len(x_TI.values_TI), len(layer.weight), device=layer.weight.device, dtype=layer.dtype)
    product(*x_TI, layer.weight, layer.scales_O, layer.bias, y_TO, gelu, spreads).run()
    return y_TO
