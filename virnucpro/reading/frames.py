"""Frames: the six translations of a chunk that have no stop codon.

Genetic code 1. As in the published tool a codon with any letter but A, C, G, T is left out (no X),
there is no minimum length and no start codon is asked for.

Chunks overlap and have six frames each, so codons are not translated frame by frame: all codons of
a read are translated once, and a frame of a chunk is a slice of what came out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from virnucpro.reading.chunks import Chunk

# NCBI translation table 1, codons in the order TTT, TTC, TTA, TTG, TCT, ...
_AMINO_ACIDS = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
CODONS = dict(zip(map("".join, product("TCAG", repeat=3)), _AMINO_ACIDS, strict=True))
FRAME_SUFFIXES = ("F1", "F2", "F3", "R1", "R2", "R3")
_COMPLEMENT = str.maketrans("ACGT", "TGCA")

# A codon's number is 25 a + 5 b + c, below 125, with 0 to 3 for A, C, G, T and 4 for any other letter.
_LETTERS = "ACGT"
_OTHER = b"\0"  # stands for a codon with another letter until that is left out
_CODES = bytes(_LETTERS.find(chr(byte)) % 5 for byte in range(256))  # find: -1 for others


@dataclass(frozen=True, slots=True)
class Frame:
    """An open frame: name ``{chunk}{F|R}{1|2|3}``, its residues, and the DNA that goes with them."""

    name: str
    residues: str
    nucleotides: str


def reverse_complement(strand: str) -> str:
    """Reverse complement of upper-case DNA; letters other than A, C, G, T stay as they are."""
    return strand.translate(_COMPLEMENT)[::-1]


def _residue_table(strand_of: Callable[[str], str]) -> bytes:
    """Table from codon number to residue, where codon `c` is read as `strand_of(c)`; 256 bytes for bytes.translate."""
    table = bytearray(_OTHER * 256)
    for codon in CODONS:
        a, b, c = map(_LETTERS.index, codon)
        table[25 * a + 5 * b + c] = ord(CODONS[strand_of(codon)])
    return bytes(table)


_FORWARD, _REVERSE = _residue_table(str), _residue_table(reverse_complement)


class Translation:
    """All codons of a sequence, translated once on both strands; about 3 bytes a bp are held.

    The sequence may be a read, a piece of one, or several end to end: a chunk's frames come from
    nothing but the chunk's own span.

    Residues lie in order of the forward strand in three texts by position modulo 3, so that those of
    one frame are neighbours:

        position   0 1 2 3 4 5 6 7 8
        sequence   A T G G C C A A A
        text 0     M     A     K        codons at 0, 3, 6
        text 1       W     P            codons at 1, 4
        text 2         G     Q          codons at 2, 5
    """

    def __init__(self, sequence: str) -> None:
        """Translate `sequence`: ASCII, any case, any letters."""
        self._sequence = sequence.upper()
        codes = np.frombuffer(self._sequence.encode("ascii").translate(_CODES), np.uint8)
        numbers = codes[:-2] * np.uint8(25) + codes[1:-1] * np.uint8(5) + codes[2:]
        codons = [numbers[phase::3].tobytes() for phase in range(3)]
        self._forward = [text.translate(_FORWARD) for text in codons]
        self._reverse = [text.translate(_REVERSE) for text in codons]

    def open_frames(self, start: int, end: int) -> list[tuple[int, bytes, str]]:
        """Frames of the chunk [start, end), in bp, with residues and without a stop.

        Returns:
            In order: index into FRAME_SUFFIXES, residues (ASCII), nucleotides. The nucleotides are 3 a
            residue from the frame's offset on, and one base more where the chunk has it, which is what
            the published classifiers saw in training.
        """
        frames = []
        for offset in range(3):
            first, length = start + offset, (end - start - offset) // 3
            if residues := _open_codons(self._forward, first, length):
                last = min(first + 3 * len(residues) + 1, end)
                frames.append((offset, residues, self._sequence[first:last]))
        for offset in range(3):
            last, length = end - offset, (end - start - offset) // 3
            if residues := _open_codons(self._reverse, last - 3 * length, length):
                first = max(last - 3 * len(residues) - 1, start)
                frames.append((3 + offset, residues[::-1], reverse_complement(self._sequence[first:last])))
        return frames


def _open_codons(texts: list[bytes], position: int, length: int) -> bytes:
    """Residues of the `length` codons from `position` on; nothing if there is a stop among them."""
    text, first = texts[position % 3], position // 3
    if length <= 0 or text.find(b"*", first, first + length) >= 0:
        return b""
    return text[first : first + length].replace(_OTHER, b"")


def open_frames(chunk: Chunk) -> Iterator[Frame]:
    """Yield the chunk's frames with residues and without a stop, in the order F1 F2 F3 R1 R2 R3."""
    for index, residues, nucleotides in Translation(chunk.sequence).open_frames(0, len(chunk.sequence)):
        yield Frame(chunk.name + FRAME_SUFFIXES[index], residues.decode(), nucleotides)
