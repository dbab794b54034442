"""Packing: sequences of different lengths laid end to end, so that no arithmetic is spent on padding nor on copies.

A window's sequences are planned into packs by best-fit decreasing: the longest first, each into the pack
that it fills best.

    budget 10, lengths 4 7 3 6      pack 0: 7 3      pack 1: 6 4
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Text = TypeVar("Text", bound=Hashable)


def distinct(texts: Sequence[Text]) -> tuple[Sequence[Text], np.ndarray | None]:
    """Take each text once, in order of the first of its copies.

    Returns:
        Them, and which of them each place has: int64 (S,), or None where no text stands twice.
    """
    first = dict.fromkeys(texts)
    if len(first) == len(texts):
        return texts, None
    numbers = dict(zip(first, range(len(first)), strict=True))
    return list(first), np.fromiter(map(numbers.__getitem__, texts), np.int64, len(texts))


@dataclass(frozen=True, slots=True)
class PackPlan:
    """Which sequences of a window go into which pack."""

    order_S: np.ndarray  # place in the window of each packed sequence, pack after pack, the longest of a pack first
    lengths_S: np.ndarray  # tokens of each, in that order
    sizes_P: np.ndarray  # sequences in each pack


def pack(lengths_S: np.ndarray, token_budget: int) -> PackPlan:
    """Plan packs by best-fit decreasing.

    Args:
        lengths_S: Tokens of each sequence, special tokens included.
        token_budget: Most tokens in a pack. A sequence longer than that gets a pack of its own.
    """
    packs: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens left, pack), ascending
    for i in np.argsort(-lengths_S, kind="stable").tolist():
        length = int(lengths_S[i])
        tightest = bisect_left(room, (length, -1))
        if tightest < len(room):
            left, number = room.pop(tightest)
        else:
            left, number = max(token_budget, length), len(packs)
            packs.append([])
        packs[number].append(i)
        insort(room, (left - length, number))
    order_S = np.array([i for members in packs for i in members], dtype=np.int64)
    sizes_P = np.array([len(members) for members in packs], np.int32)
    return PackPlan(order_S, lengths_S[order_S].astype(np.int32), sizes_P)
