"""Reads: what the input file holds, one record at a time.

FASTA or FASTQ, plain or compressed, from a file or from standard input. The format is told
from the first character, not from the file's name.
"""

from __future__ import annotations

import io
import itertools
import logging
import lzma
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dnaio
from xopen import xopen

from virnucpro.errors import BadInput, BadRequest

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdError
else:
    from backports.zstd import ZstdError  # what xopen decompresses with there

log = logging.getLogger(__name__)

STDIN = "-"
# White space and control characters are no part of a sequence.
_NO_LETTERS = str.maketrans("", "", "".join(map(chr, [*range(33), 127])))
NUCLEOTIDE_LETTERS = "ACGTUNacgtun"
SNIFFED_RECORDS = 1_000
SNIFFED_LETTERS = 1_000_000
# Proteins of the usual composition are about 27 % A, C, G, T, N (and U); DNA is nearly 100 %.
NUCLEOTIDE_SHARE, PROTEIN_SHARE = 0.9, 0.6
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
        for suffix in suffixes:
            if name.lower().endswith(suffix) and len(name) > len(suffix):
                name = name[: -len(suffix)]
                break
    return name


def read_records(path: str, shown: str | None = None) -> Iterator[Read]:
    """Yield the records of a FASTA or FASTQ file in order.

    Args:
        path: A file (plain, gzip, bzip2, xz or zstandard) or ``-`` for standard input.
        shown: What messages call the file; its path if not given.
    Yields:
        Read: sequences without blanks or line ends, case as in the file, possibly empty.
    Raises:
        BadInput: Not FASTA/FASTQ, cut off, not text, or a record without a name.
    """
    shown = path if shown is None else shown
    with _readable(path, shown) as file:
        skipped = _skip_blank_lines(file)
        first = file.peek(1)[:1]
        if not first:
            return
        if first not in b">@":
            line = file.readline(60).decode("ascii", "replace").rstrip()
            raise BadInput(
                f"{shown}, line {skipped + 1}: expected '>' (FASTA) or '@' (FASTQ), found "
                f"{line[:40]!r}. Give a FASTA or FASTQ file, plain or compressed."
            )
        number = 0
        try:
            for number, (name, sequence) in enumerate(_parse(file, first), start=1):
                yield _read(shown, number, name, sequence)
        except dnaio.FileFormatError as error:
            # dnaio counts lines from 0 and from where it began to read.
            place = f"record {number + 1}" if error.line is None else f"line {error.line + 1 + skipped}"
            raise BadInput(
                f"{shown}, {place}: not valid {error.format}: {_printable(error.message)} Mend or remove that record."
            ) from error


def _printable(message: str) -> str:
    """On one line; what a terminal would obey, as its code: messages quote what the file holds."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in " ".join(message.split())
    )


def _parse(file: io.BufferedReader, first: bytes) -> Iterator[tuple[str, str]]:
    """Headers and sequences as dnaio reads them."""
    if first == b">":
        # Tuples instead of dnaio's records, which refuse a header that is not ASCII.
        fasta = dnaio.FastaReader(file, sequence_class=lambda name, sequence, _: (name, sequence))
        yield from fasta  # type: ignore[misc]  # its own types know nothing of `sequence_class`
    else:
        lines = io.BufferedReader(_FastqLines(file), 2**20)
        yield from ((record.name, record.sequence) for record in dnaio.FastqReader(lines))


def _read(shown: str, number: int, name: str, sequence: str) -> Read:
    words = name.split(maxsplit=1)
    if not words or name[0].isspace() or not words[0].isprintable():
        what = "no id" if not words or name[0].isspace() else "an id with control characters"
        raise BadInput(f"{shown}: record {number} has {what} in its header. Give every record a name of its own.")
    if not sequence.isascii():
        found = next(letter for letter in sequence if not letter.isascii())
        raise BadInput(f"{shown}: record {number} ({words[0]}) has the letter {found!r} in its sequence. Remove it.")
    return Read(words[0], sequence.translate(_NO_LETTERS))


class _FastqLines(io.RawIOBase):
    """A FASTQ file without the blank lines between its records, which dnaio does not take.

    Blank lines inside a record are kept: they are the sequence and the qualities of an empty record.
    """

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._line_of_record = 0
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # all that BufferedReader gives
        while not self._rest:
            line = self._file.readline()
            if not line:
                return 0
            if self._line_of_record == 0 and line.isspace():
                continue
            if self._line_of_record in (0, 2) and not line.isascii():
                line = line.split()[0] + b"\n" if self._line_of_record == 0 else b"+\n"  # the id is all that counts
            self._line_of_record = (self._line_of_record + 1) % 4
            self._rest = line
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


@contextmanager
def _readable(path: str, shown: str) -> Iterator[io.BufferedReader]:
    """Open `path` for reading bytes, uncompressed, and explain what goes wrong while it is read."""
    if path == STDIN and sys.stdin is None:
        raise BadRequest("Standard input is closed. Pipe the sequences in, or give a file.")
    try:
        # threads=0: decompress here, not in a program that may be missing and reports errors its own way
        with xopen(sys.stdin.buffer if path == STDIN else path, "rb", threads=0) as file:
            # What xopen gives it calls a BinaryIO, which has neither `peek` nor `readinto`.
            yield io.BufferedReader(file) if not hasattr(file, "peek") else file  # type: ignore[arg-type, misc]
    except (EOFError, zlib.error, lzma.LZMAError, ZstdError) as error:
        raise BadInput(
            f"{shown}: the compressed file is damaged or cut off ({error}). Fetch or compress it again."
        ) from error
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{shown}: not a text file (byte {error.object[error.start]:#04x} is not UTF-8). "
            "Give a FASTA or FASTQ file."
        ) from error
    except IsADirectoryError as error:
        raise BadRequest(f"{shown}: is a directory. Give a FASTA or FASTQ file.") from error
    except FileNotFoundError as error:
        raise BadRequest(f"{shown}: no such file. Check the path.") from error
    except OSError as error:  # among them gzip.BadGzipFile and bz2's
        raise BadInput(f"{shown}: cannot be read ({error}). Check the file.") from error


def _skip_blank_lines(file: io.BufferedReader) -> int:
    """Read past leading white space and comments (and a byte-order mark); return the lines passed."""
    lines = 0
    if file.peek(3)[:3] == b"\xef\xbb\xbf":
        file.read(3)
    while (byte := file.peek(1)[:1]) and (byte.isspace() or byte == b"#"):
        passed = file.readline() if byte == b"#" else file.read(1)
        lines += passed.endswith(b"\n")
    return lines


def sniff(reads: Iterator[Read], said: str = "auto") -> tuple[str, Iterator[Read]]:
    """Tell nucleotides from proteins by the letters of the first records.

    Args:
        reads: Input records; up to 1,000 of them (or 1 million letters) are looked at.
        said: "nucleotide" or "protein" where the user knows; the first records are read all the same,
            so that a bad file is refused before anything else is done.
    Returns:
        ("nucleotide" or "protein", all records again from the first). Empty input counts as
        nucleotide.
    Raises:
        BadRequest: The letters are neither clearly nucleotides nor clearly amino acids.
    """
    head: list[Read] = []
    letters = nucleotides = 0
    for read in reads:
        head.append(read)
        letters += len(read.sequence)
        nucleotides += sum(map(read.sequence.count, NUCLEOTIDE_LETTERS))
        if len(head) >= SNIFFED_RECORDS or letters >= SNIFFED_LETTERS:
            break
    if said != "auto":
        return said, itertools.chain(head, reads)
    share = nucleotides / letters if letters else 1.0
    if PROTEIN_SHARE < share < NUCLEOTIDE_SHARE:
        raise BadRequest(
            f"{share:.0%} of the first letters are A, C, G, T, U or N: neither clearly DNA (90 % or more) "
            "nor clearly protein (60 % or less). Say which with --input-type nucleotide or protein."
        )
    kind = "nucleotide" if share >= NUCLEOTIDE_SHARE else "protein"
    return kind, itertools.chain(head, reads)


def with_unique_names(reads: Iterable[Read], rename: bool) -> Iterator[Read]:
    """Pass reads on, refusing or renaming any whose id was seen before.

    Args:
        reads: Input records.
        rename: Append ``_1`` to the second record of a name, ``_2`` to the third, ..., passing over
            names already taken; otherwise refuse.
    Raises:
        BadInput: Two records share an id and `rename` is off; names both record numbers.
    """
    first_seen: dict[str, int] = {}  # id -> record number, counted from 1
    copies: dict[str, int] = {}
    renamed = 0
    for number, read in enumerate(reads, start=1):
        name = read.name
        if name in first_seen:
            if not rename:
                raise BadInput(
                    f"records {first_seen[name]} and {number} have the same id {name!r}; ids must be unique. "
                    "Rename one, or add --rename-duplicates to append _1, _2, ..."
                )
            while name in first_seen:
                copies[read.name] = copies.get(read.name, 0) + 1
                name = f"{read.name}_{copies[read.name]}"
            read = Read(name, read.sequence)
            renamed += 1
        first_seen[name] = number
        yield read
    if renamed:
        log.warning("%d records of repeated ids were renamed.", renamed)
