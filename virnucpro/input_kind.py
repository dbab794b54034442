"""Kind of input: nucleotides or proteins, told by the letters."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from virnucpro.alphabet import GAPS
from virnucpro.errors import BadRequest
from virnucpro.reads import Read

NUCLEOTIDE_LETTERS = "ACGTUNacgtun"
SNIFFED_RECORDS = 1_000
SNIFFED_LETTERS = 1_000_000
# Proteins of the usual composition are about 27 % A, C, G, T, N (and U); DNA is nearly 100 %.
NUCLEOTIDE_SHARE, PROTEIN_SHARE = 0.9, 0.6
_NEITHER = GAPS + "Xx"  # tell nothing: an alignment or a masked sequence may be full of them
# Residues: one protein in 10^11 of that length, and of the usual composition, has no other letters than DNA.
DNA_LENGTH = 20


def kind_of_reads(reads: Iterable[Read], said: str = "auto") -> str:
    """Tell "nucleotide" from "protein" by the letters of the first records.

    Args:
        reads: Input records; up to 1,000 of them (or 1 million letters) are taken. No records, or empty ones, count as
            nucleotide.
        said: "nucleotide" or "protein" where the user knows; the first records are read all the same,
            so that a bad file is refused before anything else is done.
    Raises:
        BadRequest: The letters are neither clearly nucleotides nor clearly amino acids, or the user says that they are
            proteins where all are DNA.
    """
    length = letters = nucleotides = dna = 0
    for read in islice(reads, SNIFFED_RECORDS):
        length += len(read.sequence)
        letters += len(read.sequence) - sum(map(read.sequence.count, _NEITHER))
        nucleotides += sum(map(read.sequence.count, NUCLEOTIDE_LETTERS))
        dna += looks_like_dna(read.sequence)
        if length >= SNIFFED_LETTERS:
            break
    share = nucleotides / letters if letters else 1.0
    if said == "protein" and dna and share == 1:
        raise BadRequest(
            "The first letters are A, C, G, T, U and N alone: DNA, where proteins were asked for. "
            "Leave out --input-type protein, or call predict instead of embed."
        )
    if said != "auto":
        return said
    if PROTEIN_SHARE < share < NUCLEOTIDE_SHARE or (length and not letters):
        raise BadRequest(
            f"{share if letters else 0:.0%} of the first letters are A, C, G, T, U or N: neither clearly DNA (90 % or "
            "more) nor clearly protein (60 % or less). Say which with --input-type nucleotide or protein."
        )
    return "nucleotide" if share >= NUCLEOTIDE_SHARE else "protein"


def looks_like_dna(sequence: str) -> bool:
    """Whether it has 20 letters or more, all of A, C, G, and T or U, and no other but N."""
    if len(sequence) < DNA_LENGTH or sequence.strip(NUCLEOTIDE_LETTERS):
        return False
    letters = set(sequence.upper())
    return {"A", "C", "G"} <= letters and not letters.isdisjoint("TU")
