"""Masking: a batch's tokens on the device that computes, and which of them a model is to tell.

Axes: T tokens, S segments, R residues of the data, M places to be told (as many as there could be).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.pretraining.alphabet import (
    CLS,
    DROPOUT_SCALE,
    EOS,
    FIRST,
    MASK,
    MASKED,
    PAD,
    REPLACED,
    SHARE,
    X,
)
from benchmarks.pretraining.batches import Segments

NOT_TOLD = -100  # PyTorch's label of what does not count


class Batch(NamedTuple):
    """Tokens as a model sees them, and what it is to tell; all on the device, and every size is fixed.

    tokens_T: int64. scale_T: float32, of the embeddings; 0 where masked. segment_T, position_T: int64, where a token
    lies. edges_S1: int32, segment s owns tokens edges_S1[s]:edges_S1[s + 1]. chosen_M: int64, places of what is to be
    told. labels_M: int64, the true tokens there; `NOT_TOLD` past the last.
    """

    tokens_T: Tensor
    scale_T: Tensor
    segment_T: Tensor
    position_T: Tensor
    edges_S1: Tensor
    chosen_M: Tensor
    labels_M: Tensor


def gathered(data_R: Tensor, segments: Segments) -> Batch:
    """The batch as it is, on the data's device: nothing is masked, nothing is to be told."""
    device, tokens = data_R.device, int(segments.lengths_S.sum())
    both = torch.from_numpy(np.stack(segments))
    begins_S, lengths_S = (both.pin_memory() if device.type == "cuda" else both).to(device, non_blocking=True)
    edges_S1 = F.pad(lengths_S.cumsum(0), (1, 0))
    segment_T = torch.repeat_interleave(torch.arange(len(lengths_S), device=device), lengths_S, output_size=tokens)
    position_T = torch.arange(tokens, device=device) - edges_S1[segment_T]
    begin_T = begins_S[segment_T]
    tokens_T = data_R[(begin_T + position_T - 1).clamp(0, len(data_R) - 1)].long()
    tokens_T = tokens_T.masked_fill(position_T == 0, CLS).masked_fill(position_T == lengths_S[segment_T] - 1, EOS)
    tokens_T = tokens_T.masked_fill(begin_T < 0, PAD)
    scale_T = torch.full((tokens,), DROPOUT_SCALE, device=device)
    most = int(SHARE * tokens + 6 * math.sqrt(SHARE * (1 - SHARE) * tokens)) + 8  # six deviations above the mean
    chosen_M = torch.zeros(most, dtype=torch.long, device=device)
    labels_M = torch.full((most,), NOT_TOLD, device=device)
    return Batch(tokens_T, scale_T, segment_T, position_T, edges_S1.int(), chosen_M, labels_M)


def masked(batch: Batch, seed: int) -> Batch:
    """The batch with 15 % of its amino acids to be told: 80 % of these masked, 10 % another amino acid, or the same
    one by chance, 10 % as they are. By the seed the same ones on a kind of device."""
    true_T, tokens, most = batch.tokens_T, len(batch.tokens_T), len(batch.labels_M)
    device = true_T.device
    random = torch.Generator(device).manual_seed(seed)
    which_T, how_T = torch.rand(2, tokens, generator=random, device=device)
    other_T = torch.randint(FIRST, X, (tokens,), generator=random, device=device)
    chosen_T = (true_T >= FIRST) & (true_T < X) & (which_T < SHARE)
    rank_T = chosen_T.cumsum(0)
    chosen_T = chosen_T & (rank_T <= most)
    # Those not chosen all land in one more place, which is cut off.
    where_T = torch.where(chosen_T, rank_T - 1, most)
    chosen_M = torch.zeros(most + 1, dtype=torch.long, device=device)
    chosen_M = chosen_M.scatter_(0, where_T, torch.arange(tokens, device=device))[:most]
    told_M = torch.arange(most, device=device) < chosen_T.sum()
    chosen_M = chosen_M.masked_fill(~told_M, 0)
    masked_T = chosen_T & (how_T < MASKED)
    replaced_T = chosen_T & (how_T >= MASKED) & (how_T < MASKED + REPLACED)
    return batch._replace(
        tokens_T=torch.where(replaced_T, other_T, true_T).masked_fill(masked_T, MASK),
        scale_T=dropout_scale(masked_T, batch),
        chosen_M=chosen_M,
        labels_M=torch.where(told_M, true_T[chosen_M], NOT_TOLD),
    )


def dropout_scale(masked_T: Tensor, batch: Batch) -> Tensor:
    """What embeddings are multiplied by, float32 (T,): 0 where masked, and elsewhere as though 12 % of the sequence
    were masked, whatever share is. Source: fair-esm 2.0.0's token dropout."""
    edges_S1 = batch.edges_S1.long()
    count_T1 = F.pad(masked_T.cumsum(0), (1, 0))
    masked_S = count_T1[edges_S1[1:]] - count_T1[edges_S1[:-1]]
    scale_S = DROPOUT_SCALE / (1 - masked_S / edges_S1.diff().clamp(min=1))
    return scale_S[batch.segment_T].masked_fill(masked_T, 0)
