"""Attention over a pack as one Triton kernel, forward only; import only where CUDA is in use.

What FlashAttention-2's variable-length kernel spends on short sequences is saved: blocks may be smaller, no program
starts for places that no sequence reaches, and the rotation needs no pass of its own.

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

import torch
import triton
import triton.language as tl
from torch import Tensor

from virnucpro.models.pack import Pack

WIDTHS = (16, 32, 64, 128)  # tl.dot wants powers of two, 16 at least
LOG2E = math.log2(math.e)  # the GPU has an instruction for powers of two, not of e


# How a pack is cut: queries a tile, keys a step. Of 15 cuts the fastest on an H200 (torch 2.11, Triton 3.6) for packs
# of short, mixed and equal proteins, and all but the fastest for long ones and DNA. The limit of registers lets four
# programs share a multiprocessor.
QUERIES, KEYS = 64, 64
WARPS, STAGES, REGISTERS = 4, 1, 128


def supports(heads_width: int) -> bool:
    """Whether the kernel can attend with heads of this width; its types are FP16 and BF16."""
    return heads_width in WIDTHS


def packed_attention(
    qkv_T3HK: Tensor, pack: Pack, rotary: tuple[Tensor, Tensor] | None = None, slopes_H: Tensor | None = None
) -> Tensor:
    """Softmax(q k^T / sqrt(K) - slope |i - j|) v within each sequence, with float32 sums and softmax.

    Args:
        qkv_T3HK: Queries, keys and values of FP16 or BF16, contiguous, on the current CUDA device.
        rotary: Cosines and sines, float32 (places, K / 2), a row for each place in a sequence; queries and keys are
            rotated by them in float32 and rounded to their own type, as `Plain.rotate` does.
        slopes_H: ALiBi's slopes, float32; none without.
    Returns:
        Tensor: (T, H, K), contiguous, of the queries' type. The host waits for nothing.
    """
    tokens, _, heads, width = qkv_T3HK.shape
    assert supports(width) and qkv_T3HK.is_contiguous()
    cos, sin = rotary or (None, None)
    assert rotary is None or (cos.is_contiguous() and sin.is_contiguous() and len(cos) >= pack.max_seqlen)
    tiles_P3 = _tiles(pack)
    y_THK = torch.empty(tokens, heads, width, dtype=qkv_T3HK.dtype, device=qkv_T3HK.device)
    _attend[(len(tiles_P3) * heads,)](
        qkv_T3HK, y_THK, tiles_P3, cos, sin, slopes_H, heads, LOG2E / math.sqrt(width), math.sqrt(width),
        WIDTH=width, BLOCK_M=QUERIES, BLOCK_N=KEYS, SINGLE=pack.max_seqlen <= KEYS,
        num_warps=WARPS, num_stages=STAGES, maxnreg=REGISTERS if width <= 64 else None,
    )  # fmt: skip
    return y_THK


def _tiles(pack: Pack) -> Tensor:
    """List of each tile: first token of its sequence, length of it, first query in it; int32 (P, 3)."""
    kept = vars(pack)  # every layer asks again; kept where the pack keeps its cached properties, and gone with it
    if "tiles_P3" not in kept:
        begins_S, lengths_S = pack.cu_seqlens_S1[:-1], pack.cu_seqlens_S1.diff()
        tiles_S = (lengths_S + QUERIES - 1) // QUERIES
        # The device counts the tiles, and the host for itself, so that neither waits for the other.
        count = sum(-(-length // QUERIES) for length in pack.lengths)
        sequence_P = torch.arange(len(tiles_S), device=tiles_S.device).repeat_interleave(tiles_S, output_size=count)
        number_P = torch.arange(count, device=tiles_S.device) - (tiles_S.cumsum(0) - tiles_S)[sequence_P]
        tiles_P3 = torch.stack([begins_S[sequence_P], lengths_S[sequence_P], number_P * QUERIES], dim=1)
        kept["tiles_P3"] = tiles_P3.int()
    return kept["tiles_P3"]


@triton.jit
def _attend(
    qkv_ptr, y_ptr, tiles_ptr, cos_ptr, sin_ptr, slopes_ptr, heads, scale, slope_unit,
    WIDTH: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, SINGLE: tl.constexpr,
):  # fmt: skip
    """One program a tile and head. Scores stay in units of q k^T; `scale` takes them to the softmax's powers of two.

    SINGLE: no sequence has more than one block of keys, so no memory need be set aside for the loads of a loop.
    """
    tile = tiles_ptr + tl.program_id(0) // heads * 3
    head = tl.program_id(0) % heads
    begin, length, first = tl.load(tile).to(tl.int64), tl.load(tile + 1), tl.load(tile + 2)
    stride = 3 * heads * WIDTH
    q_ptr = qkv_ptr + begin * stride + head * WIDTH
    k_ptr = q_ptr + heads * WIDTH
    v_ptr = k_ptr + heads * WIDTH
    query = first + tl.arange(0, BLOCK_M)
    slope = 0.0 if slopes_ptr is None else tl.load(slopes_ptr + head) * slope_unit

    # The last block of keys is the only one that may be ragged. It goes first: the running maximum and sum start from
    # it, nothing needs rescaling yet, and a sequence of one block is done with it.
    last = (length - 1) // BLOCK_N * BLOCK_N
    key = last + tl.arange(0, BLOCK_N)
    # Masked too, as 0 * nan is nan: what follows the sequence must not matter, whatever it is.
    v = _rows(v_ptr, key, length, stride, None, None, WIDTH, True)
    k = _rows(k_ptr, key, length, stride, cos_ptr, sin_ptr, WIDTH, True)
    q = _rows(q_ptr, query, length, stride, cos_ptr, sin_ptr, WIDTH, True)
    if cos_ptr is not None:
        # Changes no number: past the end there are zeros already. But without it Triton 3.6 carries each of the four
        # loads through shared memory, one waiting for the other; with it, the rotated queries, once (seen in the SASS).
        q = tl.where(query[:, None] < length, q, 0.0)
    s = _scores(q, k, query, key, slope, slopes_ptr)
    s = tl.where(key[None] < length, s, -float("inf"))
    top = tl.max(s, axis=1) * scale
    p = tl.exp2(s * scale - top[:, None])
    total = tl.sum(p, axis=1)
    y = tl.dot(p.to(v.dtype), v)

    if not SINGLE:
        for start in range(0, last, BLOCK_N):
            key = start + tl.arange(0, BLOCK_N)
            v = _rows(v_ptr, key, length, stride, None, None, WIDTH, False)
            k = _rows(k_ptr, key, length, stride, cos_ptr, sin_ptr, WIDTH, False)
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
    """q k^T less ALiBi's distance: float32 (BLOCK_M, BLOCK_N)."""
    s = tl.dot(q, tl.trans(k))
    if slopes_ptr is not None:
        s -= slope * tl.abs(query[:, None] - key[None]).to(tl.float32)
    return s


@triton.jit
def _rows(ptr, place, length, stride, cos_ptr, sin_ptr, WIDTH: tl.constexpr, MASKED: tl.constexpr):
    """A head's vectors at these places, rotated by them where there are cosines; MASKED: zeros past the end."""
    inside = place[:, None] < length
    row = ptr + place[:, None] * stride
    if cos_ptr is None:
        vectors = _load(row + tl.arange(0, WIDTH)[None], inside, MASKED)
    else:
        pair = tl.arange(0, WIDTH // 2)[None]
        angle = place[:, None] * (WIDTH // 2) + pair
        a = _load(row + pair, inside, MASKED).to(tl.float32)
        b = _load(row + WIDTH // 2 + pair, inside, MASKED).to(tl.float32)
        cos = _load(cos_ptr + angle, inside, MASKED)
        sin = _load(sin_ptr + angle, inside, MASKED)
        # Partners side by side, not half after half: the product does not mind where queries and keys agree, and so
        # each thread goes on holding what it has rotated.
        pairs = tl.join(a * cos - b * sin, b * cos + a * sin).to(ptr.dtype.element_ty)
        vectors = pairs.reshape(place.shape[0], WIDTH)
    return vectors


@triton.jit
def _load(ptr, inside, MASKED: tl.constexpr):
    return tl.load(ptr, mask=inside, other=0.0) if MASKED else tl.load(ptr)
