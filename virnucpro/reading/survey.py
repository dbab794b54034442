"""Survey: one pass over the whole input before any model is loaded; the second must meet the same.

It refuses bad input at once, counts, and takes the digest.
"""

from __future__ import annotations

import hashlib
import logging
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from virnucpro.errors import BadInput
from virnucpro.reading.alphabet import GAPS
from virnucpro.reading.containers import lacks_last_block
from virnucpro.reading.input_kind import InputKind, looks_like_dna
from virnucpro.reading.reads import Read, read_records

log = logging.getLogger(__name__)
_BATCH_RECORDS, _BATCH_LETTERS = 256, 2**16


@dataclass(frozen=True, slots=True)
class Survey:
    """What the input holds; proteins are counted without their closing stops."""

    kind: InputKind
    records: int
    letters: int  # bp or residues
    empty: int  # records without letters
    rna: int  # records with U; 0 for proteins
    gapped: int  # records with gaps; 0 for proteins
    dna: int  # records that look like DNA; 0 for nucleotides
    glued: int  # ids with ">" in them
    sha256: str  # of "{id}\t{sequence}\n" of all records in order, ids as in the files
    repeated: bool  # some id occurs twice, in one file or in two


def survey(paths: Sequence[str], shown: Sequence[str], kind: InputKind, mixed: bool, rename_duplicates: bool) -> Survey:
    """Read all records of all files once.

    Host memory: 8 bytes a record, and 256 records or the longest one at a time as they are. Only if
    ids seem to be repeated, those that do are held as well.

    Args:
        paths: Regular files, read in this order.
        shown: What messages call them.
        mixed: Whether there may be DNA among proteins.
        rename_duplicates: Repeated ids are no error, for the second pass will rename them.
    Raises:
        BadInput: A file cannot be used, or two records share an id (record numbers count on through
            the files), or some are DNA and some protein. BadRequest: A file is not there.
    """
    digest, hashes = hashlib.sha256(), array("q")
    letters = empty = rna = gapped = dna = glued = 0
    for path, name in zip(paths, shown, strict=True):
        before = len(hashes)
        for batch in _batches(read_records(path, name, kind)):
            digest.update("".join(map(digested, batch)).encode())
            sequences = [read.sequence for read in batch]
            if kind == InputKind.PROTEIN:
                alike = [looks_like_dna(sequence) for sequence in sequences]
                if any(alike) and not mixed:
                    place = alike.index(True)
                    raise BadInput(
                        f"{name}: record {len(hashes) - before + place + 1} ({batch[place].name}) is DNA by its "
                        "letters, and the first ones are proteins. Give DNA and proteins in files of their own, or say "
                        "that all are proteins with --input-type protein."
                    )
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

    candidates = _repeated(hashes)
    repeat = _first_repeat(opened(paths, shown), candidates) if candidates else None
    if repeat and not rename_duplicates:
        name, first, second = repeat
        raise BadInput(
            f"records {first} and {second} have the same id {name!r}; ids must be unique. "
            "Rename one; predict can append _1, _2, ... (--rename-duplicates)."
        )
    return Survey(kind, len(hashes), letters, empty, rna, gapped, dna, glued, digest.hexdigest(), repeat is not None)


def opened(paths: Sequence[str], shown: Sequence[str], kind: InputKind | None = None) -> Iterator[Read]:
    """Yield the records of one file after the other."""
    return chain.from_iterable(read_records(path, name, kind) for path, name in zip(paths, shown, strict=True))


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


def digested(read: Read) -> str:
    """What a digest of the input takes of a record."""
    return f"{read.name}\t{read.sequence}\n"


def _repeated(hashes: array[int]) -> set[int]:
    """Values that occur twice; sorts `hashes` in place, for a copy of it would be as large again."""
    sorted_N = np.asarray(hashes)
    sorted_N.sort()
    return set(sorted_N[1:][sorted_N[1:] == sorted_N[:-1]].tolist())


def _first_repeat(reads: Iterable[Read], candidates: set[int]) -> tuple[str, int, int] | None:
    """The id that is the first to occur again, and the numbers (from 1) of its first two records.

    Different ids can have the same 64-bit hash, so ids themselves are compared, if their hash is a candidate.
    """
    firsts: dict[str, int] = {}
    for number, read in enumerate(reads, start=1):
        if hash(read.name) in candidates:
            if read.name in firsts:
                return read.name, firsts[read.name], number
            firsts[read.name] = number
    return None
