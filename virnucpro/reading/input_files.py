"""Survey: one pass over the whole input before any model is loaded.

It refuses bad input at once, tells nucleotides from proteins, counts, and takes the digest. The run
then reads the input a second time, so input that can be read only once is copied to a file first.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sys
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from virnucpro.errors import BadInput, InputChanged
from virnucpro.reading.alphabet import GAPS
from virnucpro.reading.containers import STDIN, lacks_last_block
from virnucpro.reading.input_kind import kind_of_reads, looks_like_dna
from virnucpro.reading.reads import Read, read_records, with_unique_names

log = logging.getLogger(__name__)

_COPIED_AT_ONCE = 2**20  # bytes
_BATCH_RECORDS, _BATCH_LETTERS = 256, 2**16


@dataclass(frozen=True, slots=True)
class Survey:
    """What the input holds; proteins are counted without their closing stops."""

    kind: str  # "nucleotide" or "protein"
    records: int
    letters: int  # bp or residues
    empty: int  # records without letters
    rna: int  # records with U; 0 for proteins
    gapped: int  # records with gaps; 0 for proteins
    dna: int  # records that look like DNA; 0 for nucleotides
    glued: int  # ids with ">" in them
    sha256: str  # of "{id}\t{sequence}\n" of all records in order, ids as in the files
    repeated: bool  # some id occurs twice, in one file or in two


def survey(
    paths: Sequence[str],
    input_type: str = "auto",
    rename_duplicates: bool = False,
    shown: Sequence[str] | None = None,
) -> Survey:
    """Read all records of all files once.

    Host memory: 8 bytes a record, and 256 records or the longest one at a time as they are. Only if
    ids seem to be repeated, those that do are held as well.

    Args:
        paths: Regular files (see `spooled`), read in this order.
        input_type: "nucleotide" or "protein" where the user knows; "auto" tells them by the first
            records of the first file that has any.
        rename_duplicates: Repeated ids are no error, for `reread` will rename them.
        shown: What messages call the files; their paths if not given.
    Raises:
        BadInput: A file cannot be used, or two records share an id (record numbers count on through
            the files), or some are DNA and some protein. BadRequest: A file is not there, or its letters do not tell
            what they are.
    """
    kind = kind_of(paths, input_type, shown)
    digest, hashes = hashlib.sha256(), array("q")
    letters = empty = rna = gapped = dna = glued = 0
    for path, name in zip(paths, shown or paths, strict=True):
        before = len(hashes)
        for batch in _batches(read_records(path, name, kind)):
            digest.update("".join(map(_digested, batch)).encode())
            sequences = [read.sequence for read in batch]
            if kind == "protein":
                alike = [looks_like_dna(sequence) for sequence in sequences]
                if any(alike) and input_type == "auto":
                    place = alike.index(True)
                    raise _mixed(name, len(hashes) - before + place + 1, batch[place])
                dna += sum(alike)
                sequences = [sequence.rstrip("*") for sequence in sequences]
            else:
                rna += _with_any(sequences, "Uu")
                gapped += _with_any(sequences, GAPS)
            glued += _with_any([read.name for read in batch], ">")
            hashes.extend(hash(read.name) for read in batch)
            letters += sum(map(len, sequences))
            empty += sequences.count("")
        if lacks_last_block(path):
            log.warning("%s: bgzip's last, empty block is missing. Make sure that the file is not cut off.", name)

    suspects = _repeated(hashes)
    repeat = _first_repeat(chain.from_iterable(_opened(paths, shown)), suspects) if suspects else None
    if repeat and not rename_duplicates:
        name, first, second = repeat
        raise BadInput(
            f"records {first} and {second} have the same id {name!r}; ids must be unique. "
            "Rename one, or add --rename-duplicates to append _1, _2, ..."
        )
    return Survey(kind, len(hashes), letters, empty, rna, gapped, dna, glued, digest.hexdigest(), repeat is not None)


def kind_of(paths: Sequence[str], input_type: str = "auto", shown: Sequence[str] | None = None) -> str:
    """Tell "nucleotide" from "protein" by the first records alone, of the first file that has any.

    Raises:
        As `survey`, as far as these records go.
    """
    for reads in _opened(paths, shown):
        if first := next(reads, None):
            return kind_of_reads(chain([first], reads), input_type)
    return kind_of_reads((), input_type)


def reread(
    paths: Sequence[str], survey: Survey, rename_duplicates: bool = False, shown: Sequence[str] | None = None
) -> Iterator[Read]:
    """Yield the records of a surveyed input, with unique ids.

    Args:
        paths: As given to `survey`, and so `rename_duplicates` and `shown`.
        survey: What `survey` returned for them.
    Raises:
        BadInput: After the last record: they are not those of the survey. Before: as read_records.
    """
    reads = _unchanged(chain.from_iterable(_opened(paths, shown, survey.kind)), survey, shown or paths)
    return with_unique_names(reads, rename_duplicates) if survey.repeated else reads


@contextmanager
def spooled(path: str, folder: Path, prefix: str = ".input-") -> Iterator[str]:
    """Yield a path that can be read twice.

    Args:
        path: A regular file, whose path is yielded as it is, or standard input (``-``), a pipe or a
            device, whose bytes are copied first. What is not there is left to read_records to explain.
        folder: Where the copy is made, readable by this user only, removed at the end.
        prefix: Of the copy's name; eight random letters and ".tmp" follow.
    Raises:
        OSError: The input cannot be read, or the copy not written.
    """
    readable_once = sys.stdin is not None if path == STDIN else _is_stream(path)
    if not readable_once:
        yield path
        return
    descriptor, copy_path = tempfile.mkstemp(prefix=prefix, suffix=".tmp", dir=folder)  # with mode 0600
    try:
        with (
            open(descriptor, "wb") as copy,
            nullcontext(sys.stdin.buffer) if path == STDIN else open(path, "rb") as stream,
        ):
            shutil.copyfileobj(stream, copy, _COPIED_AT_ONCE)
        yield copy_path
    finally:
        Path(copy_path).unlink(missing_ok=True)


def _is_stream(path: str) -> bool:
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _opened(paths: Sequence[str], shown: Sequence[str] | None, kind: str | None = None) -> Iterator[Iterator[Read]]:
    """The records of each file, for one file after the other."""
    return (read_records(path, name, kind) for path, name in zip(paths, shown or paths, strict=True))


def _mixed(shown: str, number: int, read: Read) -> BadInput:
    return BadInput(
        f"{shown}: record {number} ({read.name}) is DNA by its letters, and the first ones are proteins. Give DNA and "
        "proteins in files of their own, or say that all are proteins with --input-type protein."
    )


def _batches(reads: Iterator[Read]) -> Iterator[list[Read]]:
    """Reads by hundreds, for what is done faster for many; a long one ends its batch."""
    batch: list[Read] = []
    letters = 0
    for read in reads:
        batch.append(read)
        letters += len(read.sequence)
        if len(batch) >= _BATCH_RECORDS or letters >= _BATCH_LETTERS:
            yield batch
            batch, letters = [], 0
    if batch:
        yield batch


def _with_any(texts: list[str], letters: str) -> int:
    """How many texts have one of these letters."""
    joined = "".join(texts)
    present = [letter for letter in letters if letter in joined]
    return sum(any(letter in text for letter in present) for text in texts) if present else 0


def _digested(read: Read) -> str:
    return f"{read.name}\t{read.sequence}\n"


def _repeated(hashes: array[int]) -> set[int]:
    """Values that occur twice; sorts `hashes` in place, for a copy of it would be as large again."""
    sorted_N = np.asarray(hashes)
    sorted_N.sort()
    return set(sorted_N[1:][sorted_N[1:] == sorted_N[:-1]].tolist())


def _first_repeat(reads: Iterable[Read], suspects: set[int]) -> tuple[str, int, int] | None:
    """The id that is the first to occur again, and the numbers (from 1) of its first two records.

    Different ids can have the same 64-bit hash, so ids themselves are compared, if their hash is suspect.
    """
    first_seen: dict[str, int] = {}
    for number, read in enumerate(reads, start=1):
        if hash(read.name) in suspects:
            if read.name in first_seen:
                return read.name, first_seen[read.name], number
            first_seen[read.name] = number
    return None


def _unchanged(reads: Iterable[Read], survey: Survey, shown: Sequence[str]) -> Iterator[Read]:
    """Pass reads on, and make sure at the end that they were those of the survey."""
    digest = hashlib.sha256()
    for read in reads:
        digest.update(_digested(read).encode())
        yield read
    if digest.hexdigest() != survey.sha256:
        raise InputChanged(
            f"{', '.join(shown)}: changed while it was read; the results so far are of no use. "
            "Repeat the command when nothing writes to the input any more."
        )
