"""Results: what became of a window. No torch here; it is what crosses from a worker to the parent and to disk.

Axes: R pieces of reads, C chunks, S sequences, D width of ESM-2, E of DNABERT-S.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from virnucpro.reading.frames import FRAME_SUFFIXES
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.windows import Window


@dataclass
class WindowResult:
    """What the device made of a window, or of the part of it that `only` names.

    open_C, cut, unknown: as in `sequences.Sequences`. scores_S2: float32, for nucleotides. esm2_SD, dnabert_SE:
    float32, where features are asked for. capacity: tokens that the packs could have held. failures: why, by place in
    the window. seconds: on the device;
    idle_seconds: that it had nothing to do since the window before; None for the first, and on the CPU.
    """

    index: int
    only: tuple[int, int] | None
    open_C: np.ndarray
    sequences: int
    cut: int = 0
    unknown: int = 0
    tokens: int = 0
    packs: int = 0
    capacity: int = 0
    scores_S2: np.ndarray | None = None
    features: dict[str, np.ndarray] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0
    idle_seconds: float | None = None


@dataclass
class FinishedWindow:
    """A window with nothing left to do.

    names, lengths_R: of the read of each piece (bp or residues of the whole read). firsts_R: number of the read's first
    chunk here, from 0. chunks_R: how many are here (1 for a protein). The rest as in WindowResult.
    """

    index: int
    names: list[str]
    lengths_R: np.ndarray
    firsts_R: np.ndarray
    chunks_R: np.ndarray
    open_C: np.ndarray
    cut: int
    unknown: int
    failures: dict[int, str]
    scores_S2: np.ndarray | None = None
    features: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def sequences(self) -> int:
        return int(np.unpackbits(self.open_C).sum())

    def sequence_names(self, kind: InputKind) -> Iterator[str]:
        """The name of every sequence, in order: open frames, or proteins that are not empty."""
        if kind == InputKind.PROTEIN:
            yield from (name for name, there in zip(self.names, self.open_C, strict=True) if there)
            return
        masks = iter(self.open_C.tolist())
        for name, first, count in zip(self.names, self.firsts_R.tolist(), self.chunks_R.tolist(), strict=True):
            for number in range(first + 1, first + count + 1):
                mask = next(masks)
                for frame, suffix in enumerate(FRAME_SUFFIXES):
                    if mask >> frame & 1:
                        yield f"{name}_chunk_{number}{suffix}"

    def frames_R(self) -> np.ndarray:
        """Sequences of each piece: int64 (R,)."""
        ends = np.cumsum(self.chunks_R)
        counted = np.concatenate([[0], np.cumsum(np.unpackbits(self.open_C[:, None], axis=1).sum(axis=1))])
        sequences_R: np.ndarray = counted[ends] - counted[ends - self.chunks_R]
        return sequences_R.astype(np.int64)


def finish(window: Window, outcomes: Sequence[WindowResult]) -> FinishedWindow:
    """Put together a window from its outcomes: one, or those of its parts in order."""
    first = outcomes[0]
    failures: dict[int, str] = {}
    for outcome in outcomes:
        offset = outcome.only[0] if outcome.only else 0
        failures |= {place + offset: reason for place, reason in outcome.failures.items()}
    names = dict.fromkeys(name for result in outcomes for name in result.features)
    joined = {name: _joined(outcomes, [result.features.get(name) for result in outcomes]) for name in names}
    pieces = window.pieces
    return FinishedWindow(
        index=window.index,
        names=[piece.name for piece in pieces],
        lengths_R=np.array([piece.length for piece in pieces], np.int64),
        firsts_R=np.array([piece.first for piece in pieces], np.int64),
        chunks_R=np.array([len(piece.spans) for piece in pieces], np.int64),
        open_C=first.open_C,
        cut=first.cut,
        unknown=first.unknown,
        failures=failures,
        scores_S2=_joined(outcomes, [result.scores_S2 for result in outcomes]),
        features={name: array for name, array in joined.items() if array is not None},
    )


def _joined(results: Sequence[WindowResult], arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """One array of all parts; a part that was given up has none, and takes its rows as NaN all the same."""
    widths = [array.shape[1] for array in arrays if array is not None]
    if not widths:
        return None
    return np.concatenate(
        [
            np.full((result.sequences, widths[0]), np.nan, np.float32) if array is None else array
            for result, array in zip(results, arrays, strict=True)
        ]
    )
