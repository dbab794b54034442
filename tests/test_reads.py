"""Reads: every spelling of FASTA and FASTQ a user may have, and every way a file can be bad."""

import bz2
import gzip
import io
import lzma

import pytest
from hostile import bgzip, zstandard

from virnucpro.errors import BadInput, BadRequest
from virnucpro.reading.input_kind import kind_of
from virnucpro.reading.reads import Read, read_records, stem_of, with_unique_names

TWO = [("a", "ACGTACGT"), ("b", "GGCC")]


def records(path):
    return [(read.name, read.sequence) for read in read_records(str(path))]


@pytest.mark.parametrize(
    "text, expected",
    [
        (">a\nACGTACGT\n>b\nGGCC\n", TWO),
        (">a\nACGT\nACGT\n>b\nGGCC", TWO),  # wrapped, no final newline
        (">a\r\nACGT\r\nACGT\r\n>b\r\nGGCC\r\n", TWO),  # CRLF
        ("# of a tool\n\n#\n>a\nACGT\n# and within\nACGT\n>b\nGGCC\n", TWO),
        ("\n  \n>a\nACGT\n\nACGT\n\n>b\nGGCC\n\n", TWO),  # blank lines before, inside, after
        (">a\nACG TAC\tGT \n>b\n GGCC\n", TWO),  # blanks inside lines
        ("\ufeff>a\nACGTACGT\n>b\nGGCC\n", TWO),  # byte-order mark
        ("@a\nACGTACGT\n+\nIIIIIIII\n@b\nGGCC\n+\nIIII\n", TWO),
        ("\n@a\nACGTACGT\n+\nIIIIIIII\n@b\nGGCC\n+\nIIII\n", TWO),
        (">a\nacgtNnRY\n", [("a", "acgtNnRY")]),  # case and other letters are kept
        (">a\n>b\nGGCC\n>c\n", [("a", ""), ("b", "GGCC"), ("c", "")]),  # empty records
        (">a some words\nAC\n", [("a", "AC")]),
        (">gi|12|x/1,'\"\tmore\nAC\n", [("gi|12|x/1,'\"", "AC")]),
        (f">NA\nAC\n>123\nAC\n>{'x' * 300}\nAC\n", [("NA", "AC"), ("123", "AC"), ("x" * 300, "AC")]),
        ("@a\nACGT\rACGT\n+\nIIIIIIIII\n@b\nGGCC\n+\nIIII\n", TWO),
        # line ends of the first Macintosh, also after a comment; two carriage returns a line
        ("# a\r>a\rACGT\rACGT\r>b\rGGCC\r", TWO),
        ("@a\rACGTACGT\r+\rIIIIIIII\r@b\rGGCC\r+\rIIII", TWO),
        (">a\r\r\nACGT\r\r\nACGT\r\r\n>b\r\r\nGGCC\r\r\n", TWO),
        ("@a\r\r\nACGTACGT\r\r\n+\r\r\nIIIIIIII\r\r\n@b\r\r\nGGCC\r\r\n+\r\r\nIIII\r\r\n", TWO),
        # blanks that somebody left at the end of lines, or before a header
        ("@a\nACGTACGT \n+\nIIIIIIII\n@b\nGGCC\n+\nIIII\t\n", TWO),
        (" >a\nACGTACGT\n  >b\nGGCC\n", TWO),
        (">a\nACGTACGT\n>b", [("a", "ACGTACGT"), ("b", "")]),  # nothing but a header
        (">>a\nAC\n>b>c\nGT\n", [(">a", "AC"), ("b>c", "GT")]),
        # blank lines around FASTQ records, and an empty record, whose lines are blank
        ("@a\nACGTACGT\n+\nIIIIIIII\n\n\r\n@b\nGGCC\n+\nIIII\n\n\n", TWO),
        ("@a Côte\nACGTACGT\n+a Côte\nIIIIIIII\n@b\nGGCC\n+\nIIII\n", TWO),
        ("@a\n\n+\n\n@b\nGGCC\n+\nIIII\n", [("a", ""), ("b", "GGCC")]),
        (">é|1 Côte d'Ivoire\nAC\n", [("é|1", "AC")]),
        ("@é|1 Côte d'Ivoire\nAC\n+\nII\n", [("é|1", "AC")]),
        (">a\nAC\n#GT\n", [("a", "AC")]),  # a comment line
        ("", []),
        ("\n \n", []),
    ],
)
def test_reads_every_spelling(tmp_path, text, expected):
    path = tmp_path / "reads.any"
    path.write_bytes(text.encode())
    assert records(path) == expected


PLAIN = b">a\nACGT\nACGT\n>b\nGGCC\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        gzip.compress(PLAIN, mtime=0),
        gzip.compress(PLAIN[:9], mtime=0) + gzip.compress(PLAIN[9:], mtime=0),  # several members, cut inside a line
        bgzip(PLAIN[:9], PLAIN[9:], b""),
        bgzip(PLAIN[:9], b"") + gzip.compress(PLAIN[9:], mtime=0),
        bz2.compress(PLAIN),
        bz2.compress(PLAIN[:9]) + bz2.compress(PLAIN[9:]),
        lzma.compress(PLAIN),
        lzma.compress(PLAIN[:9]) + bytes(8) + lzma.compress(PLAIN[9:]),  # with zeros between, as xz has it
        zstandard(PLAIN),
    ],
    ids=["plain", "gzip", "gzip members", "bgzip", "bgzip, then gzip", "bzip2", "bzip2 streams", "xz", "xz streams",
         "zstandard"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["reads.fa", "reads", "reads.gz", "reads.xz"])  # the name does not matter
def test_reads_compressed_files(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    assert records(path) == TWO


@pytest.mark.parametrize("content", [PLAIN, gzip.compress(PLAIN)], ids=["plain", "gzip"])
def test_reads_standard_input(monkeypatch, content):
    stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)))
    monkeypatch.setattr("sys.stdin", stdin)
    assert records("-") == TWO


@pytest.mark.parametrize(
    "content, message",
    [
        (b"hello\n", "line 1: expected '>' (FASTA) or '@' (FASTQ), found 'hello'"),
        (b"\n\nACGT\n", "line 3: expected '>' (FASTA) or '@' (FASTQ), found 'ACGT'"),
        (b"\x89PNG\r\n\x1a\n\x00", "line 1: expected '>'"),
        (b"@a\nACGT\nIIII\n", "line 3: record 1 (a) has 'IIII' where '+' was expected"),
        (
            b"\n@a\nACGT\n+\nIII\n",
            "line 5: record 1 (a) has 4 letters and 3 qualities",
        ),  # lengths differ, after a blank line
        (b"@a\nACGT\n+\n", "line 1: record 1 (a) has not all of its four lines"),
        (b">\nACGT\n", "line 1: record 1 has no id in its header"),
        (b">a\nAC\n> b\nACGT\n", "line 3: record 2 has no id"),
        (b">a\n\xff\xfe\n", "line 2: record 1 (a) has the byte 0xff in its sequence"),
        (">a\nAC\n>b x\nACGTÄ\n".encode(), "line 4: record 2 (b) has 'Ä' in its sequence"),
        (b"@a\nAC\n+b\nII\n", "line 3: record 1 (a) has another header"),
        (b"@a\nAC\n+\nII\nxx\n", "line 5: record 2 begins with 'xx', not with '@'"),
        pytest.param(gzip.compress(PLAIN * 100)[:-12], "damaged or cut off", id="gzip, cut off"),
        pytest.param(bz2.compress(PLAIN)[:-12], "damaged or cut off", id="bzip2, cut off"),
        pytest.param(lzma.compress(PLAIN)[:-12], "damaged or cut off", id="xz, cut off"),
        pytest.param(zstandard(PLAIN * 100)[:-8], "damaged or cut off", id="zstandard, cut off"),
        pytest.param(zstandard(PLAIN) + b"not zstandard", "damaged or cut off", id="zstandard, and more"),
        pytest.param(gzip.compress(PLAIN)[:14] + b"\x00\x01\x02\x03", "", id="gzip, damaged"),
    ],
)
def test_bad_files_are_refused_with_their_place(tmp_path, content, message):
    path = tmp_path / "bad.fa"
    path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        records(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_directory_are_bad_requests(tmp_path):
    with pytest.raises(BadRequest, match="no such file"):
        records(tmp_path / "none.fa")
    with pytest.raises(BadRequest, match="is a directory"):
        records(tmp_path)


def test_standard_input_may_be_closed(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(BadRequest, match="Standard input is closed"):
        records("-")


@pytest.mark.parametrize(
    "sequences, kind",
    [
        (["ACGT", "NNNACGTU"], "nucleotide"),
        (["acgtnnnnRYKM" + "ACGT" * 20], "nucleotide"),
        (["MKVLAAGIVGLCAKAYEQ"], "protein"),
        (["GAGAGANT" * 5 + "LLKK" * 12], "protein"),
        ([], "nucleotide"),
        (["", ""], "nucleotide"),
    ],
)
def test_tells_nucleotides_from_proteins(sequences, kind):
    assert kind_of(sequences) == kind


def test_refuses_to_guess():
    with pytest.raises(BadRequest, match=r"75% .* --input-type"):
        kind_of(["ACGTRACTKRAG"])


@pytest.mark.parametrize(
    "names, expected",
    [
        ("a b a a", "a b a_1 a_2"),
        ("a_1 a a", "a_1 a a_2"),  # _1 is taken
        ("a a a_1", "a a_1 a_1_1"),
    ],
)
def test_duplicates_are_renamed(names, expected):
    reads = [Read(name, "A") for name in names.split()]
    assert [read.name for read in with_unique_names(reads)] == expected.split()


@pytest.mark.parametrize(
    "path, stem",
    [
        ("/x/reads.fa", "reads"),
        ("reads.fastq.gz", "reads"),
        ("a.b.fna.zst", "a.b"),
        ("sample.1", "sample.1"),
        ("x.FASTA", "x"),
        ("x.ffn.xz", "x"),
        (".fa", ".fa"),
        ("-", "stdin"),
    ],
)
def test_stem(path, stem):
    assert stem_of(path) == stem
