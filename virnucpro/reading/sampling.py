"""Sampling: some of the input's chunks or proteins, each with the same chance, the same ones every time."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from virnucpro.reading.chunks import chunk_spans
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.proteins import MAX_RESIDUES
from virnucpro.reading.reads import Read
from virnucpro.reading.windows import Piece

SEED = 0


def sample(reads: Iterable[Read], kind: InputKind, chunk_size: int, count: int) -> list[Piece]:
    """Draw chunks, or proteins, from the whole input.

    Args:
        reads: Input records, read once; one at a time is held, beside what is drawn.
        chunk_size: bp.
        count: Most to draw.
    Returns:
        list: In order of the input; all there are if that is no more than `count`. A record without letters has none.
    Source: algorithm R (Vitter 1985): the n-th stays with chance count / n.
    """
    rng = random.Random(SEED)
    drawn: list[tuple[int, Piece]] = []
    for number, (read, first, start, end) in enumerate(_spans(reads, kind, chunk_size)):
        place = number if number < count else rng.randrange(number + 1)
        if place >= count:
            continue
        piece = Piece(read.name, len(read.sequence), read.sequence[start:end], ((0, end - start),), first)
        drawn[place : place + 1] = [(number, piece)]
    return [piece for _, piece in sorted(drawn, key=lambda pair: pair[0])]


def _spans(reads: Iterable[Read], kind: InputKind, chunk_size: int) -> Iterator[tuple[Read, int, int, int]]:
    """Every chunk or protein: of which read, its number from 0, and where it begins and ends there."""
    for read in reads:
        if kind == InputKind.PROTEIN:
            read = Read(read.name, read.sequence.rstrip("*"))
            if read.sequence:
                yield read, 0, 0, min(len(read.sequence), MAX_RESIDUES)
            continue
        for first, (start, end) in enumerate(chunk_spans(len(read.sequence), chunk_size)):
            yield read, first, start, end
