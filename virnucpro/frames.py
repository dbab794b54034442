"""Frames: the six translations of a chunk that have no stop codon.

Genetic code 1. As in the published tool a codon with any letter but A, C, G, T is left out (no X),
there is no minimum length and no start codon is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from virnucpro.chunks import Chunk

# NCBI translation table 1, codons in the order TTT, TTC, TTA, TTG, TCT, ...
_AMINO_ACIDS = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
CODONS = dict(zip(map("".join, product("TCAG", repeat=3)), _AMINO_ACIDS, strict=True))
_COMPLEMENT = str.maketrans("ACGT", "TGCA")


@dataclass(frozen=True, slots=True)
class Frame:
    """An open frame: name ``{chunk}{F|R}{1|2|3}``, its residues, and the DNA that goes with them."""

    name: str
    residues: str
    nucleotides: str


def reverse_complement(strand: str) -> str:
    """Reverse complement of upper-case DNA; letters other than A, C, G, T stay as they are."""
    return strand.translate(_COMPLEMENT)[::-1]


def translate(strand: str, offset: int) -> str:
    """Residues and stops (``*``) of upper-case DNA from `offset` (0, 1, 2) on."""
    codons = (strand[i : i + 3] for i in range(offset, len(strand) - 2, 3))
    return "".join([CODONS.get(codon, "") for codon in codons])


def open_frames(chunk: Chunk) -> Iterator[Frame]:
    """Yield the chunk's frames with residues and without a stop, in the order F1 F2 F3 R1 R2 R3.

    The nucleotides of a frame are 3 a residue and one base more where the strand has it, which is
    what the published classifiers saw in training.
    """
    forward = chunk.sequence.upper()
    for letter, strand in (("F", forward), ("R", reverse_complement(forward))):
        for offset in range(3):
            residues = translate(strand, offset)
            if residues and "*" not in residues:
                nucleotides = strand[offset : offset + 3 * len(residues) + 1]
                yield Frame(f"{chunk.name}{letter}{offset + 1}", residues, nucleotides)


def chunk_name(frame_name: str) -> str:
    """Name of the chunk a frame belongs to: the name without its last two characters."""
    return frame_name[:-2]
