"""Linear layers: how a precision keeps their weights, and how activations are multiplied by them.

Axes: T tokens of a pack, I inputs and O outputs of a layer, B numbers of a block of inputs.
"""

from __future__ import annotations

import random
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from virnucpro.models.catalog import GREATEST, LEAST_SCALE, Precision

BLOCK = 8  # inputs that `spread` takes together: what one thread of a kernel holds; it divides 4 D of every ESM-2


class Quantised(NamedTuple):
    """Rows of 8-bit numbers, each with a scale: x = scales_T * values_TI."""

    values_TI: Tensor  # int8
    scales_T: Tensor  # float32


class Normed(NamedTuple):
    """LayerNorm without weights that is left to a product: (x_TI - means_T) * scales_T."""

    values_TI: Tensor
    means_T: Tensor  # float32
    scales_T: Tensor  # float32


class Added(NamedTuple):
    """A product that has been added to x, and of each token and part of the sum P what LayerNorm asks."""

    sums_TP2: Tensor | None  # float32, of the numbers and of their squares; None where nobody asks


Activations = Tensor | Quantised | Normed
Delta = Tensor | Added | None  # what is still to be added to the residual stream, or was already


class Int8Linear(nn.Module):
    """A linear layer of 8-bit weights with a scale for each output, for inputs with a scale for each token.

    Args:
        weight_OI, bias_O: Of the layer that it stands for.
        mean_I: Mean of the inputs. What the rounding of the weights makes of it is the same in every token, so that no
            mean over tokens takes it out; the bias does.
    """

    weight: Tensor  # int8 (O, I)
    scales_O: Tensor  # float32
    bias: Tensor  # float32 (O,)

    def __init__(self, weight_OI: Tensor, bias_O: Tensor, mean_I: Tensor | None = None) -> None:
        super().__init__()
        self.dtype = weight_OI.dtype  # of the outputs
        rounded_OI, scales_O = quantise(weight_OI)
        bias_O = bias_O.float()
        if mean_I is not None:
            bias_O = bias_O + (weight_OI.float() - rounded_OI * scales_O[:, None]) @ mean_I
        for name, tensor in (("weight", rounded_OI), ("scales_O", scales_O), ("bias", bias_O)):
            self.register_buffer(name, tensor)


Linear = nn.Linear | Int8Linear


def quantise(x_TI: Tensor) -> Quantised:
    """Round each row to 8-bit numbers, its largest to 127 or -127; a row with NaN gets the scale NaN."""
    x_TI = x_TI.float()
    scales_T = x_TI.abs().amax(dim=1).clamp_min(LEAST_SCALE) / GREATEST
    return Quantised((x_TI / scales_T[:, None]).round().to(torch.int8), scales_T)


def spread(x_TI: Tensor) -> Tensor:
    """Spread each block of inputs over itself by `hadamard`: a large number costs the small ones beside it less."""
    spread_TI: Tensor = (x_TI.unflatten(1, (-1, BLOCK)) @ hadamard(x_TI.device).to(x_TI.dtype)).flatten(1)
    return spread_TI


@lru_cache
def hadamard(device: torch.device) -> Tensor:
    """Sylvester's matrix, orthogonal and symmetric: float32 (B, B)."""
    matrix: Tensor = torch.ones(1, 1)
    while len(matrix) < BLOCK:
        matrix = torch.cat([torch.cat([matrix, matrix], dim=1), torch.cat([matrix, -matrix], dim=1)])
    matrix = matrix / BLOCK**0.5
    on_device: Tensor = matrix.to(device)
    return on_device


def signs(count: int) -> Tensor:
    """The same random +1 and -1 on every machine: float32 (count,)."""
    rng = random.Random(0)
    return torch.tensor([1.0 - 2.0 * rng.getrandbits(1) for _ in range(count)])


class Products:
    """The matrix products of a layer, which all `ops.Ops` share."""

    @staticmethod
    def linear(x_TI: Activations, layer: Linear) -> Tensor:
        """x W^T + b: (T, O), in the type of activations. 8-bit products are summed exactly."""
        if isinstance(layer, Int8Linear):
            values_TI, scales_T = x_TI if isinstance(x_TI, Quantised) else quantise(x_TI)
            sums_TO = F.linear(values_TI.double(), layer.weight.double())  # exact: they stay far below 2^53
            return (sums_TO.float() * scales_T[:, None] * layer.scales_O + layer.bias).to(layer.dtype)
        return F.linear(x_TI, layer.weight, layer.bias)


def cast_weights(model: nn.Module, precision: Precision) -> None:
    """Cast the weights of linear layers, loaded in the activations' type, to a precision's own type of weights."""
    if precision.weights != precision.activations:
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                layer.weight = nn.Parameter(layer.weight.to(torch_type(precision.weights)), requires_grad=False)


def torch_type(name: str) -> torch.dtype:
    """Torch's type of a name in the catalogue, such as "float16"."""
    dtype: torch.dtype = getattr(torch, name)
    return dtype
