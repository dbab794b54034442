"""Audit sample: which sequences of an 8-bit run are computed in 16 bits too, and how near the two are. No torch here.

Axes: S sequences of a window, A of them in the sample, D width of a language model.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.window_sequences import sequences_of
from virnucpro.reading.windows import Window

if TYPE_CHECKING:
    from torch import Tensor

Rows = TypeVar("Rows", np.ndarray, "Tensor")
SHARE = 128  # one sequence in so many: where 16 bits take 1.7 times as long as 8, an audit takes 1.3 % of a run
LEAST = 64  # sequences of a run, or all that it has; its first windows give them, as far as they have so many


def with_least(windows: Iterable[Window], kind: InputKind) -> Iterator[Window]:
    """Have the first windows give `LEAST` sequences, whatever their sizes; no other is translated for that."""
    left = LEAST
    for window in windows:
        yield replace(window, audited=left) if left else window
        if left:
            left = max(0, left - len(sequences_of(window, kind).proteins))


def drawn(window: Window, sequences: int) -> np.ndarray:
    """Draw from a window, by its index alone: every worker, half of a window and resumed run draws the same.

    Args:
        sequences: Of the whole window.
    Returns:
        Places in the window, or in the part of it that `only` names, ascending: int64 (A,).
    """
    rng = random.Random(window.index)  # its random() is the same on every machine and in every version of Python
    count = max(min(sequences, window.audited), int(sequences / SHARE + rng.random()))
    keys_S = np.array([rng.random() for _ in range(sequences)])
    places_A = np.sort(np.argsort(keys_S)[:count])
    if window.only is None:
        return places_A
    first, end = window.only
    return places_A[(first <= places_A) & (places_A < end)] - first


def cosines(one_SD: Rows, other_SD: Rows) -> Rows:
    """Cosine of each pair of rows, of numpy's arrays or of torch's on a device: (S,); see `diagnostics.comparison`."""
    dots_S, squares_S = (one_SD * other_SD).sum(1), (one_SD * one_SD).sum(1) * (other_SD * other_SD).sum(1)
    cosines_S: Rows = dots_S / squares_S**0.5
    return cosines_S
