"""Pack: sequences end to end, as one computation on a device.

Axes: T tokens of the pack, S sequences; N neighbours of like length, L tokens of the longest; K width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

Tables = tuple[Tensor, Tensor]  # cosines and sines, float32 (places, K / 2), by place in the sequence

# Sequences whose lengths differ by no more than this share are padded to the longest and attended to together.
LIKE = 1 / 8


@dataclass(frozen=True)
class Pack:
    """Sequences end to end, on the device that computes.

    token_ids_T: integers. cu_seqlens_S1: int32, sequence s owns tokens cu_seqlens_S1[s]:cu_seqlens_S1[s + 1].
    lengths: tokens of each sequence, known to the host too, so that nobody waits for the device to ask.
    """

    token_ids_T: Tensor
    cu_seqlens_S1: Tensor
    lengths: tuple[int, ...]
    _angles: Tables | None = field(default=None, init=False, repr=False)

    @cached_property
    def max_seqlen(self) -> int:
        return max(self.lengths)

    def split(self, first: int) -> tuple[Pack, Pack]:
        """The first so many sequences, and the rest, as packs of their own."""
        tokens = sum(self.lengths[:first])
        ids_T, edges = self.token_ids_T, self.cu_seqlens_S1
        return (
            Pack(ids_T[:tokens], edges[: first + 1], self.lengths[:first]),
            Pack(ids_T[tokens:], edges[first:] - tokens, self.lengths[first:]),
        )

    @cached_property
    def sequence_T(self) -> Tensor:
        """Which sequence a token belongs to: int64 (T,)."""
        device, count = self.token_ids_T.device, len(self.lengths)
        lengths_S = self.cu_seqlens_S1.diff()
        return torch.arange(count, device=device).repeat_interleave(lengths_S, output_size=len(self.token_ids_T))

    @cached_property
    def positions_T(self) -> Tensor:
        """Place of a token in its own sequence, from 0: int64 (T,)."""
        starts_T = self.cu_seqlens_S1.long()[self.sequence_T]
        return torch.arange(len(self.token_ids_T), device=self.token_ids_T.device) - starts_T

    def angles(self, tables: Tables) -> Tables:
        """The tables' rows for every token; every layer asks with the same tables."""
        if self._angles is None:
            cos, sin = tables
            object.__setattr__(self, "_angles", (cos[self.positions_T], sin[self.positions_T]))
        assert self._angles is not None
        return self._angles

    @cached_property
    def groups(self) -> list[Group]:
        """Neighbours of like length, to be attended to as one padded batch."""
        groups, begin = [], 0
        shortest = longest = self.lengths[0]
        for place, length in enumerate(self.lengths):
            shortest, longest = min(shortest, length), max(longest, length)
            if shortest < (1 - LIKE) * longest:
                groups.append(self._group(begin, place))
                begin, shortest, longest = place, length, length
        return [*groups, self._group(begin, len(self.lengths))]

    def _group(self, begin: int, end: int) -> Group:
        lengths = self.lengths[begin:end]
        first, tokens = sum(self.lengths[:begin]), sum(lengths)
        if len(set(lengths)) == 1:
            return Group(first, tokens, len(lengths), lengths[0])
        device, longest = self.token_ids_T.device, max(lengths)
        starts_N = self.cu_seqlens_S1[begin:end].long()
        ends_N = self.cu_seqlens_S1[begin + 1 : end + 1].long()
        places_L = torch.arange(longest, device=device)
        padding_NL = places_L >= (ends_N - starts_N)[:, None]
        gather_NL = (starts_N[:, None] + places_L).minimum(ends_N[:, None] - 1)
        own = slice(first, first + tokens)
        scatter_T = (self.sequence_T[own] - begin) * longest + self.positions_T[own]
        return Group(first, tokens, len(lengths), longest, padding_NL, gather_NL, scatter_T)


@dataclass(frozen=True)
class Group:
    """N neighbours in a pack, as rows of a batch of the longest's length L; with padding only where lengths differ."""

    first: int
    tokens: int
    count: int
    longest: int
    padding_NL: Tensor | None = None
    gather_NL: Tensor | None = None  # the token of the pack that stands at each place
    scatter_T: Tensor | None = None  # the place in the flattened batch of each token
