"""Steps of rows in Triton: the kernels, and how each is launched. No torch here; see `ops` for what they compute.

Axes: T tokens, D model width, F of the MLP; H heads, K per head, J = K / 2; P parts of a row.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from virnucpro.models.catalog import GREATEST, LEAST_SCALE
from virnucpro.models.launch import Launch
from virnucpro.models.shared_triton import gelu as gelu_of
from virnucpro.models.shared_triton import spread

WARPS = 4  # of a program: of 4, 8 and 16 the fastest on an H200 at the 3B model's width
WIDE, WIDE_WARPS = 4096, 8  # rows of more than WIDE numbers have WIDE_WARPS
GELU_BLOCK = 2048  # numbers of a program
MOMENT_TOKENS = 32  # of a program
# Named in kernels, never in what they call: else Triton 3.6 keeps a kernel under one key or another, by what has been
# compiled before it.
_LEAST, _GREATEST = tl.constexpr(LEAST_SCALE), tl.constexpr(float(GREATEST))


@triton.jit
def _add_norm(
    x_ptr, delta_ptr, weight_ptr, bias_ptr, sum_ptr, out_ptr, scales_ptr, width, eps, BLOCK: tl.constexpr
):  # fmt: skip
    """Compute sum = x + delta and out = LayerNorm(sum), a program a token, in float32 between load and store.

    With scales, out is rounded to 8-bit numbers.
    """
    token = tl.program_id(0).to(tl.int64)
    row = token * width
    column = tl.arange(0, BLOCK)
    inside = column < width
    x = tl.load(x_ptr + row + column, mask=inside, other=0.0).to(tl.float32)
    if delta_ptr is not None:
        x += tl.load(delta_ptr + row + column, mask=inside, other=0.0).to(tl.float32)
        tl.store(sum_ptr + row + column, x.to(sum_ptr.dtype.element_ty), mask=inside)
    centred = tl.where(inside, x - tl.sum(x) / width, 0.0)
    y = centred * tl.rsqrt(tl.sum(centred * centred) / width + eps)
    if weight_ptr is not None:
        weight = tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
        bias = tl.load(bias_ptr + column, mask=inside, other=0.0).to(tl.float32)
        y = y * weight + bias
    if scales_ptr is None:
        tl.store(out_ptr + row + column, y.to(out_ptr.dtype.element_ty), mask=inside)
    else:
        scale = _scale(tl.max(tl.abs(y)), tl.sum(y * 0.0), _LEAST, _GREATEST)
        tl.store(scales_ptr + token, scale)
        tl.store(out_ptr + row + column, _rounded(y / scale), mask=inside)


@triton.jit
def _scale(top, zero, least, greatest):
    """Compute the scale of a row whose largest number is `top`; `zero` is NaN if one is, which maxima pass over."""
    return tl.maximum(top, least) / greatest + zero


@triton.jit
def _rounded(x):
    """Round to the nearest 8-bit number, ties to even: adding 1.5 * 2^23 leaves no bits behind the point."""
    return ((x + 12582912.0) - 12582912.0).to(tl.int8)


@triton.jit
def _quantise(x_ptr, out_ptr, scales_ptr, width, BLOCK: tl.constexpr):
    """Round a row to 8-bit numbers as `linear.quantise` does, a program a token."""
    token = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < width
    x = tl.load(x_ptr + token * width + column, mask=inside, other=0.0).to(tl.float32)
    scale = _scale(tl.max(tl.abs(x)), tl.sum(x * 0.0), _LEAST, _GREATEST)
    tl.store(scales_ptr + token, scale)
    tl.store(out_ptr + token * width + column, _rounded(x / scale), mask=inside)


@triton.jit
def _rotate(
    qkv_ptr, cos_ptr, sin_ptr,
    HEADS: tl.constexpr, HEADS_BLOCK: tl.constexpr, HALF: tl.constexpr, HALF_BLOCK: tl.constexpr,
):  # fmt: skip
    """Rotate the pairs of queries and keys in place, a program a token."""
    token = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, HEADS_BLOCK)[:, None]  # of the queries, then of the keys
    number = tl.arange(0, 2 * HALF_BLOCK)[None]
    pair = tl.arange(0, HALF_BLOCK)[None]
    place = qkv_ptr + (token * 3 * HEADS + head) * 2 * HALF + number
    inside = (head < 2 * HEADS) & (number < 2 * HALF)
    cos = tl.load(cos_ptr + token * HALF + pair, mask=pair < HALF)
    sin = tl.load(sin_ptr + token * HALF + pair, mask=pair < HALF)
    x = tl.load(place, mask=inside, other=0.0).to(tl.float32)
    a, b = tl.split(x.reshape(HEADS_BLOCK, HALF_BLOCK, 2))
    rotated = tl.join(a * cos - b * sin, b * cos + a * sin).reshape(HEADS_BLOCK, 2 * HALF_BLOCK)
    tl.store(place, rotated.to(qkv_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _gelu_in_place(x_ptr, count, SPREADS: tl.constexpr, BLOCK: tl.constexpr):
    """Apply GELU to a block of numbers, then `spread` if wanted, a program each."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    y = gelu_of(tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32))
    if SPREADS:
        y = spread(y.reshape(1, BLOCK), 1, BLOCK).reshape(BLOCK)
    tl.store(x_ptr + place, y.to(x_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _gated_gelu(x_ptr, out_ptr, width, BLOCK: tl.constexpr):
    """Multiply GELU of the first half of a row by the second half, a program a token and block of columns."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    gate = tl.load(x_ptr + row * 2 * width + column, mask=inside, other=0.0).to(tl.float32)
    value = tl.load(x_ptr + row * 2 * width + width + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + row * width + column, (gelu_of(gate) * value).to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["tokens"])
def _moments(
    sums_ptr, means_ptr, scales_ptr, tokens, width, eps, parts, BLOCK_T: tl.constexpr, BLOCK_P: tl.constexpr
):  # fmt: skip
    """Compute the mean and 1 / standard deviation of each token from the sums of its parts.

    The difference below loses digits where the mean is large. But with a mean of 30 standard deviations the scale is
    off by less than FP16's rounding, and in a real ESM-2 means are a seventh of one at most (tests/test_moments.py).
    """
    token = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    part = tl.arange(0, BLOCK_P)[None]
    inside = (token[:, None] < tokens) & (part < parts)
    place = sums_ptr + (token[:, None].to(tl.int64) * parts + part) * 2
    mean = tl.sum(tl.load(place, mask=inside, other=0.0), axis=1) / width
    square = tl.sum(tl.load(place + 1, mask=inside, other=0.0), axis=1) / width
    tl.store(means_ptr + token, mean, mask=token < tokens)
    tl.store(scales_ptr + token, tl.rsqrt(tl.maximum(square - mean * mean, 0.0) + eps), mask=token < tokens)


def add_norm(
    x_TD: Any, delta_TD: Any, weight_D: Any, bias_D: Any, sum_TD: Any, out_TD: Any, scales_T: Any, eps: float
) -> Launch:
    """Launch sum = x + delta, or x where there is no delta, and its LayerNorm, of 8-bit numbers where it has scales."""
    tokens, width = x_TD.shape
    arguments = (x_TD, delta_TD, weight_D, bias_D, sum_TD, out_TD, scales_T, width, eps)
    return Launch(_add_norm, (tokens,), arguments, {"BLOCK": triton.next_power_of_2(width), "num_warps": WARPS})


def moments(sums_TP2: Any, means_T: Any, scales_T: Any, width: int, eps: float) -> Launch:
    """Launch what a LayerNorm asks of each token, from the sums that `hopper_kernel` leaves."""
    tokens, parts, _ = sums_TP2.shape
    arguments = (sums_TP2, means_T, scales_T, tokens, width, eps, parts)
    blocks = {"BLOCK_T": MOMENT_TOKENS, "BLOCK_P": triton.next_power_of_2(parts)}
    return Launch(_moments, (triton.cdiv(tokens, MOMENT_TOKENS),), arguments, blocks)


def quantise(x_TD: Any, out_TD: Any, scales_T: Any) -> Launch:
    """Launch `linear.quantise`."""
    tokens, width = x_TD.shape
    warps = WARPS if width <= WIDE else WIDE_WARPS
    options = {"BLOCK": triton.next_power_of_2(width), "num_warps": warps}
    return Launch(_quantise, (tokens,), (x_TD, out_TD, scales_T, width), options)


def rotate(qkv_TE: Any, cos_TJ: Any, sin_TJ: Any) -> Launch:
    """Launch the rotation of queries and keys, in place; E = 3 H K."""
    (tokens, width), half = qkv_TE.shape, cos_TJ.shape[1]
    heads = width // 6 // half
    blocks = {"HEADS_BLOCK": triton.next_power_of_2(2 * heads), "HALF_BLOCK": triton.next_power_of_2(half)}
    return Launch(
        _rotate, (tokens,), (qkv_TE, cos_TJ, sin_TJ), {"HEADS": heads, "HALF": half, **blocks, "num_warps": WARPS}
    )


def gelu(x_TF: Any, spreads: bool) -> Launch:
    """Launch GELU in place, then `spread` if wanted."""
    count = x_TF.numel()
    options = {"SPREADS": spreads, "BLOCK": GELU_BLOCK, "num_warps": WARPS}
    return Launch(_gelu_in_place, (triton.cdiv(count, GELU_BLOCK),), (x_TF, count), options)


def gated_gelu(x_T2F: Any, out_TF: Any) -> Launch:
    """Launch GELU of the first half of each row, times the second half."""
    tokens, width = out_TF.shape
    grid = tokens, triton.cdiv(width, GELU_BLOCK)
    return Launch(_gated_gelu, grid, (x_T2F, out_TF, width), {"BLOCK": GELU_BLOCK, "num_warps": WARPS})
