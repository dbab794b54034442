"""Letters: which characters a sequence may have, and which files are not whole or of another format."""

import bz2
import gzip
import logging
import lzma
import string

import pytest
from hostile import bgzip, zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from virnucpro.errors import BadInput, BadRequest
from virnucpro.pipeline.messages import say_what_was_read
from virnucpro.reading.input_files import InputFiles
from virnucpro.reading.input_kind import kind_of, looks_like_dna
from virnucpro.reading.reads import read_records

GAPS = "-.~*?"
DNA = "ACGTACGTACGTACGTACGTACGT"
PROTEIN = f">p\n{'MKVLEFIPQ' * 10}\n"


def survey(*arguments):
    return InputFiles(*arguments).survey


def records(path, content, kind=None):
    path.write_bytes(content)
    return [(read.name, read.sequence) for read in read_records(str(path), "in.fa", kind)]


@pytest.mark.parametrize(
    "content, kind, message",
    [
        (b">a\nACGT>b\nGGCC\n", None, "line 2: record 1 (a) has '>' in its sequence: a header"),
        (b">a\nAC\n>b\nAC\nGT>c x\nGG\n", None, "line 5: record 2 (b) has '>'"),
        (b">a\n        1 acgtacgt\n       61 ggcc\n", None, "line 2: record 1 (a) has '1' in its sequence: positions"),
        (b">r1\n40 40 38\n>r2\n8 9 12\n", "protein", "line 2: record 1 (r1) has '4'"),
        (b">a\nAC\n@b\nGG\n+\nII\n", None, "line 3: record 1 (a) has '@' in its sequence. If FASTQ was appended"),
        (b">a\nAC\n>b\nAC\0GT\n", None, "line 4: record 2 (b) has '\\x00' in its sequence: the file is damaged"),
        (b">a\nAC\x1cGT\n", None, "line 2: record 1 (a) has '\\x1c'"),
        (b">a\nAC\xffGT\n", None, "line 2: record 1 (a) has the byte 0xff"),
        (">a\nACÄ\n".encode(), None, "line 2: record 1 (a) has 'Ä' in its sequence. Remove it."),
        ("\ufeff>a\nAC\n\ufeff>b\nGG\n".encode(), None, r"line 3: record 1 (a) has '\ufeff' in its sequence: the"),
        (">a\nAC\u0661\n".encode(), None, "line 2: record 1 (a) has '\u0661' in its sequence: pos"),
        (b">a\nAC\ne\tgene\t1\t3\n", "nucleotide", "line 3: record 1 (a) has '1' in its sequence: positions"),
        (b">a\nacgt\n//\n", None, "line 3: record 1 (a) has '/' in its sequence. Remove it."),
        (b">a\nACGT\n\x1a", None, "line 3: record 1 (a) has '\\x1a' in its sequence: the file is damaged"),
        (b"@a\nACGT \n+\nIIIII\n", None, "line 4: record 1 (a) has 4 letters and 5 qualities"),
        (b"@a\nA\n+\nI@b\nA\n+\nI\n", None, "line 4: record 1 (a) has 1 letters and 3 qualities; the file"),
        (b"@a\nA\n+\nI\n>b\nA\n", None, "line 5: record 2 begins with '>b', not with '@'."),
        (b">a\nAC\n>b\x1b[2J\nAC\n", None, "line 3: record 2 has an id with control characters"),
        (b">a\nACGTL\n", "nucleotide", "line 2: record 1 (a) has 'L' in its sequence, which is no nucleotide"),
        (b">a\rAC\r>b\rG7\r", None, "line 4: record 2 (b) has '7'"),
        (b"@a\nAC\n+\nII\n@b\nA1\n+\nII\n", None, "line 6: record 2 (b) has '1'"),
        (b"@a\nACGT\nACGT\n+\nIIII\nIIII\n", None, "line 3: record 1 (a) has 'ACGT' where '+' was expected: "),
        (b">a\nAC\n>\xe9 x\nAC\n", None, "line 3: record 2 has an id that is not UTF-8"),
    ],
    ids=["glued", "glued later", "positions", "qualities", "fastq", "NUL", "control", "byte", "umlaut",
         "second mark", "Arabic digit", "GFF", "end of GenBank", "end of DOS", "blank", "glued FASTQ", "FASTA in FASTQ",
         "escape", "protein in DNA", "lone CR", "in FASTQ", "wrapped FASTQ", "id in Latin-1"],
)  # fmt: skip
def test_what_is_no_letter_is_named_with_its_place(tmp_path, content, kind, message):
    with pytest.raises(BadInput) as caught:
        records(tmp_path / "x", content, kind)
    assert str(caught.value).startswith("in.fa, " + message)


@pytest.mark.parametrize(
    "content, expected",
    [
        (b">a\nACGTUNRYSWKMBDHVX\nacgtunryswkmbdhvx\n", "ACGTUNRYSWKMBDHVXacgtunryswkmbdhvx"),
        (b">a\nAC-.~*?GT\n", "AC-.~*?GT"),
        (b">a\n AC\tGT \v\f\n", "ACGT"),
        (b">a C\xf4te\nACGT\n", "ACGT"),
        (b"@a C\xf4te\nACGT\n+\nIIII\n", "ACGT"),
        (b"@a\nACGT  \n+\nIIII\n", "ACGT"),
        (b"@a\rACGT\r+\rIIII\r", "ACGT"),
        (b">a\rAC\rGT\r", "ACGT"),
        (b"; of old\n>a\nAC\n; and within: 7\nGT\n", "ACGT"),
    ],
    ids=[
        "IUPAC",
        "gaps",
        "blanks",
        "Latin-1",
        "Latin-1 in FASTQ",
        "trailing blanks",
        "lone CR in FASTQ",
        "lone CR",
        ";",
    ],
)
def test_what_is_a_letter_is_kept_as_it_is(tmp_path, content, expected):
    assert records(tmp_path / "x", content, "nucleotide") == [("a", expected)]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([b"", b">a\n", b"@b\n"]),
    st.lists(st.sampled_from([b">a", b"@b", b"\n", b"\r", b"ACGT", b"+", b"IIII", b"#", b";", b" ", b"-*", b"LK"])
             | st.binary(max_size=3), max_size=12).map(b"".join),
    st.sampled_from([None, "nucleotide", "protein"]),
)  # fmt: skip
@example(b">a\n", b"AC>b\nGT7\n", None)
@example(b"", b">a\n#ACGT\n>b\n>c\n-*\n", None)
def test_whatever_bytes_come_no_stranger_is_yielded(tmp_path_factory, first, content, kind):
    path = tmp_path_factory.mktemp("letters") / "x"
    known = set(("ACGTUNRYSWKMBDHVX" if kind == "nucleotide" else string.ascii_uppercase) + GAPS)
    try:
        read = records(path, first + content, kind)
    except (BadInput, BadRequest) as error:
        assert str(error).isprintable()
        return
    for name, sequence in read:
        assert name.isprintable()
        assert set(sequence.upper()) <= known


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 3_000), st.sampled_from([1, 7, 60, 100_000]))
def test_a_stranger_is_named_with_its_line_wherever_it_is(tmp_path_factory, place, width):
    """Records of many blocks, and lines longer than one."""
    lines = [line for number in range(1_501) for line in (f">r{number}", "A" * (width if number % 500 == 0 else 40))]
    lines[place] += "\nAC9" if lines[place].startswith(">") else "9"
    line = place + 1 + lines[place].count("\n")
    with pytest.raises(BadInput, match=rf"^in\.fa, line {line}: record {place // 2 + 1} \(r{place // 2}\) has '9'"):
        records(tmp_path_factory.mktemp("place") / "x", "\n".join(lines).encode())


PLAIN = b">a\nACGT\n>b\nGGCC\n"
LAST = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
GZIP = gzip.compress(PLAIN, mtime=0)


@pytest.mark.parametrize(
    "content",
    [GZIP + bytes(512), bz2.compress(PLAIN) + bytes(8), lzma.compress(PLAIN) + bytes(8), bgzip(PLAIN) + LAST],
    ids=["gzip padded", "bzip2 padded", "xz padded", "bgzip"],
)
def test_zeros_after_compressed_data_are_padding(tmp_path, content):
    assert records(tmp_path / "x", content) == [("a", "ACGT"), ("b", "GGCC")]


@pytest.mark.parametrize(
    "content, message",
    [
        (bgzip(PLAIN), "is cut off: bgzip's last, empty block is missing"),
        (GZIP[:-8] + b"\0\0\0\0" + GZIP[-4:], "damaged or cut off"),
        (GZIP[:-4] + b"\1\0\0\0", "damaged or cut off"),
        (GZIP[:-3], "damaged or cut off"),
        (bz2.compress(PLAIN)[:-3], "damaged or cut off"),
        (lzma.compress(PLAIN)[:-3], "damaged or cut off"),
        (zstandard(PLAIN)[:-3], "damaged or cut off"),
        (GZIP + b"no header, but as long as one", "after the compressed data come other bytes"),
        (bz2.compress(PLAIN) + b"no header, but as long as one", "after the compressed data come other bytes"),
        (lzma.compress(PLAIN) + b"no header, but as long as one", "after the compressed data come other bytes"),
    ],
    ids=["bgzip", "gzip CRC", "gzip length", "gzip cut", "bzip2 cut", "xz cut", "zstandard cut", "gzip and more",
         "bzip2 and more", "xz and more"],
)  # fmt: skip
def test_files_that_are_not_whole_are_named(tmp_path, content, message):
    with pytest.raises(BadInput, match=message):
        records(tmp_path / "x", content)


def test_fastq_without_bgzips_last_block_is_read_with_a_warning(tmp_path, caplog):
    """bcl2fastq leaves it out of whole files."""
    path = tmp_path / "x.fq.gz"
    path.write_bytes(bgzip(b"@a\nACGT\n+\nIIII\n"))
    assert survey([str(path)]).records == 1
    assert "Make sure that the file is not cut off" in caplog.text


@pytest.mark.parametrize(
    "sequence, alike",
    [(DNA[:20], True), (DNA.replace("T", "U").lower(), True), (DNA + "N", True), (DNA[:19], False), (DNA + "L", False),
     (DNA + "-" + DNA, True), (f"XX{DNA}--", True), (DNA[:19] + "-N", True), (DNA[:19] + "--", False),
     (DNA + "R" + DNA, True), (DNA + "R", False), (DNA + "RYSW" + DNA, True), (DNA + "RYSWKM" + DNA, False),
     ("AG" * 20, False), ("ACGN" * 9, False), ("", False)],
)  # fmt: skip
def test_what_looks_like_dna(sequence, alike):
    assert looks_like_dna(sequence) is alike


@pytest.mark.parametrize(
    "sequence, kind",
    [(DNA + "-" * 60, "nucleotide"), (DNA + "X" * 60, "nucleotide"), (DNA + "*.~?", "nucleotide"),
     ("MKVLAAGIVG" + "-" * 60, "protein")],
    ids=["gaps", "masked", "other gaps", "aligned protein"],
)  # fmt: skip
def test_gaps_and_masks_tell_nothing_of_the_kind(sequence, kind):
    assert kind_of([sequence]) == kind


def test_only_gaps_are_asked_about_and_dna_is_no_protein():
    with pytest.raises(BadRequest, match="--input-type"):
        kind_of(["----"])
    with pytest.raises(BadRequest, match=r"DNA, where proteins were asked for"):
        kind_of([DNA], "protein")


def test_later_records_of_another_kind_are_noticed(tmp_path, caplog):
    path = tmp_path / "x"
    path.write_text("".join(f">d{i}\nACGT\n" for i in range(1_500)) + PROTEIN)
    with pytest.raises(BadInput, match=r"line 3002: record 1501 \(p\) has 'L' in its sequence, which is no nucleotide"):
        survey([str(path)])
    path.write_text(PROTEIN + f">d\n{DNA}\n")
    with pytest.raises(BadInput, match=r"record 2 \(d\) is DNA by its letters, and the first ones are proteins"):
        survey([str(path)])
    with caplog.at_level(logging.WARNING):
        say_what_was_read(survey([str(path)], "protein"))
    assert "1 of 2 records are DNA by their letters" in caplog.text


@pytest.mark.parametrize(
    "letters", [DNA[:2] + "-" + DNA[2:], DNA * 2 + "R", "X" * 4 + DNA], ids=["a gap", "a code", "masked"]
)
def test_dna_with_gaps_masks_or_codes_is_no_protein(tmp_path, letters):
    path = tmp_path / "x"
    path.write_text(PROTEIN + f">d\n{letters}\n")
    with pytest.raises(BadInput, match=r"record 2 \(d\) is DNA by its letters"):
        survey([str(path)])
    with pytest.raises(BadRequest, match=r"DNA, where proteins were asked for"):
        kind_of([letters], "protein")


def test_empty_records_tell_nothing_of_the_kind(tmp_path):
    path = tmp_path / "x"
    path.write_text("".join(f">e{i}\n" for i in range(1_001)) + PROTEIN)
    assert survey([str(path)]).kind == "protein"


def test_rna_beside_dna_and_gaps_are_told(tmp_path, caplog):
    path = tmp_path / "x"
    path.write_text(">a\nACGT\n>b\nACGU\n>c\nacgu-\n>d\nA.C\n")
    with caplog.at_level(logging.WARNING):
        say_what_was_read(survey([str(path)]))
    assert "2 of 4 records have the letter U" in caplog.text
    assert "2 of 4 records have gaps" in caplog.text


def test_ids_that_may_be_two_are_told(tmp_path, caplog):
    (tmp_path / "x").write_text(">a>b\nACGT\n>c d>e\nACGT\n")
    with caplog.at_level(logging.WARNING):
        say_what_was_read(survey([str(tmp_path / "x")]))
    assert "1 of 2 ids have '>' in them" in caplog.text
