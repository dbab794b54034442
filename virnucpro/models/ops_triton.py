"""The fused steps in Triton; import only where CUDA is in use. See `ops` for what they compute."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from virnucpro.models.linear import Products

WARPS = 4  # of 4, 8 and 16 the fastest on an H200 at the 3B model's width
GELU_BLOCK = 2048  # elements a program


@triton.jit
def _add_norm(
    x_ptr, delta_ptr, weight_ptr, bias_ptr, sum_ptr, out_ptr, width, eps, HAS_DELTA: tl.constexpr, BLOCK: tl.constexpr
):
    """One program a token: sum = x + delta, out = LayerNorm(sum), in float32 between load and store."""
    row = tl.program_id(0).to(tl.int64) * width
    column = tl.arange(0, BLOCK)
    inside = column < width
    x = tl.load(x_ptr + row + column, mask=inside, other=0.0).to(tl.float32)
    if HAS_DELTA:
        x += tl.load(delta_ptr + row + column, mask=inside, other=0.0).to(tl.float32)
        tl.store(sum_ptr + row + column, x.to(sum_ptr.dtype.element_ty), mask=inside)
    centred = tl.where(inside, x - tl.sum(x) / width, 0.0)
    scaled = centred * tl.rsqrt(tl.sum(centred * centred) / width + eps)
    weight = tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + row + column, (scaled * weight + bias).to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _rotate(
    qkv_ptr, cos_ptr, sin_ptr,
    HEADS: tl.constexpr, HEADS_BLOCK: tl.constexpr, HALF: tl.constexpr, HALF_BLOCK: tl.constexpr,
):  # fmt: skip
    """One program a token: queries and keys rotated in place; the first half of a head pairs with the second."""
    token = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, HEADS_BLOCK)[:, None]  # of the queries, then of the keys
    pair = tl.arange(0, HALF_BLOCK)[None]
    inside = (head < 2 * HEADS) & (pair < HALF)
    cos = tl.load(cos_ptr + token * HALF + pair, mask=pair < HALF)
    sin = tl.load(sin_ptr + token * HALF + pair, mask=pair < HALF)
    first = qkv_ptr + token * 3 * HEADS * 2 * HALF + head * 2 * HALF + pair
    a = tl.load(first, mask=inside).to(tl.float32)
    b = tl.load(first + HALF, mask=inside).to(tl.float32)
    tl.store(first, (a * cos - b * sin).to(qkv_ptr.dtype.element_ty), mask=inside)
    tl.store(first + HALF, (b * cos + a * sin).to(qkv_ptr.dtype.element_ty), mask=inside)


# erf(z) = 1 - poly(1 / (1 + p z)) exp(-z^2) for z >= 0, to 1.5e-7: Abramowitz and Stegun 7.1.26, in fewer instructions
# than the library's erf, and in place.
@triton.jit
def _gelu(x):
    """Exact (erf) GELU to 4e-7: x times the share of a normal distribution below x."""
    z = tl.abs(x) * 0.7071067811865476
    t = 1.0 / (1.0 + 0.3275911 * z)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    beyond = 0.5 * poly * tl.exp2(-1.4426950408889634 * z * z)  # the share beyond |x|
    return tl.where(x > 0, x - x * beyond, x * beyond)


@triton.jit
def _gelu_in_place(x_ptr, count, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    x = tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(x_ptr + place, _gelu(x).to(x_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _gated_gelu(x_ptr, out_ptr, width, BLOCK: tl.constexpr):
    """One program a token and block of columns: GELU of the first half of a row, times the second."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    gate = tl.load(x_ptr + row * 2 * width + column, mask=inside, other=0.0).to(tl.float32)
    value = tl.load(x_ptr + row * 2 * width + width + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + row * width + column, (_gelu(gate) * value).to(out_ptr.dtype.element_ty), mask=inside)


class Fused(Products):
    """`ops.Ops` by these kernels; `rotate` and `gelu` work in place."""

    @staticmethod
    def add_norm(x_TD: Tensor, delta_TD: Tensor | None, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
        tokens, width = x_TD.shape
        out_TD = torch.empty_like(x_TD)
        # The sum may take the place of what was added: nobody needs that again.
        sum_TD = x_TD if delta_TD is None else delta_TD
        _add_norm[(tokens,)](
            x_TD, delta_TD, norm.weight, norm.bias, sum_TD, out_TD, width, norm.eps,
            HAS_DELTA=delta_TD is not None, BLOCK=triton.next_power_of_2(width), num_warps=WARPS,
        )  # fmt: skip
        return sum_TD, out_TD

    @staticmethod
    def rotate(qkv_T3HK: Tensor, cos_TJ: Tensor, sin_TJ: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        tokens, _, heads, size = qkv_T3HK.shape
        _rotate[(tokens,)](
            qkv_T3HK, cos_TJ, sin_TJ,
            HEADS=heads, HEADS_BLOCK=triton.next_power_of_2(2 * heads),
            HALF=size // 2, HALF_BLOCK=triton.next_power_of_2(size // 2), num_warps=WARPS,
        )  # fmt: skip
        return qkv_T3HK.unbind(1)

    @staticmethod
    def gelu(x_TF: Tensor) -> Tensor:
        _gelu_in_place[(triton.cdiv(x_TF.numel(), GELU_BLOCK),)](x_TF, x_TF.numel(), BLOCK=GELU_BLOCK, num_warps=WARPS)
        return x_TF

    @staticmethod
    def gated_gelu(x_T2F: Tensor) -> Tensor:
        tokens, width = len(x_T2F), x_T2F.shape[1] // 2
        out_TF = torch.empty(tokens, width, device=x_T2F.device, dtype=x_T2F.dtype)
        grid = tokens, triton.cdiv(width, GELU_BLOCK)
        _gated_gelu[grid](x_T2F, out_TF, width, BLOCK=GELU_BLOCK, num_warps=WARPS)
        return out_TF
