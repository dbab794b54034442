"""Alphabet: the characters that a sequence may have.

Any other is refused with its line: a digit, a header or a quality that was read as a base would shift the reading
frame of all that follows, and nobody would see it in the results.
"""

from __future__ import annotations

BLANKS = b" \t\r\n\v\f"  # no part of a sequence; they are taken out
GAPS = "-.~*?"  # gaps, pads and stops, and what is missing; they are kept
_NUCLEOTIDES = "ACGTUNRYSWKMBDHVX"  # IUPAC's, and X for what was masked
_AMINO_ACIDS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"  # IUPAC's, with B, Z, J, X, U and O, are all letters there are
UNEXPECTED = b"\0"  # stands for whatever a sequence may not have


def _table(letters: str) -> bytes:
    known = (letters + letters.lower() + GAPS).encode()
    return bytes(byte if byte in known else UNEXPECTED[0] for byte in range(256))


# For bytes.translate: each character that a sequence of nucleotides, or of either kind, may have to itself.
NUCLEOTIDE, EITHER = _table(_NUCLEOTIDES), _table(_AMINO_ACIDS)


def describe_unexpected(line: bytes, table: bytes) -> str:
    """Tell which is the first character of a line that a sequence may not have, what it may mean, and what to do.

    Returns:
        The end of a sentence that says what a record has, and a sentence. Printable, whatever the line holds.
    """
    if UNEXPECTED in line.translate(EITHER, BLANKS):  # which tells more than a letter of the other kind
        table = EITHER
    place = next(i for i, byte in enumerate(line) if table[byte] == UNEXPECTED[0] and byte not in BLANKS)
    character = line[place : place + 4].decode("utf-8", "surrogateescape")[0]
    shown = f"the byte {line[place]:#04x}" if "\udc80" <= character <= "\udcff" else repr(character)
    return f"{shown} in its sequence{_meaning(character)}"


def _meaning(character: str) -> str:
    if character == ">":
        return ": a header that does not begin its line. Put a line break before it, or remove it."
    if character in "@+":
        return ". If FASTQ was appended to FASTA, give them as two files; else remove it."
    if character.isdigit():
        return ": positions and qualities are no letters of a sequence. Give FASTA without numbers."
    if character.isascii() and character.isalpha():
        return (
            ", which is no nucleotide, but the input is DNA by its first records or by --input-type. "
            "Give DNA and proteins in files of their own."
        )
    if not character.isprintable():
        return ": the file is damaged or no text. Fetch or write it again."
    return ". Remove it."
