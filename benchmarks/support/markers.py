"""Markers: genes of MetaPhlAn2's Debian package, each with its kind and its source, drawn for training and for a test.

A source is what may share genes: a virus, a genome project, a block of accessions. The rule of `left_out` keeps a
quarter of them from all training, and anybody can apply it; what is drawn of those is the test.
"""

from __future__ import annotations

import hashlib
import random
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.support import debian
from virnucpro.errors import BadInput
from virnucpro.output.fasta_files import wrapped
from virnucpro.reading import records
from virnucpro.reading.alphabet import NUCLEOTIDE
from virnucpro.reading.frames import CODONS, reverse_complement
from virnucpro.system import files

PACKAGE = "metaphlan2-data_2.6.0+ds-4_all.deb"  # of Debian 12: apt-get download metaphlan2-data
SHA256 = "f38a6e3f49d7b03ba80d9fdd5647b9f9f2dfb38d43b28618053e8ef2c60db7d7"
MEMBER = "var/lib/metaphlan2-data/markers.fasta"
GENE, GENOME, PROKARYOTE, MRNA = GROUPS = ("virus gene", "virus genome", "prokaryote", "eukaryote mRNA")
CLASSES = {GENE: "virus", GENOME: "virus", PROKARYOTE: "prokaryote", MRNA: "eukaryote"}
GAP = 10  # between the GeneIDs of one virus
SPARE = 100  # genes that are looked up beyond twice those that are drawn, since some are equal
BLOCKS = {PROKARYOTE: 20, MRNA: 5_000}  # accession numbers of one source
SHORTEST = 50  # residues of a protein
_GENE = re.compile(r"GeneID:(\d+)")
_GENOME = re.compile(r"NC_\d+\.\d+")
_PIECE = re.compile(r"gi\|\d+\|ref\|(N[CZ]_[^|]+)\|:([-c\d,]+)")  # of a chromosome, a plasmid or a contig
_MRNA = re.compile(r"gi\|\d+\|ref\|([XN]M_[^|]+)\|")
_PROJECT = re.compile(r"NZ_[A-Z]{4}\d\d")  # of whole-genome sequencing: letters and version
_NUMBERED = re.compile(r"([A-Z]+_[A-Z]*)(\d+)")
# Codons as numbers 25 a + 5 b + c with 0 to 3 for A, C, G, T and 4 for any other letter, of which a codon is a stop
# here: what it stands for is unknown, so that a protein ends.
_LETTERS = bytes("ACGT".find(chr(byte)) % 5 for byte in range(256))
_RESIDUES = bytearray(b"*" * 256)
for _codon, _residue in CODONS.items():
    _a, _b, _c = map("ACGT".index, _codon)
    _RESIDUES[25 * _a + 5 * _b + _c] = ord(_residue)


class Marker(NamedTuple):
    """A gene, or a piece of one: an id of its own, upper-case DNA, one of `GROUPS`, and the name of its source."""

    name: str
    sequence: str
    group: str
    source: str


def unpacked(package: Path, folder: Path, sha256: str) -> Path:
    """Write the markers of the Debian package into `folder`, unless they are there, and return their path.

    The file's name has the package's checksum.

    Raises:
        BadInput: As `debian.extract`.
    """
    path = folder / f"markers-{sha256[:8]}.fasta"
    if not path.exists():
        debian.extract(package, sha256, MEMBER, path)
    return path


def read_markers(path: Path) -> Iterator[Marker]:
    """Yield the markers whose header tells their kind; those of GenBank, DDBJ and EMBL are passed over."""
    viruses = _viruses(path)
    for header, sequence in _records(path):
        if label := _label(header, viruses):
            group, accession, source = label
            name = f"{group} {accession}".replace(" ", "_")
            yield Marker(name, sequence.decode().upper(), group, source)


def _records(path: Path) -> Iterator[tuple[str, bytes]]:
    with open(path, encoding="ascii") as text:
        yield from records.fasta(text, 1, NUCLEOTIDE)


def _viruses(path: Path) -> list[int]:
    """The first GeneID of each virus, ascending: NCBI numbered the genes of a genome in one go, so a gap is between
    two. All genes of the file count, long or short, so that names of sources depend on nothing else."""
    with open(path, encoding="ascii") as lines:
        numbers = sorted(int(match[1]) for line in lines if line[0] == ">" and (match := _GENE.match(line, 1)))
    return [number for number, last in zip(numbers, [-GAP - 1, *numbers]) if number - last > GAP]


def _label(header: str, viruses: list[int]) -> tuple[str, str, str] | None:
    """Group, accession and source that a header tells; None if it does not."""
    if match := _GENE.fullmatch(header):
        return GENE, match[1], f"GeneID:{viruses[bisect_right(viruses, int(match[1])) - 1]}"
    if _GENOME.fullmatch(header):
        return GENOME, header, header
    if match := _PIECE.fullmatch(header):
        project = _PROJECT.match(match[1])
        return PROKARYOTE, f"{match[1]}:{match[2]}", project[0] if project else _block(match[1], BLOCKS[PROKARYOTE])
    if match := _MRNA.fullmatch(header):
        return MRNA, match[1], _block(match[1], BLOCKS[MRNA])
    return None


def _block(accession: str, size: int) -> str:
    """The first accession of a block.

    >>> _block("NC_015954.1", 20)
    'NC_015940'
    """
    match = _NUMBERED.match(accession)
    assert match, accession
    prefix, number = match.groups()
    return f"{prefix}{int(number) // size * size:0{len(number)}d}"


def left_out(source: str) -> bool:
    """Whether no model may be trained on a source: one in four, by the sha256 of its name, of which the first
    hexadecimal digit is 0, 1, 2 or 3."""
    return hashlib.sha256(source.encode()).hexdigest()[0] in "0123"


def chosen(path: Path, chunk_size: int, train: int, test: int, seed: int) -> dict[str, list[Marker]]:
    """Draw pieces of `chunk_size` bp, one of a gene: half virus, a third prokaryote, a sixth eukaryote.

    Sources take turns, in a random order, so that no large one outweighs the others. A gene must be of A, C, G and T
    alone, and no piece equals another one or its reverse complement. The same seed gives the same pieces everywhere.

    Returns:
        `train` pieces of sources that may be trained on, and `test` pieces of those that are left out.
    Raises:
        BadInput: The file has too few.
    """
    names: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for marker in _clean(path, chunk_size):
        names[_part(marker.source), CLASSES[marker.group]][marker.source].append(marker.name)
    order, wanted = dict[tuple[str, str], list[str]](), dict[tuple[str, str], int]()
    for part, count in (("train", train), ("test", test)):
        for kind, wanted[part, kind] in _shares(count).items():
            rng = random.Random(f"{seed} {part} {kind}")
            order[part, kind] = list(islice(_turns(names[part, kind], rng), 2 * wanted[part, kind] + SPARE))
    drawn = {name for turns in order.values() for name in turns}
    pieces = {each.name: _piece(each, chunk_size, seed) for each in _clean(path, chunk_size) if each.name in drawn}
    parts: dict[str, list[Marker]] = {"train": [], "test": []}
    known = set[str]()
    for (part, kind), turns in order.items():
        unlike = list(islice(_unlike((pieces[name] for name in turns), known), wanted[part, kind]))
        if len(unlike) < wanted[part, kind]:
            raise BadInput(
                f"{path} has {len(unlike)} genes to {part} on for {kind}, and {wanted[part, kind]} were asked for. "
                "Ask for fewer."
            )
        parts[part] += unlike
    return parts


def _shares(count: int) -> dict[str, int]:
    virus, prokaryote = count // 2, count // 3
    return {"virus": virus, "prokaryote": prokaryote, "eukaryote": count - virus - prokaryote}


def _part(source: str) -> str:
    return "test" if left_out(source) else "train"


def _clean(path: Path, shortest: int) -> Iterator[Marker]:
    """Markers of so many bp and of A, C, G and T alone."""
    for marker in read_markers(path):
        if len(marker.sequence) >= shortest and not marker.sequence.strip("ACGT"):
            yield marker


def _turns(names: Mapping[str, list[str]], rng: random.Random) -> Iterator[str]:
    """Yield a name of each source, then another of each that has one, to the end; sources and names shuffled."""
    sources = sorted(names)
    rng.shuffle(sources)
    queues = []
    for source in sources:
        queue = sorted(names[source])
        rng.shuffle(queue)
        queues.append(queue)
    for turn in zip_longest(*queues):
        yield from filter(None, turn)


def _piece(marker: Marker, chunk_size: int, seed: int) -> Marker:
    """A random piece of a gene, on a random strand."""
    rng = random.Random(f"{seed} {marker.name}")  # by its name: whatever else is drawn
    start = rng.randrange(len(marker.sequence) - chunk_size + 1)
    piece = marker.sequence[start : start + chunk_size]
    return marker._replace(sequence=reverse_complement(piece) if rng.random() < 0.5 else piece)


def _unlike(pieces: Iterable[Marker], known: set[str]) -> Iterator[Marker]:
    """Pass on what has a new sequence on both strands; `known` takes it."""
    for piece in pieces:
        sequence = min(piece.sequence, reverse_complement(piece.sequence))
        if sequence not in known:
            known.add(sequence)
            yield piece


def write(folder: Path, markers: Iterable[Marker]) -> None:
    """Write what `virnucpro train` reads: viral.fa, others.fa, and for both sources.tsv."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        files.whole_file(folder / "viral.fa") as viral,
        files.whole_file(folder / "others.fa") as others,
        files.whole_file(folder / "sources.tsv") as sources,
    ):
        sources.write("record\tsource\tgroup\n")
        for name, sequence, group, source in markers:
            (viral if CLASSES[group] == "virus" else others).write(f">{name}\n{wrapped(sequence)}")
            sources.write(f"{name}\t{source}\t{group}\n")


def prepare(
    package: Path, folder: Path, chunk_size: int = 500, train: int = 9000, test: int = 3000, seed: int = 0
) -> None:
    """Write what `write` does, of sources that train and of those that are left out, which `virnucpro train` tells
    apart by the same rule; the unpacked markers stay beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, chain(*chosen(unpacked(package, folder, SHA256), chunk_size, train, test, seed).values()))


def proteins(path: Path, shortest: int = SHORTEST) -> Iterator[tuple[str, str]]:
    """Yield source and protein of each gene whose source may be trained on, from `shortest` residues on.

    Genes lie in the file on their coding strand, from the first codon on. The protein is the longest piece of that
    frame without a stop: all of it in 98 % of them.
    """
    for marker in read_markers(path):
        if marker.group != GENOME and not left_out(marker.source):
            protein = longest_open(marker.sequence)
            if len(protein) >= shortest:
                yield marker.source, protein


def longest_open(sequence: str) -> str:
    """Residues of the longest piece of a sequence's first frame without a stop, nor a letter but A, C, G, T; genetic
    code 1."""
    codes_L = np.frombuffer(sequence.encode().translate(_LETTERS), np.uint8)
    a_C, b_C, c_C = codes_L[: len(codes_L) // 3 * 3].reshape(-1, 3).T
    residues = (a_C * np.uint8(25) + b_C * np.uint8(5) + c_C).tobytes().translate(_RESIDUES)
    return max(residues.decode().split("*"), key=len)
