"""Window sequences: what of a window the models are to read, and which frames are open. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from virnucpro.reading.frames import Translation
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.proteins import MAX_RESIDUES, spell
from virnucpro.reading.windows import Window


@dataclass(frozen=True)
class Sequences:
    """The S sequences of a window, in order.

    proteins: residues, cut to 1,024. dna: that goes with each; empty for a protein input. open_C: uint8 a chunk, bit f
    set where frame f (F1 F2 F3 R1 R2 R3) is open; for a protein 1, or 0 where it is empty. cut: how many were cut.
    unknown: residues that are no letters of ESM-2's and are read as X.
    """

    proteins: list[bytes]
    dna: list[str]
    open_C: np.ndarray
    cut: int = 0
    unknown: int = 0


def sequences_of(window: Window, kind: InputKind) -> Sequences:
    """Translate a window's chunks, or clean its proteins; `window.only` is obeyed."""
    sequences = _frames(window) if kind == InputKind.NUCLEOTIDE else _proteins(window)
    if window.only is None:
        return sequences
    some = slice(*window.only)
    return replace(sequences, proteins=sequences.proteins[some], dna=sequences.dna[some])


def _frames(window: Window) -> Sequences:
    proteins, dna, open_C, cut = [], [], [], 0
    for piece in window.pieces:
        translation = Translation(piece.sequence)
        for start, end in piece.spans:
            mask = 0
            for frame, residues, nucleotides in translation.open_frames(start, end):
                mask |= 1 << frame
                cut += len(residues) > MAX_RESIDUES
                proteins.append(residues[:MAX_RESIDUES])
                dna.append(nucleotides)
            open_C.append(mask)
    return Sequences(proteins, dna, np.array(open_C, np.uint8), cut)


def _proteins(window: Window) -> Sequences:
    proteins, open_C, cut, unknown = [], [], 0, 0
    for piece in window.pieces:
        residues, unread = spell(piece.sequence)
        open_C.append(bool(residues))
        unknown += unread
        cut += piece.length > MAX_RESIDUES
        if residues:
            proteins.append(residues.encode())
    return Sequences(proteins, [], np.array(open_C, np.uint8), cut, unknown)
