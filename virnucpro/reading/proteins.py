"""Proteins: what of a protein in the input reaches ESM-2."""

from __future__ import annotations

MAX_RESIDUES = 1024  # longer proteins are cut, as the published tool does
# What ESM-2's vocabulary has for residues, tokens 4 to 30; any other letter is read as X, "unknown".
ESM_LETTERS = "LAGVSERTIDPKQNFYMHWCXBUZO.-"
_TO_ESM = dict.fromkeys(range(128), "X") | {ord(letter): letter for letter in ESM_LETTERS}


def clean(sequence: str) -> tuple[str, int]:
    """Spell a protein in ESM-2's alphabet; nothing is cut but closing stops (``*``).

    Args:
        sequence: Residues in ASCII, any case.
    Returns:
        The residues in upper case, with X for letters that ESM-2 does not know, and how many those are.

    >>> clean("mkJl*")
    ('MKXL', 1)
    """
    return spell(sequence.rstrip("*"))


def spell(sequence: str) -> tuple[str, int]:
    """`clean`, with closing stops left as they are (``*`` is read as X)."""
    given = sequence.upper()
    residues = given.translate(_TO_ESM)
    return residues, residues.count("X") - given.count("X")
