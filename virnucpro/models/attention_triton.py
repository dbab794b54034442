"""Attention over a pack by our kernel, `attention_kernel`; import only where CUDA is in use.

Axes: T tokens of the pack, S sequences, H heads, K width of a head; P tiles, each a block of queries of one sequence.
"""

from __future__ import annotations

import torch
from torch import Tensor

from virnucpro.models.attention_kernel import QUERIES, WIDTHS, attend
from virnucpro.models.pack import Pack


def supports(heads_width: int) -> bool:
    """Whether the kernel can attend with heads of this width; its types are FP16 and BF16."""
    return heads_width in WIDTHS


def packed_attention(q_THK: Tensor, k_THK: Tensor, v_THK: Tensor, pack: Pack, slopes_H: Tensor | None = None) -> Tensor:
    """Compute softmax(q k^T / sqrt(K) - slope |i - j|) v within each sequence, with float32 sums and softmax.

    Args:
        q_THK, k_THK, v_THK: FP16 or BF16, on the current CUDA device; the heads of a token lie side by side.
        slopes_H: ALiBi's slopes, float32; None without ALiBi.
    Returns:
        Tensor: (T, H, K), contiguous, of the queries' type. The host does not wait for the device.
    """
    tokens, heads, width = q_THK.shape
    assert supports(width) and all(part.stride()[1:] == (width, 1) for part in (q_THK, k_THK, v_THK))
    tiles_P3 = _tiles(pack)
    y_THK = torch.empty(tokens, heads, width, dtype=q_THK.dtype, device=q_THK.device)
    attend(q_THK, k_THK, v_THK, y_THK, tiles_P3, slopes_H, pack.max_seqlen).run()
    return y_THK


def _tiles(pack: Pack) -> Tensor:
    """Tell of each tile the first token of its sequence, that one's length, and its first query: int32 (P, 3)."""
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
    tiles: Tensor = kept["tiles_P3"]
    return tiles
