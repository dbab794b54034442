"""Records: FASTA and FASTQ, as text, taken apart into ids and sequences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TextIO

from virnucpro.reading.alphabet import BLANKS, UNEXPECTED, describe_unexpected

_BLOCK = 2**16  # characters that are taken apart at once
_COMMENT = (b"#", b";")  # first characters of a line of FASTA
_INDENTED = re.compile(rb"\n[ \t]+>")


class BadRecord(Exception):
    """A record cannot be used; the message says of it what is wrong, and what to do."""

    def __init__(self, line: int, what: str, name: str = "") -> None:
        super().__init__(what)
        self.line, self.name = line, name  # the name is empty if there is none


def fasta(text: TextIO, line: int, table: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield id and sequence of each record.

    Whole blocks are split at their headers, for most records are as they should be. One that is not is read again line
    by line: it holds a comment, or something that is refused.

    Args:
        text: Open at the first header, with line ends as Python has them.
        line: Number of its line.
        table: `alphabet.NUCLEOTIDE` or `alphabet.EITHER`. Blanks are taken out.
    Raises:
        BadRecord: A sequence has a character that none has, or a header no id.
    """
    start, parts = line, list[bytes]()  # of the record that the next block may go on with
    while block := (text.read(_BLOCK) + text.readline()).encode("utf-8", "surrogateescape"):
        block = b"\n" + block
        if b"\n " in block or b"\n\t" in block:
            block = _INDENTED.sub(b"\n>", block)
        first, *others = block.split(b"\n>")
        begun, line = line + first.count(b"\n"), line + block.count(b"\n") - 1
        if first:
            parts.append(first[1:])
        if not others:
            continue
        records = ([b"".join(parts)] if parts else []) + others[:-1]
        known, number = len(records) - len(others) + 1, begun  # the line in which records[known] begins
        for place, record in enumerate(records):
            header, _, body = record.partition(b"\n")
            name = id_of(header.decode("utf-8", "surrogateescape"))
            sequence = body.translate(table, BLANKS)
            if not name or UNEXPECTED in sequence:
                if place >= known:
                    number += sum(each.count(b"\n") + 1 for each in records[known:place])
                    known = place
                yield _by_lines(record, number if place >= known else start, table)
            else:
                yield name, sequence
        start, parts = line - others[-1].count(b"\n"), others[-1:]
    yield _by_lines(b"".join(parts), start, table)


def _by_lines(record: bytes, line: int, table: bytes) -> tuple[str, bytes]:
    """A record without its ``>``."""
    header, *lines = record.split(b"\n")
    name, parts = _named(header.decode("utf-8", "surrogateescape"), line), list[bytes]()
    for number, each in enumerate(map(bytes.strip, lines), start=line + 1):
        if not each.startswith(_COMMENT):
            sequence = each.translate(table, BLANKS)
            if UNEXPECTED in sequence:
                raise BadRecord(number, f"has {describe_unexpected(each, table)}", name)
            parts.append(sequence)
    return name, b"".join(parts)


def fastq(text: TextIO, line: int, table: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield id and sequence of each record of four lines; blank lines between records are passed over.

    Args:
        text, line, table: As of `fasta`.
    Raises:
        BadRecord: As `fasta`, or a record is not four lines, or has another number of qualities than of letters.
    """
    for header in text:
        if header.isspace():
            line += 1
            continue
        sequence, plus, quality = text.readline(), text.readline(), text.readline()
        if header[0] != "@" or plus[:1] != "+" or not quality:
            raise _not_four_lines(header, plus, quality, line)
        name = id_of(header[1:]) or _named(header[1:], line)
        if len(plus) > 2 and plus[1:].strip() not in ("", header[1:].strip()):
            raise BadRecord(
                line + 2, "has another header after its '+' than after its '@'. Fetch or write it again.", name
            )
        same = len(sequence) == len(quality) and not sequence[-2:-1].isspace()
        if not same and len(sequence.rstrip()) != len(quality.rstrip()):
            counts = f"{len(sequence.rstrip())} letters and {len(quality.rstrip())} qualities"
            raise BadRecord(line + 3, f"has {counts}; the file is cut off or damaged. Fetch or write it again.", name)
        raw = sequence.encode("utf-8", "surrogateescape")
        letters = raw.translate(table, BLANKS)
        if UNEXPECTED in letters:
            raise BadRecord(line + 1, f"has {describe_unexpected(raw, table)}", name)
        yield name, letters
        line += 4


def _not_four_lines(header: str, plus: str, quality: str, line: int) -> BadRecord:
    if header[0] != "@":
        what = f"begins with {header.strip()[:40]!r}, not with '@'. Each record of FASTQ must have four lines."
        return BadRecord(line, what)
    name = id_of(header[1:])
    if plus and plus[0] != "+":
        what = (
            f"has {plus.strip()[:40]!r} where '+' was expected: each record must have four lines. Unwrap longer ones."
        )
        return BadRecord(line + 2, what, name)
    return BadRecord(line, "has not all of its four lines; the file is cut off. Fetch or write it again.", name)


def id_of(header: str) -> str:
    """The header up to its first blank; nothing if it begins with one, or cannot be printed as UTF-8."""
    words = header.split(maxsplit=1)
    return words[0] if words and not header[0].isspace() and words[0].isprintable() else ""


def _named(header: str, line: int) -> str:
    """As `id_of`.

    Raises:
        BadRecord: There is no such id.
    """
    if name := id_of(header):
        return name
    if not header or header[0].isspace():
        what = "no id"
    elif any("\udc80" <= letter <= "\udcff" for letter in header.split(maxsplit=1)[0]):
        what = "an id that is not UTF-8"
    else:
        what = "an id with control characters"
    raise BadRecord(line, f"has {what} in its header. Give every record a name of its own.")
