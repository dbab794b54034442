"""Batches: proteins end to end in batches of exactly as many tokens, epoch after epoch, each in another order.

Axes: N proteins of an epoch, S segments of a batch (its proteins, then its padding, then empty ones).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from benchmarks.pretraining.alphabet import LONGEST, MOST_RESIDUES
from benchmarks.pretraining.proteins import Proteins

SHORTEST_CROP = 64  # residues


class Segments(NamedTuple):
    """A batch before its tokens are gathered: where each segment's residues begin (-1: padding), and its tokens.

    Both int64 and of the same size for all batches, since kernels are compiled for one.
    """

    begins_S: np.ndarray
    lengths_S: np.ndarray


class Batches:
    """Batches of T tokens without end, by the seed the same ones everywhere.

    Args:
        crop_share: Share of the proteins that are cut to between 64 and 254 residues, anew in each epoch.
        shuffle: False keeps the proteins in their order.
    """

    def __init__(
        self, proteins: Proteins, tokens: int, crop_share: float = 0, seed: int = 0, shuffle: bool = True
    ) -> None:
        self.proteins, self.tokens, self.crop_share, self.seed, self.shuffle = (
            proteins, tokens, crop_share, seed, shuffle
        )  # fmt: skip
        self.seek(0, 0)
        self.most = int(1.15 * tokens / self.lengths_N.mean()) + 32  # segments, but for the last, which is padding
        # Tokens that a token's queries see, on average: those of its own sequence
        self.attended = float((self.lengths_N**2).sum() / self.lengths_N.sum())

    @property
    def epochs(self) -> float:
        """How often all proteins were seen."""
        return self.epoch + self.place / len(self.lengths_N)

    def seek(self, epoch: int, place: int) -> None:
        """Go on from a protein of an epoch."""
        self.epoch, self.place = epoch, place
        random = np.random.default_rng([self.seed, epoch])
        count = len(self.proteins.lengths_N)
        order_N = random.permutation(count) if self.shuffle else np.arange(count)
        whole_N = self.proteins.lengths_N[order_N]
        wish_N = random.integers(SHORTEST_CROP, MOST_RESIDUES + 1, count)
        wish_N[random.random(count) >= self.crop_share] = MOST_RESIDUES
        residues_N = np.minimum(whole_N, wish_N)
        self.begins_N = self.proteins.begins_N[order_N] + random.integers(0, whole_N - residues_N + 1)
        self.lengths_N = residues_N + 2
        self.ends_N = np.cumsum(self.lengths_N)

    def next(self) -> Segments:
        """The next batch; the last one of an epoch is filled up with padding, as is what no protein fits into."""
        if self.place == len(self.ends_N):
            self.seek(self.epoch + 1, 0)
        base = self.ends_N[self.place - 1] if self.place else 0
        end = int(np.searchsorted(self.ends_N, base + self.tokens, side="right"))
        end = min(end, self.place + self.most)
        while end - self.place + -(-(self.tokens - (self.ends_N[end - 1] - base)) // LONGEST) > self.most:
            end -= 1
        count, left = end - self.place, int(self.tokens - (self.ends_N[end - 1] - base))
        padding = [LONGEST] * (left // LONGEST) + [left % LONGEST]  # no segment is longer, not even of padding
        begins_S, lengths_S = np.full(self.most + 1, -1), np.zeros(self.most + 1, np.int64)
        begins_S[:count] = self.begins_N[self.place : end]
        lengths_S[:count] = self.lengths_N[self.place : end]
        lengths_S[count:][: len(padding)] = padding
        self.place = end
        return Segments(begins_S, lengths_S)

    def rest_of_epoch(self) -> Iterator[Segments]:
        """The batches that are left of this epoch."""
        while self.place < len(self.ends_N):
            yield self.next()
