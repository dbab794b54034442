"""Quantised ESM-2: the same function with 8-bit products, made from a loaded model in about a second.

A scale for each token is only as good as its numbers are even, and a few channels of a language model are far larger
than the rest. So the residual stream is rotated by a fixed orthogonal matrix Q that evens them out (QuaRot's and
SpinQuant's idea). Q keeps the vector of ones, so the mean and the variance of a token stay what they were and LayerNorm
without its weights commutes with Q: these go into the next product, Q into the weights on both sides, and a run pays
for nothing but the way back after the last norm. Likewise the values of each head are rotated, and back by the
out-projection. GELU lets no rotation pass, so `linear.spread` spreads blocks of what it gives over themselves at run
time.

Axes: D model width, H heads, K per head, F of the MLP, O outputs and I inputs of a layer; T tokens of a pack.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from virnucpro.models.attention import BACKENDS
from virnucpro.models.esm2 import Esm2, Layer, bare
from virnucpro.models.linear import Activations, Int8Linear, Linear, signs, spread
from virnucpro.models.ops import Plain
from virnucpro.models.pack import Pack
from virnucpro.models.tensor_files import Unfilled
from virnucpro.models.tokens import esm2_tokens

PRODUCTS = ("qkv", "out", "fc1", "fc2")
# Products that stay in 16 bits, as (layer, product); negative numbers count from the last layer. The first one's inputs
# are the same for every residue of a kind: what rounding does to them is no noise that a mean over residues takes out.
KEPT: tuple[tuple[int, str], ...] = ((0, "qkv"),)
# Random proteins with the residues' shares in UniProt, in percent, for the mean of each product's inputs.
SHARES = {
    "A": 8.3, "R": 5.5, "N": 4.1, "D": 5.5, "C": 1.4, "Q": 3.9, "E": 6.7, "G": 7.1, "H": 2.3, "I": 5.9,
    "L": 9.7, "K": 5.8, "M": 2.4, "F": 3.9, "P": 4.7, "S": 6.6, "T": 5.4, "W": 1.1, "Y": 2.9, "V": 6.9,
}  # fmt: skip
CALIBRATION = (100,) * 16 + (300,) * 8  # residues of each


@torch.inference_mode()
def quantised(model: Esm2, kept: Collection[tuple[int, str]] = KEPT) -> Esm2:
    """Make the model's 8-bit likeness beside it, on its device.

    Args:
        kept: As `KEPT`.
    Returns:
        Esm2: Layers of `Int8Linear`; it shares only the tables of positions with `model`.
    """
    shape = model.shape
    kept = {(number % shape.layers, name) for number, name in kept}
    with Unfilled():
        result = Esm2(replace(shape, layers=0))
    result.shape, result.cos, result.sin = shape, model.cos, model.sin
    weight = model.embedding.weight
    q_DD = rotation(shape.width).to(weight)
    result.embedding.weight = _fixed(weight @ q_DD)
    result.norm = bare(model.norm)
    result.restore = _linear(model.norm.weight[:, None] * q_DD, model.norm.bias)
    pack = _calibration(weight.device)
    x_TD, delta, angles = result.embed(pack), None, pack.angles((model.cos, model.sin))
    for number, layer in enumerate(model.layers):
        assert isinstance(layer, Layer)
        rotated, watch = rotated_layer(layer, q_DD), Watch()
        with sdpa_kernel(SDPBackend.MATH):  # fused attention takes 0.7 s to begin on an H100, for 0.01 s of work
            x_TD, delta = rotated(x_TD, delta, angles, pack, BACKENDS["sdpa"].load(), watch)
        for name in PRODUCTS:
            if (number, name) not in kept:
                linear = getattr(rotated, name)
                setattr(rotated, name, Int8Linear(linear.weight, linear.bias, watch.means[linear]))
        result.layers.append(rotated)
    return result.eval().requires_grad_(False)


@lru_cache(maxsize=1)  # every layer asks for that of its heads
@torch.inference_mode(False)  # what is kept is for anyone
def rotation(count: int) -> Tensor:
    """An orthogonal, symmetric matrix that keeps the vector of ones: random signs of all frequencies but the lowest.

    That is C^T S C with the cosine transform C: for every count, where Hadamard's matrices are of some alone.
    """
    place = torch.arange(count, dtype=torch.float64)
    c = torch.cos(math.pi / count * (place + 0.5) * place[:, None]) * math.sqrt(2 / count)
    c[0] /= math.sqrt(2)
    s = signs(count).double()
    s[0] = 1.0
    return c.T @ (s[:, None] * c)


class Watch(Plain):
    """PyTorch's steps, with the mean of each product's inputs kept."""

    def __init__(self) -> None:
        self.means: dict[Linear, Tensor] = {}

    def linear(self, x_TI: Activations, layer: Linear) -> Tensor:  # type: ignore[override]
        assert isinstance(x_TI, Tensor)
        self.means[layer] = x_TI.float().mean(dim=0)
        return Plain.linear(x_TI, layer)


def rotated_layer(layer: Layer, q_DD: Tensor) -> Layer:
    """The layer for a residual stream that Q has rotated, in 16 bits; its norms have no weights of their own."""
    heads = layer.heads
    with Unfilled():
        result = Layer(len(q_DD), heads)
    result.attention_norm, result.mlp_norm = bare(layer.attention_norm), bare(layer.mlp_norm)
    result.spreads = True
    r_KK = rotation(len(q_DD) // heads).to(q_DD)
    for name, norm in (("qkv", layer.attention_norm), ("fc1", layer.mlp_norm)):
        linear = getattr(layer, name)
        weight_OD, bias_O = linear.weight, linear.bias
        if norm.weight is not None:
            weight_OD, bias_O = weight_OD * norm.weight, bias_O + weight_OD @ norm.bias
        weight_OD = weight_OD @ q_DD
        if name == "qkv":
            bias_O = bias_O.clone()
            for part in (weight_OD, bias_O):
                values_HKx = part[-len(q_DD) :].view(heads, len(r_KK), -1)
                values_HKx.copy_(r_KK @ values_HKx)
        setattr(result, name, _linear(weight_OD, bias_O))
    weight_DHK = layer.out.weight.unflatten(1, (heads, -1)) @ r_KK
    result.out = _linear(q_DD @ weight_DHK.flatten(1), q_DD @ layer.out.bias)
    result.fc2 = _linear(spread(q_DD @ layer.fc2.weight), q_DD @ layer.fc2.bias)
    return result


def _calibration(device: torch.device) -> Pack:
    """The same random proteins for every model."""
    rng = random.Random(0)
    proteins = ["".join(rng.choices([*SHARES], [*SHARES.values()], k=length)) for length in CALIBRATION]
    ids = torch.tensor([*esm2_tokens([protein.encode() for protein in proteins])], device=device)
    lengths = tuple(length + 2 for length in CALIBRATION)
    return Pack(ids, torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device), lengths)


def _linear(weight_OI: Tensor, bias_O: Tensor) -> nn.Linear:
    with Unfilled():
        layer = nn.Linear(0, 0)
    layer.weight, layer.bias = _fixed(weight_OI), _fixed(bias_O)
    return layer


def _fixed(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)
