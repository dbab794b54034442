"""Parts: the translated input split into files, and the files shared out among workers."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from virnucpro.files import whole_file
from virnucpro.rundir import RunDirectory

MAX_SEQUENCES = 10_000  # of one part
PARTS_PER_WORKER = 2  # at least, so that a slow worker does not leave the others idle for long


@dataclass(frozen=True)
class Part:
    """Up to 10,000 consecutive sequences; whole parts go to workers and into feature files."""

    index: int
    sequences: int
    protein_file: Path
    nucleotide_file: Path | None  # None for a protein input
    feature_file: Path
    digest: str  # sha256 of the request (settings, weights) and of the part's sequences

    @property
    def name(self) -> str:
        return self.feature_file.stem


def part_count(sequences: int, workers: int, parallel: bool) -> int:
    """How many parts: none over 10,000 sequences, and two a worker when parallel."""
    wanted = PARTS_PER_WORKER * workers if parallel else 1
    return min(sequences, max(-(-sequences // MAX_SEQUENCES), wanted))


def part_sizes(sequences: int, count: int) -> list[int]:
    """Sizes of `count` parts that differ by one at most.

    >>> part_sizes(10, 4)
    [3, 3, 2, 2]
    """
    return [sequences // count + (i < sequences % count) for i in range(count)]


def split(run: RunDirectory, sequences: int, count: int, with_nucleotides: bool, request: str) -> list[Part]:
    """Split the stage's FASTA files (two lines a record) into `count` parts, in order.

    `request` is a text of all that the features depend on beside the sequences.
    """
    sources = {run.protein_parts: run.protein_fasta}
    if with_nucleotides:
        sources[run.nucleotide_parts] = run.nucleotide_fasta
    run.features.mkdir(exist_ok=True)
    sizes = part_sizes(sequences, count) if count else []
    digests = [hashlib.sha256(request.encode()) for _ in sizes]
    for folder, source in sources.items():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        with open(source, encoding="utf-8", newline="\n") as file:
            for index, size in enumerate(sizes):
                with whole_file(folder / f"{run.stem}_{index:05d}{source.suffix}", durable=False) as part:
                    for line in islice(file, 2 * size):
                        part.write(line)
                        digests[index].update(line.encode())
    return [
        Part(
            index=index,
            sequences=size,
            protein_file=run.protein_parts / f"{run.stem}_{index:05d}{run.protein_fasta.suffix}",
            nucleotide_file=run.nucleotide_parts / f"{run.stem}_{index:05d}{run.nucleotide_fasta.suffix}"
            if with_nucleotides
            else None,
            feature_file=run.features / f"{run.stem}_{index:05d}.pt",
            digest=digests[index].hexdigest(),
        )
        for index, size in enumerate(sizes)
    ]


def read_part(path: Path) -> tuple[list[str], list[str]]:
    """Names and sequences of a part's FASTA file (two lines a record)."""
    with open(path, encoding="utf-8", newline="\n") as file:
        lines = file.read().split("\n")[:-1]  # not splitlines: it knows more line ends than "\n"
    return [line[1:] for line in lines[::2]], lines[1::2]


def assign(parts: Sequence[Part], workers: int) -> list[list[Part]]:
    """Share whole parts out: the largest first, each to the worker with the fewest sequences.

    Returns:
        A list a worker, each in order of the input; workers without work get an empty list.
    """
    shares: list[list[Part]] = [[] for _ in range(workers)]
    load = [0] * workers
    for part in sorted(parts, key=lambda part: -part.sequences):
        idlest = load.index(min(load))
        shares[idlest].append(part)
        load[idlest] += part.sequences
    return [sorted(share, key=lambda part: part.index) for share in shares]
