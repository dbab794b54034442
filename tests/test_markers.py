"""Markers: kinds and sources by the header, a Debian package read by hand, and pieces drawn without a leak."""

import hashlib
import io
import random
import re
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.support import markers
from benchmarks.support.markers import (
    BadInput,
    Marker,
    chosen,
    left_out,
    longest_open,
    prepare,
    proteins,
    read_markers,
    unpacked,
    write,
)
from virnucpro.reading.frames import CODONS, reverse_complement
from virnucpro.training.split import SplitRule

LITERAL = """\
>GeneID:1000021
ATGAAA
TAA
>GeneID:1000000
atgccc
>GeneID:1000010
ATGGGG
>NC_003379.1
ACGTN
>gi|345004010|ref|NC_015954.1|:c1336247-1335993
ATGCCC
>gi|1|ref|NC_000913.3|:10-12,14-19
ATGGCC
>gi|2|ref|NZ_AORK01000012.1|:9-14
ATGTTT
>gi|3|ref|NZ_KB911256.1|:9-14
ATGTTC
>gi|209875864|ref|XM_002139339.1|
ATGGAT
>gi|4|ref|NM_001009.2|
ATGGAC
>gi|550266197|gb|ASJR01000011.1|:93121-93786
ATGAAC
>gi|5|dbj|BABC01000011.1|:9-14
ATGAAC
>gi|6|ref|XP_000001.1|
ATGAAT
"""


@pytest.fixture
def literal(tmp_path):
    path = tmp_path / "markers.fasta"
    path.write_text(LITERAL)
    return path


def test_a_header_tells_the_kind_and_the_source(literal):
    assert list(read_markers(literal)) == [
        # from 1000010 to 1000021 is a gap of more than 10, and from 1000000 to 1000010 none
        Marker("virus_gene_1000021", "ATGAAATAA", "virus gene", "GeneID:1000021"),
        Marker("virus_gene_1000000", "ATGCCC", "virus gene", "GeneID:1000000"),
        Marker("virus_gene_1000010", "ATGGGG", "virus gene", "GeneID:1000000"),
        Marker("virus_genome_NC_003379.1", "ACGTN", "virus genome", "NC_003379.1"),
        Marker("prokaryote_NC_015954.1:c1336247-1335993", "ATGCCC", "prokaryote", "NC_015940"),
        Marker("prokaryote_NC_000913.3:10-12,14-19", "ATGGCC", "prokaryote", "NC_000900"),
        Marker("prokaryote_NZ_AORK01000012.1:9-14", "ATGTTT", "prokaryote", "NZ_AORK01"),
        Marker("prokaryote_NZ_KB911256.1:9-14", "ATGTTC", "prokaryote", "NZ_KB911240"),
        Marker("eukaryote_mRNA_XM_002139339.1", "ATGGAT", "eukaryote mRNA", "XM_002135000"),
        Marker("eukaryote_mRNA_NM_001009.2", "ATGGAC", "eukaryote mRNA", "NM_000000"),
    ]


@pytest.mark.parametrize(
    "source, digest, expected",  # of sha256: printf NAME | sha256sum
    [
        ("XM_002135000", "0825", True),
        ("NZ_AORK01", "0d23", True),
        ("GeneID:1000000", "4a0c", False),
        ("NC_003379.1", "8816", False),
        ("NC_015940", "aa89", False),
    ],
)
def test_the_first_digit_of_the_sha256_leaves_a_source_out(source, digest, expected):
    assert hashlib.sha256(source.encode()).hexdigest()[:4] == digest
    assert left_out(source) is expected


def test_a_quarter_of_the_sources_is_left_out():
    """Of 4,096 names 1,024; 1,024 +- 5 standard deviations of 27.7."""
    assert 885 < sum(left_out(f"NZ_{number:04d}") for number in range(4096)) < 1163


def fasta(path, genes=12, seed=0):
    """Markers of 40 sources of each kind, of 60 to 90 bp."""
    rng = random.Random(seed)
    text = []
    for source in range(40):
        for gene in range(genes):
            headers = (
                f"GeneID:{1000 * source + gene}",
                f"gi|1|ref|NZ_AA{chr(65 + source // 26)}{chr(65 + source % 26)}01{gene:06d}.1|:1-90",
                f"gi|1|ref|XM_{5000 * source + gene:09d}.1|",
            )
            text += [f">{header}\n{''.join(rng.choices('ACGT', k=rng.randint(60, 90)))}\n" for header in headers]
    path.write_text("".join(text))
    return path


@pytest.fixture
def many(tmp_path):
    return fasta(tmp_path / "many.fasta")


def test_pieces_are_drawn_by_share_from_sources_of_their_part(many):
    genes = {marker.name: marker for marker in read_markers(many)}
    parts = chosen(many, 50, train=100, test=20, seed=0)
    for part, count, shares in (("train", 100, (50, 33, 17)), ("test", 20, (10, 6, 4))):
        groups = [piece.group for piece in parts[part]]
        assert len(groups) == count
        assert tuple(groups.count(group) for group in ("virus gene", "prokaryote", "eukaryote mRNA")) == shares
        assert {left_out(piece.source) for piece in parts[part]} == {part == "test"}
        for piece in parts[part]:
            gene = genes[piece.name]
            assert (piece.source, piece.group, len(piece.sequence)) == (gene.source, gene.group, 50)
            assert piece.sequence in gene.sequence or reverse_complement(piece.sequence) in gene.sequence


def test_sources_take_turns(many):
    train = chosen(many, 50, train=240, test=0, seed=0)["train"]
    viruses = [piece.source for piece in train if piece.group == "virus gene"]
    sources = len({marker.source for marker in read_markers(many) if marker.group == "virus gene"} & set(viruses))
    assert all(len(set(viruses[i : i + sources])) == sources for i in range(0, 120 - sources, sources))


def test_both_strands_and_many_places_are_drawn(many):
    genes = {marker.name: marker.sequence for marker in read_markers(many)}
    pieces = chosen(many, 50, train=240, test=0, seed=0)["train"]
    forward = sum(piece.sequence in genes[piece.name] for piece in pieces)
    assert 82 < forward < 158  # 120 +- 5 standard deviations of 7.7
    places = {genes[piece.name].find(piece.sequence) for piece in pieces}
    assert len(places) > 20  # of 41


def test_a_seed_gives_the_same_pieces_whatever_the_order_of_the_file(many, tmp_path):
    shuffled = tmp_path / "shuffled.fasta"
    entries = re.findall(r">[^>]+", many.read_text())
    random.Random(1).shuffle(entries)
    shuffled.write_text("".join(entries))
    once = chosen(many, 50, 60, 12, seed=0)
    assert chosen(shuffled, 50, 60, 12, seed=0) == once
    assert chosen(many, 50, 60, 12, seed=1) != once


def test_the_pieces_of_a_seed_are_these(many):
    """Python's `random` must give the same on every machine and in every version."""
    text = repr(chosen(many, 50, 60, 12, seed=0))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "c0d44512d727c291"


def test_no_piece_equals_another_one_or_its_reverse_complement(tmp_path):
    rng = random.Random(0)
    sequences = ["".join(rng.choices("ACGT", k=50)) for _ in range(6)]
    sequences += [reverse_complement(sequence) for sequence in sequences] + sequences[:3]
    rng.shuffle(sequences)
    path = tmp_path / "same.fasta"
    genes = [f">GeneID:{1000 * i}\n{sequence}\n" for i, sequence in enumerate(sequences)]
    others = [
        f">gi|1|ref|{kind}{i:09d}.1|{end}\n{''.join(rng.choices('ACGT', k=50))}\n"
        for kind, end in (("NC_", ":1-50"), ("XM_", ""))
        for i in range(0, 50_000, 5_000)
    ]
    path.write_text("".join(genes + others))
    parts = chosen(path, 50, 8, 0, seed=0)
    strands = [strand for piece in parts["train"] for strand in (piece.sequence, reverse_complement(piece.sequence))]
    assert len(set(strands)) == len(strands) == 16
    with pytest.raises(BadInput, match="genes to train on for virus"):
        chosen(path, 50, 14, 0, seed=0)  # 7 viruses, and there are 6 at most


def test_short_genes_and_other_letters_are_passed_over(tmp_path):
    path = tmp_path / "short.fasta"
    path.write_text(f">GeneID:1\n{'A' * 49}\n>GeneID:5000\n{'ACGTN' * 20}\n")
    with pytest.raises(BadInput, match="has 0 genes to train on for virus, and 1 were asked for"):
        chosen(path, 50, 2, 0, seed=0)


def test_the_files_for_training(tmp_path):
    rows = [
        Marker("virus_gene_1", "A" * 61, "virus gene", "GeneID:1"),
        Marker("virus_genome_NC_1.1", "CC", "virus genome", "NC_1.1"),
        Marker("prokaryote_NC_2.1:c3-1", "GGG", "prokaryote", "NC_000"),
    ]
    write(tmp_path / "train", rows)
    assert (tmp_path / "train" / "viral.fa").read_text() == f">virus_gene_1\n{'A' * 60}\nA\n>virus_genome_NC_1.1\nCC\n"
    assert (tmp_path / "train" / "others.fa").read_text() == ">prokaryote_NC_2.1:c3-1\nGGG\n"
    assert (tmp_path / "train" / "sources.tsv").read_text() == (
        "record\tsource\tgroup\n"
        "virus_gene_1\tGeneID:1\tvirus gene\n"
        "virus_genome_NC_1.1\tNC_1.1\tvirus genome\n"
        "prokaryote_NC_2.1:c3-1\tNC_000\tprokaryote\n"
    )


def debian_package(path, content, member=markers.MEMBER):
    """An `ar` archive with a control part of odd length before the data, as dpkg-deb writes it; its sha256."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        for name, body in (("usr/share/doc/copyright", b"Expat"), (member, content)):
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    parts = (("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), ("data.tar.xz", data.getvalue()))
    text = b"!<arch>\n"
    for name, body in parts:
        text += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(body):<10}`\n".encode() + body + b"\n" * (len(body) % 2)
        )
    path.write_bytes(text)
    return hashlib.sha256(text).hexdigest()


def test_a_debian_package_is_read_without_dpkg(tmp_path):
    package = tmp_path / "data.deb"
    sha256 = debian_package(package, LITERAL.encode())
    path = unpacked(package, tmp_path, sha256)
    assert path == tmp_path / f"markers-{sha256[:8]}.fasta"
    assert path.read_text() == LITERAL
    package.unlink()
    assert unpacked(package, tmp_path, sha256) == path  # not read again


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda text: b"", "is no Debian package"),
        (lambda text: text[:100], "is no Debian package"),
        (lambda text: text.replace(b"data.tar.xz", b"data.tar.gz"), "is no Debian package"),
    ],
)
def test_what_is_no_package_is_refused(tmp_path, spoil, message):
    package = tmp_path / "data.deb"
    debian_package(package, b">a\nA\n")
    package.write_bytes(spoil(package.read_bytes()))
    with pytest.raises(BadInput, match=message):
        unpacked(package, tmp_path, hashlib.sha256(package.read_bytes()).hexdigest())
    assert list(tmp_path.iterdir()) == [package]


def test_another_package_is_refused(tmp_path):
    package = tmp_path / "data.deb"
    sha256 = debian_package(package, b">a\nA\n", member="var/lib/metaphlan2-data/markers.fast")
    with pytest.raises(BadInput, match=r"holds no var/lib/metaphlan2-data/markers\.fasta"):
        unpacked(package, tmp_path, sha256)
    with pytest.raises(BadInput, match=f"has the sha256 {sha256}, and {markers.SHA256} was expected"):
        unpacked(package, tmp_path, markers.SHA256)
    assert list(tmp_path.iterdir()) == [package]


def test_the_whole_recipe(tmp_path, monkeypatch, many):
    package = tmp_path / markers.PACKAGE
    sha256 = debian_package(package, many.read_bytes())
    monkeypatch.setattr(markers, "SHA256", sha256)
    prepare(package, tmp_path / "data", chunk_size=50, train=60, test=12)
    table = (tmp_path / "data" / "sources.tsv").read_text().splitlines()[1:]
    parts = [SplitRule().part_of(row.split("\t")[1]) == "test" for row in table]
    assert (len(parts), sum(parts)) == (72, 12)
    assert (tmp_path / "data" / "viral.fa").read_text().count(">") == 36


@pytest.mark.parametrize(
    "sequence, protein",
    [
        ("ATGAAATAA", "MK"),
        ("ATGTAAGGGCCC", "GP"),
        ("ATGNAAGGGCCCTG", "GP"),  # what a codon with N stands for is unknown
        ("TAATGA", ""),
        ("AT", ""),
    ],
)
def test_the_longest_open_piece(sequence, protein):
    assert longest_open(sequence) == protein


@given(st.text("ACGT", max_size=60))
def test_the_longest_open_piece_is_that_of_the_codons(sequence):
    residues = "".join(CODONS[codon] for codon in re.findall("...", sequence))
    assert longest_open(sequence) == max(residues.split("*"), key=len)


def test_proteins_are_of_genes_to_train_on(tmp_path):
    """By the first digits of the sources' sha256, as above."""
    path = tmp_path / "genes.fasta"
    genomes = ">NC_003379.1\nATGATGATG\n"
    path.write_text(
        genomes + "".join(f">GeneID:{1000 * i}\nATGATGATGTAA\n>GeneID:{1000 * i + 1}\nATG\n" for i in range(9))
    )
    sources = [f"GeneID:{1000 * i}" for i in range(9)]
    expected = [(source, "MMM") for source in sources if not left_out(source)]
    assert 0 < len(expected) < 9
    assert list(proteins(path, shortest=3)) == expected
