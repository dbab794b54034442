"""Workloads: seeded, versioned inputs whose bytes are pinned by sha256.

    python -m benchmarks.workloads proteins-10k DIR

Independent of the package, so that every release is measured on the same bytes. A change of a
generator or of Python's `random` shows as a wrong checksum, never as a faster release.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

VERSION = "1"
SEED = 42
RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
# share of the proteins, shortest and longest length in residues
PROTEIN_LENGTHS = ((0.40, 50, 100), (0.35, 100, 300), (0.20, 300, 500), (0.05, 500, 1000))
READ_LENGTHS = (100, 500)  # bp
CONTIG_LENGTHS = (1_000, 5_000)  # bp
CHUNK_SIZE = 500  # bp
LINE_WIDTH = 60
# Genetic code 1 without stops: every codon of each residue
CODONS = {
    "A": "GCA GCC GCG GCT", "C": "TGC TGT", "D": "GAC GAT", "E": "GAA GAG", "F": "TTC TTT",
    "G": "GGA GGC GGG GGT", "H": "CAC CAT", "I": "ATA ATC ATT", "K": "AAA AAG",
    "L": "CTA CTC CTG CTT TTA TTG", "M": "ATG", "N": "AAC AAT", "P": "CCA CCC CCG CCT", "Q": "CAA CAG",
    "R": "AGA AGG CGA CGC CGG CGT", "S": "AGC AGT TCA TCC TCG TCT", "T": "ACA ACC ACG ACT",
    "V": "GTA GTC GTG GTT", "W": "TGG", "Y": "TAC TAT",
}  # fmt: skip
_CODONS = {residue: codons.split() for residue, codons in CODONS.items()}
_COMPLEMENT = str.maketrans("ACGT", "TGCA")

Records = Iterator[tuple[str, str]]  # id, sequence


def proteins(count: int, seed: int = SEED) -> Records:
    """`count` random proteins; all lengths are drawn before the first residue."""
    rng = random.Random(seed)
    lengths = []
    for _ in range(count):
        draw = rng.random()
        for share, shortest, longest in PROTEIN_LENGTHS:  # noqa: B007
            if draw < share:
                break
            draw -= share
        lengths.append(rng.randint(shortest, longest))
    for number, length in enumerate(lengths):
        yield f"protein_{number:05d}", "".join(rng.choices(RESIDUES, k=length))


def reads(count: int, seed: int = SEED) -> Records:
    """`count` reads of 100-500 bp, each a stretch of coding DNA in any frame on either strand."""
    rng = random.Random(seed)
    for number in range(count):
        length = rng.randint(*READ_LENGTHS)
        yield f"read_{number:05d}", _coding(rng, length)


def contigs(chunks: int, seed: int = SEED) -> Records:
    """Contigs of 1-5 kb, coding from end to end, that make exactly `chunks` chunks of 500 bp."""
    rng = random.Random(seed)
    number = 0
    while chunks:
        length = rng.randint(*CONTIG_LENGTHS)
        if (left := chunks * CHUNK_SIZE) - length < CONTIG_LENGTHS[0]:
            length = min(left, CONTIG_LENGTHS[1])  # the last contig takes what is left, in full chunks
        chunks -= -(-length // CHUNK_SIZE)
        yield f"contig_{number:05d}", _coding(rng, length)
        number += 1


def _coding(rng: random.Random, length: int) -> str:
    """DNA back-translated from a random protein, cut at a random phase, from a random strand."""
    phase = rng.randrange(3)
    protein = rng.choices(RESIDUES, k=(phase + length) // 3 + 1)
    dna = "".join([rng.choice(_CODONS[residue]) for residue in protein])[phase : phase + length]
    return dna.translate(_COMPLEMENT)[::-1] if rng.random() < 0.5 else dna


@dataclass(frozen=True)
class Workload:
    """A generator, how much of it, and the sha256 of the file that comes out."""

    generator: Callable[..., Records]
    count: int
    sha256: str


WORKLOADS = {
    "proteins-10k": Workload(proteins, 10_000, "323c6159b86f367fd0f52351e36b27611961c63a64642d1b575a3011844183ea"),
    "reads-10k": Workload(reads, 10_000, "d56c7c3c66067e5cf204791c58266c4b04f4769625f7dbcceac642163b7815c7"),
    "contigs-10k": Workload(contigs, 10_000, "3234f683255c747f512ea9e7812ff7aa42de972be6d5b7679a2001423ac59b4d"),
    "proteins-small": Workload(proteins, 200, "0d2d6279bba3fadfc0ba546c77b2a2cb212a1cfd3f736e3699a755f1301827b5"),
    "reads-small": Workload(reads, 40, "63d4cef4254f9e6de9bffe06c949f884c909aba8141e6e2e6b6e24d1cea26cc2"),
    "contigs-small": Workload(contigs, 40, "a744f5bcc68e05538e6af14897c72f4682ee5d9ce226d6d5159da12b1a340b0a"),
}


def fasta(records: Records) -> str:
    """FASTA text, lines of 60 letters."""
    lines = []
    for name, sequence in records:
        lines.append(f">{name}")
        lines += [sequence[i : i + LINE_WIDTH] for i in range(0, len(sequence), LINE_WIDTH)]
    return "\n".join(lines) + "\n"


def write_workload(name: str, directory: Path) -> Path:
    """Write a workload as ``{name}.fa`` (proteins: ``.faa``) and return its path.

    Raises:
        RuntimeError: The bytes are not those that were pinned.
    """
    workload = WORKLOADS[name]
    content = fasta(workload.generator(workload.count)).encode()
    digest = hashlib.sha256(content).hexdigest()
    if digest != workload.sha256:
        raise RuntimeError(
            f"Workload {name}, version {VERSION}: sha256 is {digest}, pinned is {workload.sha256}. The generator or "
            f"Python's random ({sys.version.split()[0]}) changed: times would not be comparable."
        )
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.{'faa' if workload.generator is proteins else 'fa'}"
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)  # another process may be reading it
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a benchmark workload and print its path.")
    parser.add_argument("name", choices=WORKLOADS)
    parser.add_argument("directory", type=Path)
    arguments = parser.parse_args()
    print(write_workload(arguments.name, arguments.directory))


if __name__ == "__main__":
    main()
