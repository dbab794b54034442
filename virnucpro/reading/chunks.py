"""Chunks: a read cut into pieces of the length the classifier was trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from virnucpro.reading.reads import Read


@dataclass(frozen=True, slots=True)
class Chunk:
    """Piece `number` (from 1) of a read; `name` is ``{read}_chunk_{number}``; case is the read's."""

    name: str
    sequence: str


def chunk_spans(length: int, chunk_size: int) -> list[tuple[int, int]]:
    """Half-open spans [start, end) in bp that cover a read of `length` bp without gaps.

    Neighbours overlap so that all chunks but perhaps the last have `chunk_size` bp. The overlap is
    shared out as the published tool does it: the excess n*c - L in whole parts of floor(excess / n),
    the rest one bp each over the first chunks. What rounding leaves over shortens the last chunk.

    >>> chunk_spans(1001, 500)
    [(0, 500), (333, 833), (666, 1001)]
    """
    count = -(-length // chunk_size)
    excess = count * chunk_size - length
    overlap = excess // count if count else 0
    longer = excess - overlap * (count - 1)
    starts = (i * chunk_size - (i * overlap + min(i, longer)) for i in range(count))
    return [(start, min(start + chunk_size, length)) for start in starts]


def chunks(read: Read, chunk_size: int) -> Iterator[Chunk]:
    """Yield a read's chunks in order; none for an empty read."""
    for number, (start, end) in enumerate(chunk_spans(len(read.sequence), chunk_size), start=1):
        yield Chunk(f"{read.name}_chunk_{number}", read.sequence[start:end])
