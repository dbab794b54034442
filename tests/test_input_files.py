"""Survey: what one pass over the input finds, refuses and remembers, and the second pass."""

import gzip
import hashlib
import io
import os
import stat
import tracemalloc
from collections import deque
from pathlib import Path

import pytest

from virnucpro.errors import BadInput, BadRequest
from virnucpro.reading import survey as survey_module
from virnucpro.reading.input_files import InputFiles, spooled
from virnucpro.reading.reads import Read, read_records
from virnucpro.reading.survey import Survey


@pytest.fixture
def files(tmp_path):
    """Write texts to files; returns their paths."""

    def write(*texts):
        paths = [tmp_path / f"{number}.fa" for number in range(len(texts))]
        for path, text in zip(paths, texts):
            path.write_bytes(text.encode() if isinstance(text, str) else text)
        return [str(path) for path in paths]

    return write


def survey(*arguments, **options):
    return InputFiles(*arguments, **options).survey


def copied(paths, shown):
    """Files whose copies these are."""
    files = InputFiles(shown)
    files.paths = tuple(paths)
    return files


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "texts, expected",
    [
        # kind, records, letters, empty, rna, gapped, dna, glued, digest, repeated
        ([">a x\nAcG\nT\n>b\nGG\n"], ("nucleotide", 2, 6, 0, 0, 0, 0, 0, sha256("a\tAcGT\nb\tGG\n"), False)),
        # the same records in two files, one of them compressed
        ([">a\nAcGT\n", gzip.compress(b"@b\nGG\n+\nII\n")],
         ("nucleotide", 2, 6, 0, 0, 0, 0, 0, sha256("a\tAcGT\nb\tGG\n"), False)),
        ([">b\nGG\n>a\nAcGT\n"], ("nucleotide", 2, 6, 0, 0, 0, 0, 0, sha256("b\tGG\na\tAcGT\n"), False)),
        ([], ("nucleotide", 0, 0, 0, 0, 0, 0, 0, sha256(""), False)),
        (["", "\n"], ("nucleotide", 0, 0, 0, 0, 0, 0, 0, sha256(""), False)),
        ([">a\n>b\nAC\n>c\n"], ("nucleotide", 3, 2, 2, 0, 0, 0, 0, sha256("a\t\nb\tAC\nc\t\n"), False)),
        ([">a\nACGU\n"], ("nucleotide", 1, 4, 0, 1, 0, 0, 0, sha256("a\tACGU\n"), False)),
        ([">a\nacgu\n>b\nAC\n"], ("nucleotide", 2, 6, 0, 1, 0, 0, 0, sha256("a\tacgu\nb\tAC\n"), False)),
        ([">a\nACGU\n", ">b\nACGt\n"], ("nucleotide", 2, 8, 0, 1, 0, 0, 0, sha256("a\tACGU\nb\tACGt\n"), False)),
        # closing stops are no residues; an empty file says nothing about the kind
        (["", ">p\nMKVL*\n>q\n*\n"], ("protein", 2, 4, 1, 0, 0, 0, 0, sha256("p\tMKVL*\nq\t*\n"), False)),
        ([">p\nMKVLU\n"], ("protein", 1, 5, 0, 0, 0, 0, 0, sha256("p\tMKVLU\n"), False)),  # U is an amino acid
        ([">a\nAC-GU\n>b\nACGT\n>c\nAC.T\n>d>e\nACG*"],
         ("nucleotide", 4, 17, 0, 1, 3, 0, 1, sha256("a\tAC-GU\nb\tACGT\nc\tAC.T\nd>e\tACG*\n"), False)),
        ([">p\nMK-VL.U\n"], ("protein", 1, 7, 0, 0, 0, 0, 0, sha256("p\tMK-VL.U\n"), False)),
        # the first file that has records tells the kind for all
        ([">p\nMKVL\n", ">q\nACGT\n"], ("protein", 2, 8, 0, 0, 0, 0, 0, sha256("p\tMKVL\nq\tACGT\n"), False)),
    ],
)  # fmt: skip
def test_what_is_found(files, texts, expected):
    assert survey(files(*texts)) == Survey(*expected)


def test_the_user_may_say_what_it_is(files):
    unclear = files(">a\nACGTRACTKRAG\n")
    with pytest.raises(BadRequest, match="--input-type"):
        survey(unclear)
    assert survey(unclear, "protein").kind == "protein"
    assert survey(unclear, "nucleotide").kind == "nucleotide"


DNA, PROTEIN = "ACGTTGCAACGTTGCAACGT", "MKVLAAGIVGLCAKAYEQRS"


@pytest.mark.parametrize(
    "first, later, message",
    [
        (DNA, PROTEIN, r"record {0} \(x\) has 'L' in its sequence, which is no nucleotide"),
        (DNA, "FF", r"record {0} \(x\) has 'F' in its sequence, which is no nucleotide"),
        (PROTEIN, DNA, r"record {0} \(x\) is DNA by its letters, and the first ones are proteins"),
        (PROTEIN, DNA.replace("T", "u") + "N", r"record {0} \(x\) is DNA by its letters"),
    ],
)
def test_another_kind_after_the_first_thousand_records(files, first, later, message):
    many = [f">r{number}\n{first}\n" for number in range(1_600)]
    paths = files("".join(many) + f">x\n{later}\n>y\n{first}\n")
    with pytest.raises(BadInput, match=message.format(1_601)):
        survey(paths)
    with pytest.raises(BadInput, match=r"1\.fa.*" + message.format(1)):
        survey(files("".join(many[:3]), f">x\n{later}\n"))


def test_who_says_protein_has_dna_read_as_protein(files):
    found = survey(files(f">p\n{PROTEIN}\n>d\n{DNA}\n>t\nACGT\n"), "protein")
    assert (found.kind, found.records, found.dna) == ("protein", 3, 1)


def test_who_says_nucleotide_has_no_protein_read(files):
    with pytest.raises(BadInput, match=r"line 4: record 2 \(p\) has 'L' in its sequence, which is no nucleotide"):
        survey(files(f">d\n{DNA}\n>p\n{PROTEIN}\n"), "nucleotide")


def test_bad_input_is_refused_wherever_it_is(files):
    paths = files(">a\nAC\n", "".join(f">b{i}\nAC\n" for i in range(1_500)) + ">\nAC\n")
    with pytest.raises(BadInput, match=r"1\.fa, line 3001: record 1501 has no id"):
        survey(paths)
    with pytest.raises(BadInput, match=r"^reads of May, line 3001: record 1501 has no id"):
        list(copied(paths, ["a", "reads of May"]).reads())


def fasta(names):
    return "".join(f">{name}\nAC\n" for name in names.split())


REPEATED = [
    (["a b a"], "records 1 and 3 have the same id 'a'"),
    (["a b b a"], "records 2 and 3 have the same id 'b'"),  # the first that occurs again
    (["a b", "c", "b a"], "records 2 and 4 have the same id 'b'"),  # numbers count on
    (["a", "a a"], "records 1 and 2 have the same id 'a'"),
]


@pytest.mark.parametrize("names, message", REPEATED)
@pytest.mark.parametrize("collide", [False, True], ids=["", "all hashes equal"])
def test_repeated_ids_are_refused_in_known_words(files, monkeypatch, names, message, collide):
    if collide:
        monkeypatch.setattr(survey_module, "hash", lambda name: 7, raising=False)
    paths = files(*map(fasta, names))
    with pytest.raises(BadInput) as caught:
        survey(paths)
    assert str(caught.value) == (
        f"{message}; ids must be unique. Rename one; predict can append _1, _2, ... (--rename-duplicates)."
    )


@pytest.mark.parametrize("rename", [False, True])
def test_different_ids_of_one_hash_are_no_repeat(files, monkeypatch, rename):
    monkeypatch.setattr(survey_module, "hash", lambda name: 7, raising=False)
    found = survey(files(fasta("a b"), fasta("c")), rename_duplicates=rename)
    assert (found.records, found.repeated) == (3, False)


def test_repeated_ids_are_renamed_on_request(files):
    paths = files(fasta("a b a"), fasta("a_1 a"))
    given = InputFiles(paths, rename_duplicates=True)
    assert given.survey.repeated
    assert given.survey.sha256 == sha256("a\tAC\nb\tAC\na\tAC\na_1\tAC\na\tAC\n")  # as in the files
    assert [read.name for read in given.reads()] == ["a", "b", "a_1", "a_1_1", "a_2"]


def test_the_second_pass_yields_the_same_records(files):
    paths = files(">a x\nAcG\nT\n>b\n", ">c\nGG\n")
    assert list(InputFiles(paths).reads()) == [Read("a", "AcGT"), Read("b", ""), Read("c", "GG")]


@pytest.mark.parametrize("now", [">a\nACGA\n>b\nGG\n", ">a\nACGT\n", ">a\nACGT\n>b\nGG\n>c\nA\n", ">b\nACGT\n>a\nGG\n"])
def test_input_that_changed_is_refused_after_its_last_record(files, now):
    paths = files(">a\nACGT\n>b\nGG\n")
    given, streamed = InputFiles(paths), copied(paths, ["-"])
    assert given.survey == streamed.survey
    Path(paths[0]).write_text(now)
    records, passed = list(read_records(paths[0])), []
    with pytest.raises(BadInput, match=r"0\.fa: changed while it was read"):
        for read in given.reads():
            passed.append(read)
    assert passed == records
    with pytest.raises(BadInput, match=r"^-: changed"):
        list(streamed.reads())


def test_a_file_is_its_own_spool(files, tmp_path):
    (path,) = files(">a\nAC\n")
    missing, folder = str(tmp_path / "none.fa"), str(tmp_path)
    for given in (path, missing, folder):
        with spooled(given, tmp_path) as found:
            assert found == given
    assert os.listdir(tmp_path) == ["0.fa"]


CONTENT = gzip.compress(b">a\nACGT\n>b\nGG\n")


@pytest.fixture(params=["standard input", "process substitution"])
def readable_once(request, monkeypatch):
    if request.param == "standard input":
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(CONTENT)))
        yield "-"
        return
    reading, writing = os.pipe()
    with open(writing, "wb") as pipe:
        pipe.write(CONTENT)
    yield f"/dev/fd/{reading}"
    os.close(reading)


def test_what_can_be_read_once_is_copied(tmp_path, readable_once):
    with spooled(readable_once, tmp_path) as path:
        assert Path(path).parent == tmp_path
        assert Path(path).name.startswith(".")
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert Path(path).read_bytes() == CONTENT
        assert [read.name for read in InputFiles([path]).reads()] == ["a", "b"]
    assert not os.listdir(tmp_path)


def test_the_copy_goes_after_an_error_which_names_the_original(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"hello\n")))
    stream = InputFiles(["-"])
    with pytest.raises(BadInput, match=r"^-, line 1: expected '>'"), stream.spooled(tmp_path):
        list(stream.reads())
    assert not os.listdir(tmp_path)


def test_the_copy_goes_when_it_cannot_be_finished(tmp_path, monkeypatch):
    class Broken(io.RawIOBase):
        def read(self, size=-1):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": Broken()}))
    with pytest.raises(OSError, match="Input/output error"), spooled("-", tmp_path):
        pass
    assert not os.listdir(tmp_path)


def test_closed_standard_input_is_explained(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(BadRequest, match="Standard input is closed"), spooled("-", tmp_path) as path:
        survey([path])


def peak_memory(work, *arguments):
    """The most bytes held at once while `work` runs."""
    tracemalloc.start()
    try:
        work(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def read_twice(paths):
    deque(InputFiles(paths).reads(), maxlen=0)


def test_memory_grows_by_a_hash_a_record(files):
    """8 bytes of hash, 1/16 more that the growing array keeps in reserve, 1 for the comparison of neighbours.

    The second pass keeps nothing. A set of the ids would take about 100 bytes a record.
    """
    few, many = 10_000, 100_000
    paths = files(*("".join(f">read_{i:09}\nACGT\n" for i in range(count)) for count in (few, many)))
    read_twice(paths[:1])  # what is made once is there
    least, most = peak_memory(read_twice, paths[:1]), peak_memory(read_twice, paths[1:])
    assert most - least <= 10 * (many - few)
