"""Matrix products for Hopper as a function of tensors; the kernel is in `hopper_kernel`.

Axes: T tokens, I inputs, O outputs, P parts of O; J pairs of a head.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from virnucpro.models import hopper_kernel
from virnucpro.models.hopper_finish import NOTHING
from virnucpro.models.hopper_kernel import PART, TYPES
from virnucpro.models.launch import type_name
from virnucpro.models.linear import Activations, Int8Linear, Linear, Normed, Quantised
from virnucpro.models.pack import Tables


def supports(layer: Linear) -> bool:
    """Whether the layer has a bias, and weights of 8 or 16 bits in rows that TMA can fetch: multiples of 16 bytes."""
    if layer.bias is None:
        return False
    outputs, inputs = layer.weight.shape
    fetched = inputs * layer.weight.itemsize % 16 == 0 and outputs % 8 == 0
    return fetched and type_name(layer.weight) in TYPES


def rotates(layer: Linear, half: int) -> bool:
    """Whether queries and keys with heads of 2 * half numbers can be rotated at the end of the layer's product."""
    return PART // 2 % half == 0 and len(layer.weight) * 2 // 3 % PART == 0


def product(
    x_TI: Activations,
    layer: Linear,
    do: int = NOTHING,
    angles_TJ: Tables | None = None,
    stream_TO: Tensor | None = None,
    sums_TP2: Tensor | None = None,
) -> Tensor:
    """Compute y = x W^T + b and do to it what is wanted: (T, O), of the layer's type.

    Args:
        do: NOTHING; GELU, or SPREAD_GELU with `linear.spread` after it; ROTATE by angles_TJ the queries and keys, which
            are the first two thirds of y; or ADD to stream_TO, in place.
        sums_TP2: Takes the sum of each PART numbers and of their squares, for ADD and layers of 16 bits.
    """
    unused = _unused(layer.weight.device)
    means_T = x_scales_T = factors_O = unused
    values_TI: Tensor = x_TI if isinstance(x_TI, Tensor) else x_TI.values_TI
    if isinstance(x_TI, Quantised) and isinstance(layer, Int8Linear):
        x_scales_T, factors_O = x_TI.scales_T, layer.scales_O
    if isinstance(x_TI, Normed):
        means_T, x_scales_T, factors_O = x_TI.means_T, x_TI.scales_T, _row_sums(layer)
    tokens, outputs = len(values_TI), len(layer.weight)
    dtype = layer.dtype if isinstance(layer, Int8Linear) else values_TI.dtype
    y_TO = torch.empty(tokens, outputs, device=values_TI.device, dtype=dtype) if stream_TO is None else stream_TO
    cos_TJ, sin_TJ = (unused, unused) if angles_TJ is None else angles_TJ
    hopper_kernel.product(
        values_TI, layer.weight, y_TO, x_scales_T, means_T, factors_O, layer.bias, cos_TJ, sin_TJ,
        unused if sums_TP2 is None else sums_TP2, isinstance(x_TI, Normed), do, _processors(values_TI.device),
    ).run()  # fmt: skip
    return y_TO


@lru_cache
def _unused(device: torch.device) -> Tensor:
    """Stand in for a tensor that the kernel does not read."""
    return torch.zeros(1, device=device)


def _row_sums(layer: Linear) -> Tensor:
    """Sum each output's weights: float32 (O,), kept with the layer."""
    kept = vars(layer)
    if "row_sums_O" not in kept:
        kept["row_sums_O"] = layer.weight.float().sum(dim=1)
    sums_O: Tensor = kept["row_sums_O"]
    return sums_O


@lru_cache
def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count
