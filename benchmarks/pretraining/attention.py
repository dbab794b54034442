"""Attention: each sequence of a batch by itself, though they lie end to end.

Axes: T tokens of the batch, S segments, L places of the longest; H heads, K width of one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from benchmarks.pretraining.alphabet import LONGEST
from benchmarks.pretraining.masking import Batch

Attend = Callable[[Tensor, Tensor, Tensor, Batch], Tensor]


def varlen(q_THK: Tensor, k_THK: Tensor, v_THK: Tensor, batch: Batch) -> Tensor:
    """PyTorch's FlashAttention over segments as they lie: 16 bits, on a GPU."""
    y_THK = varlen_attn(q_THK, k_THK, v_THK, batch.edges_S1, batch.edges_S1, LONGEST, LONGEST)
    assert isinstance(y_THK, Tensor)  # and nothing beside it, which is given only to who asks
    return y_THK


def padded(q_THK: Tensor, k_THK: Tensor, v_THK: Tensor, batch: Batch) -> Tensor:
    """The same by padding all segments to the longest: anywhere, and half as fast."""
    begins_S, lengths_S = batch.edges_S1[:-1].long(), batch.edges_S1.diff()
    places_L = torch.arange(LONGEST, device=q_THK.device)
    gather = (begins_S[:, None] + places_L).clamp(max=len(q_THK) - 1).flatten()
    # An empty segment keeps a key, for a softmax of none is no number, nor are its gradients.
    mask_SL = places_L < lengths_S.clamp(min=1)[:, None]
    q_SHLK, k_SHLK, v_SHLK = (
        part.index_select(0, gather).unflatten(0, (-1, LONGEST)).transpose(1, 2) for part in (q_THK, k_THK, v_THK)
    )
    y_SHLK = F.scaled_dot_product_attention(q_SHLK, k_SHLK, v_SHLK, attn_mask=mask_SL[:, None, None])
    y_THK = y_SHLK.transpose(1, 2).flatten(0, 1)
    return y_THK.index_select(0, batch.segment_T * LONGEST + batch.position_T)
