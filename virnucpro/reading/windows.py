"""Windows: runs of consecutive input, small enough for memory, large enough to pack well.

A window is the unit of everything that follows: of packing, of hand-out to GPUs, of retries and of
checkpoints. Where windows begin depends on the input and the settings alone, never on timing, so that a
resumed run meets the same windows again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from virnucpro.reading.chunks import chunk_spans
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.proteins import MAX_RESIDUES
from virnucpro.reading.reads import Read

# The first windows are 1/8, 1/4 and 1/2 of a full one: the GPU has work, and the user a first score, sooner.
RAMP = 3
PACKS = 16  # in a full window of proteins: 3 s of an H200 with the 3B model
# Best-fit decreasing wastes next to nothing if the last pack need not be quite full.
FILL = 0.997
LEAST_BUDGET = 16384  # tokens: with smaller packs a window holds more of them


Key = tuple[int, tuple[int, int] | None]  # a window's index, and the part of it


class Piece(NamedTuple):
    """A read, or as much of a long one as belongs to one window.

    `length` is the whole read's, in bp or residues (closing stops left out); `sequence` reaches from the start of the
    first chunk here to the end of the last; `spans` are these chunks within it, a protein being one chunk of 1,024
    residues at most; `first` counts the read's chunks before this piece.
    """

    name: str
    length: int
    sequence: str
    spans: tuple[tuple[int, int], ...]
    first: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive pieces; `only` narrows it to some of its sequences, by their places."""

    index: int
    pieces: tuple[Piece, ...]
    only: tuple[int, int] | None = None
    audited: int = 0  # how many of its sequences an audit takes at least, if it has so many

    @property
    def key(self) -> Key:
        """What tells it from other windows, and from other parts of its own."""
        return self.index, self.only


def windows(
    reads: Iterable[Read], kind: InputKind, chunk_size: int, buffer_size: int, token_budget: int
) -> Iterator[Window]:
    """Cut the input into windows.

    Args:
        reads: With unique ids.
        chunk_size: bp.
        buffer_size: Most chunks, or proteins, in a window; an empty record counts as one.
        token_budget: Of a pack. A window of proteins ends when about `PACKS` packs are full.
    """
    pieces: list[Piece] = []
    index = sequences = tokens = 0
    full_tokens = PACKS * max(token_budget, LEAST_BUDGET)

    def close() -> Window:
        nonlocal pieces, index, sequences, tokens
        window = Window(index, tuple(pieces))
        pieces, index, sequences, tokens = [], index + 1, 0, 0
        return window

    def share(full: float) -> float:
        return full / (1 << max(0, RAMP - index))

    for read in reads:
        if kind == InputKind.PROTEIN:
            residues = read.sequence.rstrip("*")
            cost = min(len(residues), MAX_RESIDUES) + 2
            if pieces and (sequences + 1 > share(buffer_size) or tokens + cost > share(full_tokens) * FILL):
                yield close()
            used = residues[:MAX_RESIDUES]  # of the rest nothing but its length is needed
            pieces.append(Piece(read.name, len(residues), used, ((0, len(used)),)))
            sequences, tokens = sequences + 1, tokens + cost
            continue
        spans = chunk_spans(len(read.sequence), chunk_size)
        first = 0
        while True:
            room = max(1, int(share(buffer_size))) - sequences
            if room <= 0:
                yield close()
                continue
            here = spans[first : first + room]
            pieces.append(_piece(read, here, first))
            sequences += max(1, len(here))
            first += len(here)
            if first >= len(spans):
                break
    if pieces:
        yield close()


def _piece(read: Read, spans: list[tuple[int, int]], first: int) -> Piece:
    start = spans[0][0] if spans else 0
    end = spans[-1][1] if spans else 0
    relative = tuple((a - start, b - start) for a, b in spans)
    return Piece(read.name, len(read.sequence), read.sequence[start:end], relative, first)
