"""Linear layers: how a precision keeps their weights, and how activations are multiplied by them.

Axes: T tokens of a pack, I inputs and O outputs of a layer.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from virnucpro.models.catalog import Precision


class Products:
    """The matrix products of a layer, which all `ops.Ops` share."""

    @staticmethod
    def linear(x_TI: Tensor, layer: nn.Linear) -> Tensor:
        """x W^T + b: (T, O). A precision whose weights are no activations branches here on their type."""
        return F.linear(x_TI, layer.weight, layer.bias)


def prepare(model: nn.Module, precision: Precision) -> None:
    """Make the weights of linear layers, loaded in the activations' type, into what `Products.linear` takes.

    A precision with scales computes them here, layer by layer, so that no second copy of the model is held.
    """
    if precision.weights != precision.activations:
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                layer.weight = nn.Parameter(layer.weight.to(torch_type(precision.weights)), requires_grad=False)


def torch_type(name: str) -> torch.dtype:
    """Torch's type of a name in the catalogue, such as "float16"."""
    dtype: torch.dtype = getattr(torch, name)
    return dtype
