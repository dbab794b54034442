"""Reads: what the input file holds, one record at a time.

FASTA or FASTQ, plain or compressed, from a file or from standard input. The format is told
from the first character, not from the file's name.
"""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from virnucpro.errors import BadInput
from virnucpro.reading import records
from virnucpro.reading.alphabet import EITHER, NUCLEOTIDE
from virnucpro.reading.containers import STDIN, lacks_last_block, readable
from virnucpro.reading.foreign_formats import FIRST_BYTES, foreign_format
from virnucpro.reading.input_kind import InputKind

log = logging.getLogger(__name__)

COMPRESSION = (".gz", ".bz2", ".xz", ".zst")
_FORMATS = (".fasta", ".fastq", ".fa", ".fna", ".faa", ".ffn", ".fsa", ".mpfa", ".fq", ".fas", ".txt")


@dataclass(frozen=True, slots=True)
class Read:
    """One input record: `name` is the header up to its first blank, `sequence` as written."""

    name: str
    sequence: str


def stem_of(path: str) -> str:
    """Name that output files carry: the file's own without compression and format suffixes."""
    if path == STDIN:
        return "stdin"
    name = path.rstrip("/").rsplit("/", 1)[-1]
    for suffixes in (COMPRESSION, _FORMATS):
        suffix = next((each for each in suffixes if name.lower().endswith(each) and name.lower() != each), "")
        name = name[: len(name) - len(suffix)]
    return name


def read_records(path: str, shown: str | None = None, kind: InputKind | None = None) -> Iterator[Read]:
    """Yield the records of a FASTA or FASTQ file in order.

    Args:
        path: A file (plain, gzip, bzip2, xz or zstandard) or ``-`` for standard input.
        shown: What messages call the file; its path if not given.
        kind: Whose letters alone are taken; None for either's.
    Yields:
        Read: sequences without blanks or line ends, case as in the file, possibly empty.
    Raises:
        BadInput: Not FASTA/FASTQ, cut off, a record without an id, or a character that is no letter of a sequence.
        BadRequest: The file is not there.
    """
    shown = path if shown is None else shown
    with readable(path, shown) as file:
        head = file.peek(FIRST_BYTES)
        if foreign := foreign_format(head):
            raise BadInput(f"{shown}: is no FASTA or FASTQ but {foreign[0]}. {foreign[1]}.")
        line_end = b"\r" if b"\r" in head and b"\n" not in head else b"\n"
        line = 1 + _skip_blank_lines(file, line_end)
        first = file.peek(1)[:1]
        if not first:
            return
        if first not in b">@":
            start = file.readline(60).decode("ascii", "replace").rstrip()[:40]
            raise BadInput(
                f"{shown}, line {line}: expected '>' (FASTA) or '@' (FASTQ), found {start!r}. "
                "Give a FASTA or FASTQ file, plain or compressed."
            )
        parse = records.fasta if first == b">" else records.fastq
        # Whatever ends a line of FASTA; but in a line of FASTQ a carriage return may stand before the line end.
        text = io.TextIOWrapper(file, "utf-8", "surrogateescape", None if first == b">" else line_end.decode())
        number = 0
        try:
            for name, sequence in parse(text, line, NUCLEOTIDE if kind == InputKind.NUCLEOTIDE else EITHER):
                number += 1
                yield Read(name, sequence.decode("ascii"))
        except records.BadRecord as error:
            who = f"record {number + 1}" + (f" ({error.name})" if error.name else "")
            raise BadInput(f"{shown}, line {error.line}: {who} {_printable(str(error))}") from error
        finally:
            text.detach()  # or it would close standard input
    if first == b">" and lacks_last_block(path):
        raise BadInput(
            f"{shown}: is cut off: bgzip's last, empty block is missing. Fetch or compress it again. "
            "If it is known to be whole, decompress it first."
        )


def _printable(message: str) -> str:
    """On one line; what a terminal would obey, as its code: messages quote what the file holds."""
    letters = " ".join(message.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in letters)


def _skip_blank_lines(file: io.BufferedReader, line_end: bytes) -> int:
    """Read past leading white space and comments (and a byte-order mark); return the lines passed."""
    lines = 0
    if file.peek(3)[:3] == b"\xef\xbb\xbf":
        file.read(3)
    while (byte := file.peek(1)[:1]) and (byte.isspace() or byte in b"#;"):
        comment = byte in b"#;"
        while (byte := file.read(1)) and comment and byte != line_end:
            pass
        lines += byte == line_end
    return lines


def with_unique_names(reads: Iterable[Read]) -> Iterator[Read]:
    """Pass reads on; the second of an id gets ``_1``, the third ``_2``, ..., where these ids are not taken either."""
    taken, copies, renamed = set[str](), Counter[str](), 0
    for read in reads:
        name = read.name
        while name in taken:
            copies[read.name] += 1
            name = f"{read.name}_{copies[read.name]}"
        taken.add(name)
        renamed += name != read.name
        yield read if name == read.name else Read(name, read.sequence)
    if renamed:
        log.warning("%d records of repeated ids were renamed.", renamed)
