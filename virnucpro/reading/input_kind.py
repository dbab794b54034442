"""Kind of input: nucleotides or proteins, told by the letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import Enum
from itertools import islice

from virnucpro.errors import BadRequest
from virnucpro.reading.alphabet import GAPS

NUCLEOTIDE_LETTERS = "ACGTUNacgtun"
SNIFFED_RECORDS = 1_000
SNIFFED_LETTERS = 1_000_000
# Proteins of the usual composition are about 27 % A, C, G, T, N (and U); DNA is nearly 100 %.
NUCLEOTIDE_SHARE, PROTEIN_SHARE = 0.9, 0.6
_NEITHER = GAPS + "Xx"  # tell nothing: an alignment or a masked sequence may be full of them
# Of letters: one protein in 10^11 of that length, and of the usual composition, has no others than DNA. With IUPAC's
# codes, which are residues too, it takes twice the length to be as sure.
DNA_LENGTH = 20
_CODES = "RYSWKMBDHV"
_DNA_OR_NOTHING = NUCLEOTIDE_LETTERS + _CODES + _CODES.lower() + _NEITHER


class InputKind(str, Enum):
    """What an input holds; as text where people read or write it."""

    NUCLEOTIDE = "nucleotide"
    PROTEIN = "protein"
    __str__ = str.__str__


def kind_of(sequences: Iterable[str], asked: str = "auto") -> InputKind:
    """Tell the kind by the letters of the first records.

    Args:
        sequences: Of the records; up to 1,000 that are not empty (or 1 million letters) are looked at. If there are
            none, it is nucleotide.
        asked: The kind where the user knows; the first records are read all the same, so that a bad file is refused
            before anything else is done.
    Raises:
        BadRequest: The letters are neither clearly nucleotides nor clearly amino acids, or the user says that they are
            proteins where all are DNA.
    """
    length = letters = nucleotides = dna = 0
    for sequence in islice(filter(None, sequences), SNIFFED_RECORDS):
        length += len(sequence)
        letters += len(sequence) - sum(map(sequence.count, _NEITHER))
        nucleotides += sum(map(sequence.count, NUCLEOTIDE_LETTERS))
        dna += looks_like_dna(sequence)
        if length >= SNIFFED_LETTERS:
            break
    share = nucleotides / letters if letters else 1.0
    if asked == InputKind.PROTEIN and dna and share >= NUCLEOTIDE_SHARE:
        raise BadRequest(
            f"{share:.0%} of the first letters are A, C, G, T, U or N: DNA, where proteins were asked for. "
            "Leave out --input-type protein, or call predict instead of embed."
        )
    if asked != "auto":
        return InputKind(asked)
    if PROTEIN_SHARE < share < NUCLEOTIDE_SHARE or (length and not letters):
        raise BadRequest(
            f"{share if letters else 0:.0%} of the first letters are A, C, G, T, U or N: neither clearly DNA (90 % or "
            "more) nor clearly protein (60 % or less). Say which with --input-type nucleotide or protein."
        )
    return InputKind.NUCLEOTIDE if share >= NUCLEOTIDE_SHARE else InputKind.PROTEIN


def looks_like_dna(sequence: str) -> bool:
    """Whether it has 20 letters or more, all of A, C, G, and T or U, and no other but N; gaps and X do not count.

    Up to a tenth may be IUPAC's codes where it has 40.
    """
    if sequence.strip(_DNA_OR_NOTHING):  # quick: nearly every protein begins or ends with something else
        return False
    counts = Counter(sequence.upper())
    for nothing in _NEITHER:
        del counts[nothing]
    letters, codes = counts.total(), sum(counts[code] for code in _CODES)
    length = 2 * DNA_LENGTH if codes else DNA_LENGTH
    known = {"A", "C", "G"} <= counts.keys() and not counts.keys().isdisjoint("TU")
    return known and letters >= length and codes <= letters * (1 - NUCLEOTIDE_SHARE)
