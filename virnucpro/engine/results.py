"""Results: what became of a window. No torch here; it is what crosses from a worker to the parent and to disk.

Axes: R pieces of reads, C chunks, S sequences, D width of a language model; A sequences that are audited, M models
that have an 8-bit likeness.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from virnucpro.reading.frames import FRAME_SUFFIXES
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.window_sequences import Sequences
from virnucpro.reading.windows import Window


@dataclass
class WindowResult:
    """What the device made of a window, or of the part of it that `only` names."""

    index: int
    only: tuple[int, int] | None
    open_C: np.ndarray  # this, cut and unknown are as in `window_sequences.Sequences`
    sequences: int
    cut: int = 0
    unknown: int = 0
    tokens: int = 0
    packs: int = 0
    capacity: int = 0  # tokens that the packs could have held
    copies: int = 0  # sequences with the residues of another one, which were not computed again
    scores_S2: np.ndarray | None = None  # float32, for nucleotides
    features: dict[str, np.ndarray] = field(default_factory=dict)  # float32 (S, width) by model, where asked for
    failures: dict[int, str] = field(default_factory=dict)  # why, by place in the window or its part
    seconds: float = 0.0  # on the device
    idle_seconds: float | None = None  # of the device, since the window before; None for the first, and on the CPU
    # Of an audit: what was computed in 16 bits too. All None where nothing was.
    audited_A: np.ndarray | None = None  # int64, places in the window or its part
    cosines_AM: np.ndarray | None = None  # float64, of its features in 8 and in 16 bits
    reference_A2: np.ndarray | None = None  # float32, its scores in 16 bits; None for proteins


def blank_result(window: Window, texts: Sequences) -> WindowResult:
    """Return the result of a window as long as nothing is computed."""
    return WindowResult(*window.key, texts.open_C, len(texts.proteins), texts.cut, texts.unknown)


@dataclass
class FinishedWindow:
    """A window with nothing left to do; what has no comment is as in `WindowResult`."""

    index: int
    names: list[str]  # of the read of each piece
    lengths_R: np.ndarray  # of the whole read: bp or residues
    firsts_R: np.ndarray  # number of the read's first chunk here, from 0
    chunks_R: np.ndarray  # how many are here; 1 for a protein
    open_C: np.ndarray
    cut: int
    unknown: int
    failures: dict[int, str]
    scores_S2: np.ndarray | None = None
    features: dict[str, np.ndarray] = field(default_factory=dict)
    copies: int = 0
    audited_A: np.ndarray | None = None
    cosines_AM: np.ndarray | None = None
    reference_A2: np.ndarray | None = None

    @property
    def sequences(self) -> int:
        return int(np.unpackbits(self.open_C).sum())

    def sequence_names(self, kind: InputKind) -> Iterator[str]:
        """Name every sequence, in order: open frames, or proteins that are not empty."""
        if kind == InputKind.PROTEIN:
            yield from (name for name, is_open in zip(self.names, self.open_C, strict=True) if is_open)
            return
        chunk_names = self.chunk_names()
        chunk_S, frame_S = self.open_frames()
        for chunk, frame in zip(chunk_S.tolist(), frame_S.tolist(), strict=True):
            yield chunk_names[chunk] + FRAME_SUFFIXES[frame]

    def chunk_names(self) -> list[str]:
        """Name every chunk, in order, with open frames or without."""
        pieces = zip(self.names, self.firsts_R.tolist(), self.chunks_R.tolist(), strict=True)
        return [f"{name}_chunk_{first + n}" for name, first, count in pieces for n in range(1, count + 1)]

    def open_frames(self) -> tuple[np.ndarray, np.ndarray]:
        """Find the open frames, in order: int64 (S,) each, the chunk's place here and the index into FRAME_SUFFIXES."""
        chunk_S, frame_S = np.nonzero(np.unpackbits(self.open_C[:, None], axis=1, bitorder="little"))
        return chunk_S, frame_S

    def frames_R(self) -> np.ndarray:
        """Count the sequences of each piece: int64 (R,)."""
        ends = np.cumsum(self.chunks_R)
        counted = np.concatenate([[0], np.cumsum(np.unpackbits(self.open_C[:, None], axis=1).sum(axis=1))])
        sequences_R: np.ndarray = counted[ends] - counted[ends - self.chunks_R]
        return sequences_R.astype(np.int64)


def next_tries(window: Window, sequences: int, failures: int, patience: int) -> tuple[Window, ...]:
    """Choose what to try after a failure, so that in the end the one sequence is found that a window fails by.

    Args:
        sequences: How many the window, or the part of it that `only` names, has.
        failures: Of exactly this window or part, up to now.
        patience: Failures after which it is halved.
    Returns:
        The window itself, its halves, or nothing: it is one sequence, which is to be left out.
    """
    if failures < patience:
        return (window,)
    if sequences <= 1:
        return ()
    first = window.only[0] if window.only else 0
    middle, end = first + sequences // 2, first + sequences
    return replace(window, only=(first, middle)), replace(window, only=(middle, end))


def finish(window: Window, results: Sequence[WindowResult]) -> FinishedWindow:
    """Put together a window from its results: one, or those of its parts in order."""
    first, pieces = results[0], window.pieces
    failures: dict[int, str] = {}
    audited: list[np.ndarray | None] = []
    for result in results:
        offset = result.only[0] if result.only else 0
        failures |= {place + offset: reason for place, reason in result.failures.items()}
        audited.append(None if result.audited_A is None else result.audited_A + offset)
    names = dict.fromkeys(name for result in results for name in result.features)
    features = {name: _joined(results, [result.features.get(name) for result in results]) for name in names}
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
        scores_S2=_joined(results, [result.scores_S2 for result in results]),
        features={name: array for name, array in features.items() if array is not None},
        copies=sum(result.copies for result in results),
        audited_A=_joined_where_known(audited),
        cosines_AM=_joined_where_known([result.cosines_AM for result in results]),
        reference_A2=_joined_where_known([result.reference_A2 for result in results]),
    )


def _joined_where_known(arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
    known = [array for array in arrays if array is not None]
    return np.concatenate(known) if known else None


def _joined(results: Sequence[WindowResult], arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Join the arrays of all parts; a part that was given up has none, and gets rows of NaN."""
    widths = [array.shape[1] for array in arrays if array is not None]
    if not widths:
        return None
    rows = [
        np.full((result.sequences, widths[0]), np.nan, np.float32) if array is None else array
        for result, array in zip(results, arrays, strict=True)
    ]
    return np.concatenate(rows)
