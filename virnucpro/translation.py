"""Translation stage: reads -> chunk, nucleotide and protein FASTA files, and a table of the reads.

The stage streams: host memory does not grow with the input (but for the set of ids).
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice

from virnucpro.children import follow_the_parent, interrupts_held
from virnucpro.chunks import chunks
from virnucpro.errors import VirnucproError
from virnucpro.files import whole_file
from virnucpro.frames import open_frames
from virnucpro.reads import Read
from virnucpro.rundir import RunDirectory

BATCH_LETTERS = 1_000_000  # one task for a worker process: about a second of work
LINE_WIDTH = 60
MAX_RESIDUES = 1024  # longer proteins are cut, as the published tool does
# What ESM-2's vocabulary has for residues; any other letter is read as X, "unknown".
_ESM_LETTERS = "LAGVSERTIDPKQNFYMHWCXBUZO.-"
_TO_ESM = dict.fromkeys(range(128), "X") | {ord(letter): letter for letter in _ESM_LETTERS}


class InputDigest:
    """Counts reads and takes a sha256 over their ids and sequences as they pass."""

    def __init__(self) -> None:
        self.reads = 0
        self._sha256 = hashlib.sha256()

    def passing(self, reads: Iterable[Read]) -> Iterator[Read]:
        for read in reads:
            self.reads += 1
            self._sha256.update(f"{read.name}\t{read.sequence}\n".encode())
            yield read

    def describe(self) -> dict[str, int | str]:
        return {"reads": self.reads, "sha256": self._sha256.hexdigest()}


@dataclass(frozen=True)
class Translated:
    """What the stage read and wrote."""

    digest: InputDigest
    empty: int
    sequences: int  # open frames, or proteins
    cut: int  # proteins longer than MAX_RESIDUES
    unknown_letters: int  # residues read as X
    rna: bool  # letters U and no T


@dataclass(frozen=True, slots=True)
class _Batch:
    """Text of one batch of reads, ready to be appended to the stage's files."""

    chunk_fasta: str
    nucleotide_fasta: str
    protein_fasta: str
    table: str
    sequences: int
    empty: int
    cut: int = 0
    unknown_letters: int = 0
    has_t: bool = True
    has_u: bool = False


def translate_reads(
    reads: Iterable[Read],
    run: RunDirectory,
    kind: str,
    chunk_size: int,
    processes: int,
    accept: Callable[[Translated], None] = lambda translated: None,
) -> Translated:
    """Write the stage's files for all reads.

    Args:
        reads: Input records with unique ids.
        run: Where to write `chunk_fasta`, `nucleotide_fasta`, `protein_fasta`, `reads_table`.
        kind: "nucleotide": chunks of `chunk_size` bp and their open frames; "protein": the proteins
            themselves, upper-cased, without closing stops, cut to 1,024 residues.
        chunk_size: bp.
        processes: How many translate; with 1, or input that fits one batch, this process does.
        accept: Called when all is read; may raise to have no file take its name.
    """
    translate = partial(_translate_batch, chunk_size=chunk_size) if kind == "nucleotide" else _protein_batch
    digest = InputDigest()
    totals = dict.fromkeys(("sequences", "empty", "cut", "unknown_letters"), 0)
    has_t, has_u = False, False
    with ExitStack() as stack:
        protein_file = stack.enter_context(whole_file(run.protein_fasta, durable=False))
        table_file = stack.enter_context(whole_file(run.reads_table, durable=False))
        if kind == "nucleotide":
            chunk_file = stack.enter_context(whole_file(run.chunk_fasta, durable=False))
            nucleotide_file = stack.enter_context(whole_file(run.nucleotide_fasta, durable=False))

        for batch in _in_order(translate, _batches(digest.passing(reads)), processes):
            protein_file.write(batch.protein_fasta)
            table_file.write(batch.table)
            if kind == "nucleotide":
                chunk_file.write(batch.chunk_fasta)
                nucleotide_file.write(batch.nucleotide_fasta)
            for key in totals:
                totals[key] += getattr(batch, key)
            has_t, has_u = has_t or batch.has_t, has_u or batch.has_u
        translated = Translated(digest, rna=has_u and not has_t, **totals)
        accept(translated)
    return translated


def _translate_batch(reads: list[Read], chunk_size: int) -> _Batch:
    chunk_fasta, nucleotide_fasta, protein_fasta, table = [], [], [], []
    cut = 0
    for read in reads:
        chunk_count = frame_count = 0
        for chunk in chunks(read, chunk_size):
            chunk_count += 1
            chunk_fasta.append(f">{chunk.name}\n{_wrapped(chunk.sequence)}")
            for frame in open_frames(chunk):
                frame_count += 1
                cut += len(frame.residues) > MAX_RESIDUES
                nucleotide_fasta.append(f">{frame.name}\n{frame.nucleotides}\n")
                protein_fasta.append(f">{frame.name}\n{frame.residues}\n")
        table.append(f"{read.name}\t{len(read.sequence)}\t{chunk_count}\t{frame_count}\n")
    letters = set().union(*(read.sequence for read in reads))
    return _Batch(
        "".join(chunk_fasta),
        "".join(nucleotide_fasta),
        "".join(protein_fasta),
        "".join(table),
        sequences=len(protein_fasta),
        empty=sum(not read.sequence for read in reads),
        cut=cut,
        has_t=bool(letters & set("Tt")),
        has_u=bool(letters & set("Uu")),
    )


def _protein_batch(reads: list[Read]) -> _Batch:
    protein_fasta, table = [], []
    cut = unknown = 0
    for read in reads:
        residues = read.sequence.upper().rstrip("*").translate(_TO_ESM)
        table.append(f"{read.name}\t{len(residues)}\t0\t{int(bool(residues))}\n")
        if residues:
            cut += len(residues) > MAX_RESIDUES
            unknown += residues.count("X") - read.sequence.upper().count("X")
            protein_fasta.append(f">{read.name}\n{residues[:MAX_RESIDUES]}\n")
    return _Batch(
        "", "", "".join(protein_fasta), "".join(table),
        sequences=len(protein_fasta), empty=len(reads) - len(protein_fasta), cut=cut, unknown_letters=unknown,
    )  # fmt: skip


def _wrapped(sequence: str) -> str:
    return "".join(f"{sequence[i : i + LINE_WIDTH]}\n" for i in range(0, len(sequence), LINE_WIDTH))


def _batches(reads: Iterable[Read]) -> Iterator[list[Read]]:
    """Group reads until BATCH_LETTERS letters are reached (or as many empty records)."""
    batch: list[Read] = []
    letters = 0
    for read in reads:
        batch.append(read)
        letters += len(read.sequence) + 1
        if letters >= BATCH_LETTERS:
            yield batch
            batch, letters = [], 0
    if batch:
        yield batch


def _in_order(function: Callable, items: Iterator, processes: int) -> Iterator:
    """`map` over worker processes, results in order, only a few items under way at a time."""
    head = list(islice(items, 2))
    if processes <= 1 or len(head) < 2:
        yield from map(function, chain(head, items))
        return
    context = multiprocessing.get_context("spawn")
    under_way: deque = deque()
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=follow_the_parent)
    try:
        for item in chain(head, items):
            with interrupts_held():
                under_way.append(pool.submit(function, item))
            if len(under_way) > 2 * processes:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    except BrokenProcessPool as error:
        raise VirnucproError(
            "A translating process was killed (out of memory?). Repeat with --num-workers 1."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
