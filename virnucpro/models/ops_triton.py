"""The fused steps in Triton; import only where CUDA is in use. See `ops` for what they compute.

Axes: T tokens, D model width, I inputs, O outputs, F of the MLP; H heads, K per head, J = K / 2.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from virnucpro.models.gelu_triton import gelu, spread
from virnucpro.models.linear import GREATEST, LEAST_SCALE, Activations, Delta, Int8Linear, Linear, Products, Quantised
from virnucpro.models.pack import Tables
from virnucpro.models.product_triton import int8_product

WARPS = 4  # of 4, 8 and 16 the fastest on an H200 at the 3B model's width
WIDE, WIDE_WARPS = 4096, 8  # rows of more numbers than that have more warps
GELU_BLOCK = 2048  # elements a program
_LEAST, _GREATEST = tl.constexpr(LEAST_SCALE), tl.constexpr(float(GREATEST))


@triton.jit
def _add_norm(
    x_ptr, delta_ptr, weight_ptr, bias_ptr, sum_ptr, out_ptr, scales_ptr, width, eps, BLOCK: tl.constexpr
):  # fmt: skip
    """One program a token: sum = x + delta, out = LayerNorm(sum), in float32 between load and store.

    With scales, out is of 8-bit numbers.
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
        scale = _scale(tl.max(tl.abs(y)), tl.sum(y * 0.0))
        tl.store(scales_ptr + token, scale)
        tl.store(out_ptr + row + column, _rounded(y / scale), mask=inside)


@triton.jit
def _scale(top, nothing):
    """Scale of a row whose largest number is `top`; NaN, which a maximum passes over, comes with the zeros' sum."""
    return tl.maximum(top, _LEAST) / _GREATEST + nothing


@triton.jit
def _rounded(x):
    """The nearest 8-bit number, ties to even: adding 1.5 * 2^23 leaves no bits behind the point."""
    return ((x + 12582912.0) - 12582912.0).to(tl.int8)


@triton.jit
def _quantise(x_ptr, out_ptr, scales_ptr, width, BLOCK: tl.constexpr):
    """One program a token."""
    token = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < width
    x = tl.load(x_ptr + token * width + column, mask=inside, other=0.0).to(tl.float32)
    scale = _scale(tl.max(tl.abs(x)), tl.sum(x * 0.0))
    tl.store(scales_ptr + token, scale)
    tl.store(out_ptr + token * width + column, _rounded(x / scale), mask=inside)


@triton.jit
def _rotate(
    qkv_ptr, cos_ptr, sin_ptr,
    HEADS: tl.constexpr, HEADS_BLOCK: tl.constexpr, HALF: tl.constexpr, HALF_BLOCK: tl.constexpr,
):  # fmt: skip
    """One program a token: the pairs of queries and keys rotated in place."""
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
    turned = tl.join(a * cos - b * sin, b * cos + a * sin).reshape(HEADS_BLOCK, 2 * HALF_BLOCK)
    tl.store(place, turned.to(qkv_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _gelu_in_place(x_ptr, count, SPREADS: tl.constexpr, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    y = gelu(tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32))
    if SPREADS:
        y = spread(y.reshape(1, BLOCK), 1, BLOCK).reshape(BLOCK)
    tl.store(x_ptr + place, y.to(x_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _gated_gelu(x_ptr, out_ptr, width, BLOCK: tl.constexpr):
    """One program a token and block of columns: GELU of the first half of a row, times the second."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    gate = tl.load(x_ptr + row * 2 * width + column, mask=inside, other=0.0).to(tl.float32)
    value = tl.load(x_ptr + row * 2 * width + width + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + row * width + column, (gelu(gate) * value).to(out_ptr.dtype.element_ty), mask=inside)


class Fused:
    """`ops.Ops` by these kernels, with PyTorch's products but for 8-bit ones."""

    def linear(self, x_TI: Activations, layer: Linear) -> Tensor:
        return int8_product(quantised(x_TI), layer) if isinstance(layer, Int8Linear) else Products.linear(x_TI, layer)

    def linear_gelu(self, x_TI: Activations, layer: Linear, spreads: bool = False) -> Tensor:
        if isinstance(layer, Int8Linear):
            return int8_product(quantised(x_TI), layer, gelu=True, spreads=spreads)
        y_TF = Products.linear(x_TI, layer)
        grid = (triton.cdiv(y_TF.numel(), GELU_BLOCK),)
        _gelu_in_place[grid](y_TF, y_TF.numel(), SPREADS=spreads, BLOCK=GELU_BLOCK, num_warps=WARPS)
        return y_TF

    def linear_rotated(
        self, x_TI: Activations, layer: Linear, heads: int, angles_TJ: Tables
    ) -> tuple[Tensor, Tensor, Tensor]:
        qkv_TE = self.linear(x_TI, layer)
        rotate(qkv_TE, *angles_TJ)
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
        tokens, width = x_TD.shape
        _add_norm[(tokens,)](
            x_TD, delta_TD, norm.weight, norm.bias, sum_TD, out_TD, scales_T, width, norm.eps,
            BLOCK=triton.next_power_of_2(width), num_warps=WARPS,
        )  # fmt: skip
        return sum_TD

    @staticmethod
    def gated_gelu(x_T2F: Tensor) -> Tensor:
        tokens, width = len(x_T2F), x_T2F.shape[1] // 2
        out_TF = torch.empty(tokens, width, device=x_T2F.device, dtype=x_T2F.dtype)
        grid = tokens, triton.cdiv(width, GELU_BLOCK)
        _gated_gelu[grid](x_T2F, out_TF, width, BLOCK=GELU_BLOCK, num_warps=WARPS)
        return out_TF


def quantised(x_TI: Activations) -> Quantised:
    """`linear.quantise` in one pass, unless the step before has done it."""
    if isinstance(x_TI, Quantised):
        return x_TI
    tokens, width = x_TI.shape
    values_TI = torch.empty_like(x_TI, dtype=torch.int8)
    scales_T = torch.empty(tokens, device=x_TI.device)
    warps = WARPS if width <= WIDE else WIDE_WARPS
    _quantise[(tokens,)](x_TI, values_TI, scales_T, width, BLOCK=triton.next_power_of_2(width), num_warps=warps)
    return Quantised(values_TI, scales_T)


def rotate(qkv_TE: Tensor, cos_TJ: Tensor, sin_TJ: Tensor) -> None:
    """Rotate the queries and keys of each row in place, E = 3 H K."""
    tokens, width = qkv_TE.shape
    half = cos_TJ.shape[1]
    heads = width // 6 // half
    _rotate[(tokens,)](
        qkv_TE, cos_TJ, sin_TJ, HEADS=heads, HEADS_BLOCK=triton.next_power_of_2(2 * heads),
        HALF=half, HALF_BLOCK=triton.next_power_of_2(half), num_warps=WARPS,
    )  # fmt: skip


def apart(qkv_TE: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, (T, H, K) each."""
    q_THK, k_THK, v_THK = qkv_TE.unflatten(1, (3, heads, -1)).unbind(1)
    return q_THK, k_THK, v_THK
