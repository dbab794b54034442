"""Attention over a pack as one Triton kernel, forward only, and how it is launched. No torch here.

What FlashAttention-2's variable-length kernel spends on short sequences is saved: blocks may be smaller, no program
starts for places that no sequence reaches.

Axes: T tokens of the pack, S sequences, H heads, K width of a head; P tiles, each a block of queries of one sequence.

    sequence 0: 150 tokens    sequence 1: 70    tiles of 64 queries, the programs of each: one a head
    |--- 64 ---|--- 64 ---|22|--- 64 ---|6|
      tile 0     tile 1    2   tile 3    4      program = tile * H + head

A pack comes with its longest sequence first, and tiles keep that order: the long programs start early, the short ones
fill the gaps at the end. All heads of a tile run together and read whole rows of the pack; the tiles of one sequence
follow each other, so that its keys and values are still in the L2 cache.
"""

from __future__ import annotations

import math
from typing import Any

import triton
import triton.language as tl

from virnucpro.models.launch import Launch

WIDTHS = (16, 32, 64, 128)  # tl.dot wants powers of two, 16 at least
LOG2E = math.log2(math.e)  # the GPU has an instruction for powers of two, not of e
QUERIES, KEYS = 64, 64  # of a tile, of a step: of 32 to 128 the fastest for all lengths on an H100 and an H200
WARPS = 4
# Compiled three ways, each the fastest for packs whose longest sequence has so many tokens at most. Beside that: how
# many blocks of keys are loaded at a time, and how many registers a thread may have: 96 let five programs share a
# multiprocessor, 128 four.
CUTS = ((128, 1, 96), (256, 2, 128), (math.inf, 1, 96))


@triton.jit
def _attend(
    q_ptr, k_ptr, v_ptr, y_ptr, tiles_ptr, slopes_ptr, q_stride, k_stride, v_stride, heads, scale, slope_unit,
    WIDTH: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, SINGLE: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Attend with the queries of one tile and head, a program each.

    Scores stay in units of q k^T, and so do ALiBi's slopes; `scale` takes them to the softmax's powers of two.

    SINGLE: no sequence has more than one block of keys, so no memory need be set aside for the loads of a loop.
    """
    tile = tiles_ptr + tl.program_id(0) // heads * 3
    head = tl.program_id(0) % heads
    begin, length, first = tl.load(tile).to(tl.int64), tl.load(tile + 1), tl.load(tile + 2)
    number = head * WIDTH + tl.arange(0, WIDTH)[None]
    q_ptr += begin * q_stride
    k_ptr += begin * k_stride
    v_ptr += begin * v_stride
    query = first + tl.arange(0, BLOCK_M)
    slope = 0.0 if slopes_ptr is None else tl.load(slopes_ptr + head) * slope_unit

    # The last block of keys is the only one that may be ragged. It goes first: the running maximum and sum start from
    # it, nothing needs rescaling yet, and a sequence of one block is done with it.
    last = (length - 1) // BLOCK_N * BLOCK_N
    key = last + tl.arange(0, BLOCK_N)
    inside = key[:, None] < length
    # Masked too, as 0 * nan is nan: what follows the sequence must not matter, whatever it is.
    v = tl.load(v_ptr + key[:, None] * v_stride + number, mask=inside, other=0.0)
    k = tl.load(k_ptr + key[:, None] * k_stride + number, mask=inside, other=0.0)
    q = tl.load(q_ptr + query[:, None] * q_stride + number, mask=query[:, None] < length, other=0.0)
    s = _scores(q, k, query, key, slope, slopes_ptr)
    s = tl.where(key[None] < length, s, -float("inf"))
    top = tl.max(s, axis=1) * scale
    p = tl.exp2(s * scale - top[:, None])
    total = tl.sum(p, axis=1)
    y = tl.dot(p.to(v.dtype), v)

    if not SINGLE:
        for start in tl.range(0, last, BLOCK_N, num_stages=STAGES):
            key = start + tl.arange(0, BLOCK_N)
            v = tl.load(v_ptr + key[:, None] * v_stride + number)
            k = tl.load(k_ptr + key[:, None] * k_stride + number)
            s = _scores(q, k, query, key, slope, slopes_ptr)
            new_top = tl.maximum(top, tl.max(s, axis=1) * scale)
            shrink = tl.exp2(top - new_top)
            p = tl.exp2(s * scale - new_top[:, None])
            total = total * shrink + tl.sum(p, axis=1)
            y = tl.dot(p.to(v.dtype), v, y * shrink[:, None])
            top = new_top

    y_row = y_ptr + (begin * heads + head) * WIDTH + query[:, None] * heads * WIDTH
    tl.store(y_row + tl.arange(0, WIDTH)[None], (y / total[:, None]).to(v.dtype), mask=query[:, None] < length)


@triton.jit
def _scores(q, k, query, key, slope, slopes_ptr):
    """Compute q k^T less ALiBi's bias: float32 (BLOCK_M, BLOCK_N)."""
    s = tl.dot(q, tl.trans(k))
    if slopes_ptr is not None:
        s -= slope * tl.abs(query[:, None] - key[None]).to(tl.float32)
    return s


def attend(q_THK: Any, k_THK: Any, v_THK: Any, y_THK: Any, tiles_P3: Any, slopes_H: Any, longest: int) -> Launch:
    """Launch attention over a pack, into y_THK.

    Args:
        tiles_P3: Of each tile the first token of its sequence, that one's length, and its first query; int32.
        slopes_H: ALiBi's slopes, float32; None without ALiBi.
        longest: Tokens of the longest sequence.
    """
    _, heads, width = q_THK.shape
    stages, registers = next(cut for most, *cut in CUTS if longest <= most)
    strides = (each.stride(0) for each in (q_THK, k_THK, v_THK))
    scale, slope_unit = LOG2E / math.sqrt(width), math.sqrt(width)
    arguments = (q_THK, k_THK, v_THK, y_THK, tiles_P3, slopes_H, *strides, heads, scale, slope_unit)
    options = {
        "WIDTH": width, "BLOCK_M": QUERIES, "BLOCK_N": KEYS, "SINGLE": longest <= KEYS, "STAGES": stages,
        "num_warps": WARPS, "num_stages": stages, "maxnreg": registers if width <= 64 else None,
    }  # fmt: skip
    return Launch(_attend, (len(tiles_P3) * heads,), arguments, options)
