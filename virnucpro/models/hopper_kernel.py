"""Matrix product for Hopper (sm_90), with what follows it done at its end (its epilogue, in CUTLASS's words).

That is GELU, the rotation of queries and keys, or the sum with the residual stream. And LayerNorm without weights may
be left to the product after it, since W ((x - mean) scale) = (W x - mean W 1) scale.

A program stays on its multiprocessor and takes tile after tile of y. Its warps share the work: one fetches operands
(TMA), eight multiply, two finish. So what is done to y costs the tensor cores no time, as long as it takes less than
the next tile's product. From those that multiply to those that finish a tile goes through shared memory in four parts.

                 full             y_full
    fetch 1 warp -----> multiply 8 -----> finish 2 ----> y
                 <-----          <-----
                 empty            y_free: there is room, or what y is added to is there

Written in Gluon, which comes with Triton 3.6. No torch here. Axes: T tokens, I inputs, O outputs, P parts of O; J pairs
of a head.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from virnucpro.models.hopper_finish import ADD, PARTS, finish
from virnucpro.models.launch import Launch, type_name
from virnucpro.models.shared_triton import tile_at

TOKENS, OUTPUTS = 128, 256  # of a tile of y: what the registers of eight warps hold
PART: int = OUTPUTS // PARTS.value  # outputs of a part
STEP = 128  # bytes of a row of operands that are fetched at once: the widest swizzle
STAGES = 3  # steps of operands in shared memory
FINISHERS, FINISHER_REGISTERS = 2, 64  # 12 warps in all: more would leave those that multiply too few registers
GROUP = 8  # tiles of tokens that share weights in the L2 cache
TYPES = {"float16": gl.float16, "bfloat16": gl.bfloat16, "int8": gl.int8}  # of operands, by torch's names
_ADD = gl.constexpr(ADD)


@gluon.jit
def _fetch(x_desc, w_desc, x_s, w_s, full, empty, tiles_t, tiles_o, steps, GROUP: gl.constexpr):
    """Bring operands into shared memory as soon as there is room."""
    STAGES: gl.constexpr = x_s.shape[0]
    number = 0
    for tile in range(gl.program_id(0), tiles_t * tiles_o, gl.num_programs(0)):
        t, o = tile_at(tile, tiles_t, tiles_o, GROUP)
        for step in range(steps):
            slot = number % STAGES
            mbarrier.wait(empty.index(slot), ((number // STAGES) & 1) ^ 1)
            bar = full.index(slot)
            mbarrier.expect(bar, x_desc.block_type.nbytes + w_desc.block_type.nbytes)
            tma.async_copy_global_to_shared(
                x_desc, [t * x_desc.block_type.shape[0], step * x_desc.block_type.shape[1]], bar, x_s.index(slot)
            )
            tma.async_copy_global_to_shared(
                w_desc, [o * w_desc.block_type.shape[0], step * w_desc.block_type.shape[1]], bar, w_s.index(slot)
            )
            number += 1


@gluon.jit
def _multiply(
    x_s, w_s, y_s, columns_s, full, empty, y_full, y_free, x_scales_ptr, means_ptr, factors_ptr, bias_ptr,
    tokens, outputs, normed, do, tiles_t, tiles_o, steps, GROUP: gl.constexpr,
):  # fmt: skip
    """Sum products in registers; a step is multiplied while the operands of the next are waited for.

    Args:
        columns_s: Shared memory for the bias and the factors of a tile's outputs.
        full, empty: Of each slot of operands, whether it has them and whether it is done with.
        y_full, y_free: As `hopper_finish.finish`; the rest as `product_kernel`.
    """
    STAGES: gl.constexpr = x_s.shape[0]
    BLOCK_T: gl.constexpr = x_s.shape[1]
    BLOCK_O: gl.constexpr = w_s.shape[1]
    INTEGERS: gl.constexpr = x_s.dtype == gl.int8
    SUM: gl.constexpr = gl.int32 if INTEGERS else gl.float32
    # Of the powers of two that Triton has for integers, half of a tile is the widest.
    INSTRUCTION: gl.constexpr = [16, BLOCK_O // 2 if INTEGERS else BLOCK_O, 32 if INTEGERS else 16]
    layout: gl.constexpr = gl.NVMMADistributedLayout(version=[3, 0], warps_per_cta=[8, 1], instr_shape=INSTRUCTION)
    columns_layout: gl.constexpr = gl.BlockedLayout([1], [32], [8], [0])
    number = 0  # steps
    done = 0  # tiles
    for tile in range(gl.program_id(0), tiles_t * tiles_o, gl.num_programs(0)):
        t, o = tile_at(tile, tiles_t, tiles_o, GROUP)
        # Loaded now and needed at the end, so nobody waits for them.
        rows = t * BLOCK_T + gl.arange(0, BLOCK_T, layout=gl.SliceLayout(1, layout))
        columns = o * BLOCK_O + gl.arange(0, BLOCK_O, layout=columns_layout)
        bias = gl.load(bias_ptr + columns, mask=columns < outputs, other=0.0).to(gl.float32)
        factors = bias
        scales = gl.full((BLOCK_T,), 1.0, gl.float32, layout=gl.SliceLayout(1, layout))
        means = scales
        if INTEGERS | (normed != 0):
            scales = gl.load(x_scales_ptr + rows, mask=rows < tokens, other=0.0)
            factors = gl.load(factors_ptr + columns, mask=columns < outputs, other=0.0)
        if normed != 0:
            means = gl.load(means_ptr + rows, mask=rows < tokens, other=0.0)
        slot = number % STAGES
        mbarrier.wait(full.index(slot), (number // STAGES) & 1)
        sums = gl.zeros((BLOCK_T, BLOCK_O), SUM, layout=layout)
        sums = warpgroup_mma(x_s.index(slot), w_s.index(slot).permute((1, 0)), sums, use_acc=False, is_async=True)
        sums = warpgroup_mma_wait(1, deps=(sums,))
        number += 1
        for _ in range(1, steps):
            slot = number % STAGES
            mbarrier.wait(full.index(slot), (number // STAGES) & 1)
            sums = warpgroup_mma(x_s.index(slot), w_s.index(slot).permute((1, 0)), sums, is_async=True)
            sums = warpgroup_mma_wait(1, deps=(sums,))
            mbarrier.arrive(empty.index((number - 1) % STAGES), count=1)
            number += 1
        sums = warpgroup_mma_wait(0, deps=(sums,))
        mbarrier.arrive(empty.index((number - 1) % STAGES), count=1)
        columns_s.index(0).store(bias)
        columns_s.index(1).store(factors)
        left, right = sums.reshape((BLOCK_T, 2, BLOCK_O // 2)).permute((0, 2, 1)).split()
        part0, part1 = left.reshape((BLOCK_T, 2, BLOCK_O // 4)).permute((0, 2, 1)).split()
        part2, part3 = right.reshape((BLOCK_T, 2, BLOCK_O // 4)).permute((0, 2, 1)).split()
        ways = (y_s, y_full, y_free)
        _hand_over(part0, 0, scales, means, columns_s, ways, done, normed, do)
        _hand_over(part1, 1, scales, means, columns_s, ways, done, normed, do)
        _hand_over(part2, 2, scales, means, columns_s, ways, done, normed, do)
        _hand_over(part3, 3, scales, means, columns_s, ways, done, normed, do)
        done += 1


@gluon.jit
def _hand_over(sums, part: gl.constexpr, scales, means, columns_s, ways, done, normed, do):
    """Scale a part of a tile, add the bias (for ADD the residual stream too), and leave it to `finish`."""
    y_s, y_full, y_free = ways
    layout: gl.constexpr = sums.type.layout
    WIDTH: gl.constexpr = sums.shape[1]
    y = sums.to(gl.float32)
    if sums.dtype == gl.int32:
        factors = columns_s.index(1).slice(part * WIDTH, WIDTH).load(gl.SliceLayout(0, layout))
        y *= gl.expand_dims(gl.convert_layout(scales, gl.SliceLayout(1, layout)), 1) * gl.expand_dims(factors, 0)
    elif normed != 0:
        factors = columns_s.index(1).slice(part * WIDTH, WIDTH).load(gl.SliceLayout(0, layout))
        y -= gl.expand_dims(gl.convert_layout(means, gl.SliceLayout(1, layout)), 1) * gl.expand_dims(factors, 0)
        y *= gl.expand_dims(gl.convert_layout(scales, gl.SliceLayout(1, layout)), 1)
    bias = columns_s.index(0).slice(part * WIDTH, WIDTH).load(gl.SliceLayout(0, layout))
    y += gl.expand_dims(bias, 0)
    if do == _ADD:
        mbarrier.wait(y_free.index(part), done & 1)
        y += y_s.index(part).load(layout).to(gl.float32)
    else:
        mbarrier.wait(y_free.index(part), (done & 1) ^ 1)
    y_s.index(part).store(y.to(y_s.dtype))
    fence_async_shared()
    mbarrier.arrive(y_full.index(part), count=1)


@gluon.jit(do_not_specialize=["tokens", "outputs", "inputs", "rotated", "half", "normed", "do"])
def product_kernel(
    x_desc, w_desc, y_desc, x_scales_ptr, means_ptr, factors_ptr, bias_ptr, cos_ptr, sin_ptr, sums_ptr,
    tokens, outputs, inputs, rotated, half, normed, do,
    STAGES: gl.constexpr, GROUP: gl.constexpr, FINISHERS: gl.constexpr, REGISTERS: gl.constexpr,
):  # fmt: skip
    """Multiply with one program a multiprocessor. What to do is told at run time, so it is compiled once for a type.

    Args:
        x_scales, means: Of each token, where x is `linear.Quantised` or `linear.Normed`; means of the latter alone.
        factors: Of each output, the scale of its 8-bit weights, or where x is `linear.Normed` the sum of its weights.
        sums: As `product_hopper.product` says of sums_TP2.
        rotated: How many outputs are queries and keys, the first ones. half: Pairs of a head.
        normed: Whether x is `linear.Normed`, so that the norm is left to do.
        do: NOTHING or another of `hopper_finish`.
    """
    BLOCK_T: gl.constexpr = x_desc.block_type.shape[0]
    BLOCK_I: gl.constexpr = x_desc.block_type.shape[1]
    BLOCK_O: gl.constexpr = w_desc.block_type.shape[0]
    tiles_t, tiles_o, steps = gl.cdiv(tokens, BLOCK_T), gl.cdiv(outputs, BLOCK_O), gl.cdiv(inputs, BLOCK_I)
    x_s = gl.allocate_shared_memory(x_desc.dtype, [STAGES, BLOCK_T, BLOCK_I], x_desc.layout)
    w_s = gl.allocate_shared_memory(w_desc.dtype, [STAGES, BLOCK_O, BLOCK_I], w_desc.layout)
    y_s = gl.allocate_shared_memory(y_desc.dtype, [PARTS, BLOCK_T, BLOCK_O // PARTS], y_desc.layout)
    columns_s = gl.allocate_shared_memory(
        gl.float32, [2, BLOCK_O], gl.SwizzledSharedLayout(1, 1, 1, [0])
    )  # bias, factors
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    y_full = gl.allocate_shared_memory(gl.int64, [PARTS, 1], mbarrier.MBarrierLayout())
    y_free = gl.allocate_shared_memory(gl.int64, [PARTS, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(STAGES):
        mbarrier.init(full.index(i), count=1)
        mbarrier.init(empty.index(i), count=1)
    for i in gl.static_range(PARTS):
        mbarrier.init(y_full.index(i), count=1)
        mbarrier.init(y_free.index(i), count=1)
    fence_async_shared()
    SUMS: gl.constexpr = x_desc.dtype != gl.int8
    # Not by names: a tuple with a name forgets which of its members are constants.
    gl.warp_specialize(
        [
            (_multiply, (
                x_s, w_s, y_s, columns_s, full, empty, y_full, y_free, x_scales_ptr, means_ptr, factors_ptr, bias_ptr,
                tokens, outputs, normed, do, tiles_t, tiles_o, steps, GROUP,
            )),
            (finish, (
                y_desc, y_s, y_full, y_free, cos_ptr, sin_ptr, sums_ptr, tokens, outputs, rotated, half, do,
                tiles_t, tiles_o, GROUP, SUMS,
            )),
            (_fetch, (x_desc, w_desc, x_s, w_s, full, empty, tiles_t, tiles_o, steps, GROUP)),
        ],
        [FINISHERS, 1],
        [REGISTERS, REGISTERS],
    )  # fmt: skip


def product(
    x_TI: Any, weight_OI: Any, y_TO: Any, x_scales_T: Any, means_T: Any, factors_O: Any, bias_O: Any, cos_TJ: Any,
    sin_TJ: Any, sums_TP2: Any, normed: bool, do: int, processors: int,
) -> Launch:  # fmt: skip
    """Launch `product_kernel`, which says what these are, on so many multiprocessors."""
    (tokens, inputs), outputs = x_TI.shape, len(weight_OI)
    step = STEP // TYPES[type_name(weight_OI)].primitive_bitwidth * 8
    arguments = (
        _blocks(x_TI, TOKENS, step), _blocks(weight_OI, OUTPUTS, step), _blocks(y_TO, TOKENS, PART),
        x_scales_T, means_T, factors_O, bias_O, cos_TJ, sin_TJ, sums_TP2,
        tokens, outputs, inputs, outputs // 3 * 2, cos_TJ.shape[-1], int(normed), do,
    )  # fmt: skip
    options = {
        "STAGES": STAGES,
        "GROUP": GROUP,
        "FINISHERS": FINISHERS,
        "REGISTERS": FINISHER_REGISTERS,
        "num_warps": 8,
    }
    return Launch(product_kernel, (processors,), arguments, options)


def _blocks(tensor: Any, rows: int, columns: int) -> TensorDescriptor:
    """Describe a tensor to TMA, which moves blocks of so many rows and columns."""
    return TensorDescriptor.from_tensor(tensor, [rows, columns], _layout(type_name(tensor), rows, columns))


@lru_cache
def _layout(dtype: str, rows: int, columns: int) -> gl.NVMMASharedLayout:
    return gl.NVMMASharedLayout.get_default_for([rows, columns], TYPES[dtype])
