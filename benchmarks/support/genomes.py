"""Genomes: contigs that nothing here was trained on, of phages and bacteria, of viruses of eukaryotes and these.

    python -m benchmarks.support.genomes FOLDER --archives DIR --package metaphlan2-data_2.6.0+ds-4_all.deb
    virnucpro evaluate FOLDER/phages/viral.fa --others FOLDER/phages/others.fa --sources FOLDER/phages/sources.tsv \\
        --model demo --output-dir FOLDER/phages/out

The genomes are those of benchmarks/data/genomes/genomes.tsv, test data of packages in archives.tsv, which says how to
fetch each. A piece that shares 31 bases with a marker that may be trained on is left out. docs/accuracy.md says what
came out.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.support import archives, markers
from virnucpro.errors import BadInput
from virnucpro.output.fasta_files import wrapped
from virnucpro.system import files

DATA = Path(__file__).parents[1] / "data" / "genomes"
CONTIG = 3000  # bp
K, SAMPLED = 31, 16  # of k-mers one in so many counts, by its hash
SETS = {  # viruses, and what they are among
    "phages": (("phage",), ("bacterium", "archaeon", "plasmid")),
    "eukaryotes": (("virus of eukaryotes",), ("protist", "plant", "animal")),
}
MOST = {  # contigs of a source
    "phage": 10, "virus of eukaryotes": 1, "bacterium": 30, "archaeon": 30, "plasmid": 30, "protist": 100, "plant": 100,
    "animal": 100,
}  # fmt: skip
BLOCK = 2**20  # bp that are looked at together, which is faster
Words = tuple[np.ndarray, np.ndarray, np.ndarray]
_CODES = np.full(256, 4, np.uint8)
_CODES[list(b"ACGT")] = range(4)


@dataclass(frozen=True)
class Genome:
    """A row of genomes.tsv. group: of `SETS`. source: genomes of one share much. sha256: of the sequence, 16 digits."""

    genome: str
    group: str
    source: str
    organism: str
    archive: str
    member: str
    sha256: str


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def read_genomes(folder: Path) -> Iterator[tuple[Genome, str]]:
    """Yield all genomes with their sequences, archive by archive.

    Raises:
        BadInput: An archive is missing or another one, or lacks a sequence.
    """
    genomes = [Genome(**row) for row in rows(DATA / "genomes.tsv")]
    for row in rows(DATA / "archives.tsv"):
        wanted = {each.sha256: each for each in genomes if each.archive == row["archive"]}
        path = folder / row["archive"]
        if not path.is_file():
            raise BadInput(f"{path} is not there. Fetch it into that folder: {row['fetch']}")
        for _, content in archives.members(path, row["sha256"], {each.member for each in wanted.values()}):
            for sequence in archives.sequences(content):
                if genome := wanted.pop(digest(sequence), None):
                    yield genome, sequence
        if wanted:
            raise BadInput(f"{path} lacks {', '.join(each.genome for each in wanted.values())}. Fetch it again.")


def digest(sequence: str) -> str:
    return hashlib.sha256(sequence.encode()).hexdigest()[:16]


def sample_of_kmers(sequence: str) -> np.ndarray:
    """Hashes of some k-mers, the same for both strands: uint64. K-mers with other letters than A, C, G, T are left
    out."""
    if len(sequence) < K:
        return np.empty(0, np.uint64)
    codes_L = _CODES[np.frombuffer(sequence.encode(), np.uint8)]
    bases_L = (codes_L & 3).astype(np.uint64)
    single = (bases_L, np.uint64(3) - bases_L, codes_L > 3)  # of 1 base: forward, reverse, whether one is odd
    whole, length, doubled, size = single, 1, single, 1
    for bit in f"{K - 1:b}"[::-1]:  # 30 is 16 + 8 + 4 + 2
        if bit == "1":
            whole, length = _beside(whole, length, doubled, size), length + size
        doubled, size = _beside(doubled, size, doubled, size), 2 * size
    forward_K, reverse_K, odd_K = whole
    hash_K = np.minimum(forward_K, reverse_K)[~odd_K] * np.uint64(0x9E3779B97F4A7C15)  # odd, so one to one
    return hash_K[(hash_K >> np.uint64(40)) % np.uint64(SAMPLED) == 0]


def _beside(one: Words, length: int, other: Words, size: int) -> Words:
    """Words of `length` and of `size` bases that follow each other, as words of both."""
    count = len(one[0]) - size
    left, right = ([each[:count] for each in one], [each[length : length + count] for each in other])
    forward = left[0] * np.uint64(4**size) + right[0]
    reverse = right[1] * np.uint64(4**length) + left[1]
    return forward, reverse, left[2] | right[2]


def kmers_of_markers(path: Path) -> np.ndarray:
    """Those of all markers that may be trained on, sorted: uint64."""
    samples, joined, letters = [], [], 0
    for each in markers.read_markers(path):
        if not markers.left_out(each.source):
            joined.append(each.sequence)
            letters += len(each.sequence)
            if letters > BLOCK:
                samples.append(sample_of_kmers("N".join(joined)))
                joined, letters = [], 0
    return np.unique(np.concatenate([*samples, sample_of_kmers("N".join(joined))]))


def _any_in(hash_K: np.ndarray, known: np.ndarray) -> bool:
    place_K = np.searchsorted(known, hash_K)
    there_K = place_K < len(known)
    return bool((known[place_K[there_K]] == hash_K[there_K]).any())


def contigs(
    genomes: Iterable[tuple[Genome, str]], known: np.ndarray, seed: int = 0
) -> Iterator[tuple[Genome, str, str]]:
    """Draw contigs: genome, name and sequence; of each source so many as `MOST` says, its genomes in turn."""
    by_source: dict[tuple[str, str], list[tuple[Genome, str, str]]] = defaultdict(list)
    for genome, sequence in genomes:
        for start in range(0, len(sequence) - CONTIG + 1, CONTIG):
            piece = sequence[start : start + CONTIG]
            name = f"{genome.genome}_{start + 1}"
            by_source[genome.group, genome.source].append((genome, name, piece))
    for (group, source), pieces in sorted(by_source.items()):
        rng, drawn = random.Random(f"{seed} {group} {source}"), 0
        rng.shuffle(pieces)
        taken = Counter[str]()
        order = []
        for piece in pieces:
            taken[piece[0].genome] += 1
            order.append((taken[piece[0].genome], piece))
        for _, piece in sorted(order, key=lambda pair: pair[0]):  # stable: the first of each genome, then the second
            if drawn < MOST[group] and not _any_in(sample_of_kmers(piece[2]), known):
                drawn += 1
                yield piece


def write(folder: Path, drawn: Sequence[tuple[Genome, str, str]], groups: tuple[Sequence[str], Sequence[str]]) -> None:
    """Write viral.fa, others.fa and sources.tsv, of one set."""
    folder.mkdir(parents=True, exist_ok=True)
    with files.whole_file(folder / "sources.tsv") as table:
        table.write("record\tsource\tgroup\n")
        for name, wanted in zip(("viral", "others"), groups, strict=True):
            with files.whole_file(folder / f"{name}.fa") as fasta:
                for genome, contig, sequence in drawn:
                    if genome.group in wanted:
                        fasta.write(f">{contig}\n{wrapped(sequence)}")
                        table.write(f"{contig}\t{genome.source}\t{genome.group}\n")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="for contigs")
    parser.add_argument("--archives", type=Path, required=True, help="folder of the archives in archives.tsv")
    parser.add_argument("--package", type=Path, required=True, help="metaphlan2-data's .deb: apt-get download it")
    given = parser.parse_args(argv)
    given.folder.mkdir(parents=True, exist_ok=True)
    try:
        kept = given.folder / f"kmers-{K}-{SAMPLED}-{markers.SHA256[:8]}.npy"
        if not kept.exists():  # minutes
            with files.whole_file(kept, "wb") as file:
                np.save(file, kmers_of_markers(markers.unpacked(given.package, given.folder, markers.SHA256)))
        known = np.load(kept)
        drawn = list(contigs(read_genomes(given.archives), known))
    except BadInput as error:
        print(f"genomes: {error}", file=sys.stderr)
        return 1
    for name, groups in SETS.items():
        write(given.folder / name, drawn, groups)
    for group, count in Counter(genome.group for genome, _, _ in drawn).items():
        print(f"{group}: {count} contigs of {len({g.source for g, _, _ in drawn if g.group == group})} sources")
    return 0


if __name__ == "__main__":
    sys.exit(main())
