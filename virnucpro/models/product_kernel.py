"""8-bit product in plain Triton, for GPUs that `hopper_kernel` is not written for. No torch here.

Axes: T tokens, I inputs, O outputs.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from virnucpro.models.launch import Launch
from virnucpro.models.shared_triton import gelu as gelu_of
from virnucpro.models.shared_triton import spread, tile_at

# A program multiplies a tile of so many tokens and outputs, so many inputs at a time; GROUP is as `tile_at` says.
TOKENS, OUTPUTS, INPUTS, GROUP = 128, 128, 64, 8
WARPS, STAGES = 8, 3


@triton.jit(do_not_specialize=["tokens"])
def _product(
    x_ptr, weight_ptr, x_scales_ptr, scales_ptr, bias_ptr, y_ptr, tokens, outputs, inputs,
    BLOCK_T: tl.constexpr, BLOCK_O: tl.constexpr, BLOCK_I: tl.constexpr, GROUP: tl.constexpr,
    GELU: tl.constexpr, SPREADS: tl.constexpr,
):  # fmt: skip
    """Compute one tile of y, a program each: sums in int32, scaled at the end."""
    tiles_t, tiles_o = tl.cdiv(tokens, BLOCK_T), tl.cdiv(outputs, BLOCK_O)
    tile_t, tile_o = tile_at(tl.program_id(0), tiles_t, tiles_o, GROUP)
    t = tile_t * BLOCK_T + tl.arange(0, BLOCK_T)
    o = tile_o * BLOCK_O + tl.arange(0, BLOCK_O)
    i = tl.arange(0, BLOCK_I)
    x_ptrs = x_ptr + t[:, None].to(tl.int64) * inputs + i[None]
    weight_ptrs = weight_ptr + o[None].to(tl.int64) * inputs + i[:, None]
    sums = tl.zeros((BLOCK_T, BLOCK_O), tl.int32)
    for start in range(0, inputs, BLOCK_I):
        inside = start + i < inputs
        x = tl.load(x_ptrs + start, mask=(t[:, None] < tokens) & inside[None], other=0)
        weight = tl.load(weight_ptrs + start, mask=(o[None] < outputs) & inside[:, None], other=0)
        sums = tl.dot(x, weight, sums, out_dtype=tl.int32)
    x_scales = tl.load(x_scales_ptr + t, mask=t < tokens, other=0.0)
    scales = tl.load(scales_ptr + o, mask=o < outputs, other=0.0)
    bias = tl.load(bias_ptr + o, mask=o < outputs, other=0.0)
    y = sums.to(tl.float32) * x_scales[:, None] * scales[None] + bias[None]
    if GELU:
        y = gelu_of(y)
    if SPREADS:
        y = spread(y, BLOCK_T, BLOCK_O)
    inside = (t[:, None] < tokens) & (o[None] < outputs)
    tl.store(y_ptr + t[:, None].to(tl.int64) * outputs + o[None], y.to(y_ptr.dtype.element_ty), mask=inside)


def product(
    x_TI: Any, x_scales_T: Any, weight_OI: Any, scales_O: Any, bias_O: Any, y_TO: Any, gelu: bool, spreads: bool
) -> Launch:
    """Launch `y = x W^T + b`, then GELU and `linear.spread` if wanted."""
    (tokens, inputs), outputs = x_TI.shape, len(weight_OI)
    programs = triton.cdiv(tokens, TOKENS) * triton.cdiv(outputs, OUTPUTS)
    arguments = (x_TI, weight_OI, x_scales_T, scales_O, bias_O, y_TO, tokens, outputs, inputs)
    options = {
        "BLOCK_T": TOKENS, "BLOCK_O": OUTPUTS, "BLOCK_I": INPUTS, "GROUP": GROUP, "GELU": gelu, "SPREADS": spreads,
        "num_warps": WARPS, "num_stages": STAGES,
    }  # fmt: skip
    return Launch(_product, (programs,), arguments, options)
