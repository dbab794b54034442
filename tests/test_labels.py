"""Labels: classes, sources and parts of training records, and what is refused."""

import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.errors import BadInput, BadRequest
from virnucpro.evaluation.records_table import PARTS, Entry, read_records_table
from virnucpro.reading.frames import reverse_complement
from virnucpro.reading.reads import Read
from virnucpro.training.labels import label
from virnucpro.training.split import SplitRule

RULE = SplitRule(0.25, 0.1, 0)
# Sources by how their sha256 begins: "e" 3f, "a" ca, "h" aa; of "0:a" 9d, of "0:h" 17, which is below a tenth.
TEST_SOURCE, TRAIN_SOURCE, VALIDATION_SOURCE = "e", "a", "h"
ORIGINS = {
    f"{kind}{part}": Entry(source)
    for kind in ("v", "o")
    for part, source in enumerate((TRAIN_SOURCE, VALIDATION_SOURCE, TEST_SOURCE))
}
VIRAL = [Read("v0", "AAAAACCCCC"), Read("v1", "AAAAAGGGGG"), Read("v2", "AAAAATTTTC")]
OTHERS = [Read("o0", "CACACACACA"), Read("o1", "CTCTCTCTCT"), Read("o2", "GAGAGTGAGA")]


def labelled(viral=(), others=(), origins=None, chunk_size=10):
    more = {read.name: Entry(read.name.split("_")[0]) for read in (*viral, *others)}
    return label([*VIRAL, *viral], [*OTHERS, *others], ORIGINS | more | (origins or {}), RULE, chunk_size)


@pytest.mark.parametrize("source, part", [("e", "test"), ("a", "train"), ("h", "validation")])
def test_the_rule_is_public(source, part):
    assert RULE.part_of(source) == part
    assert (hashlib.sha256(source.encode()).hexdigest()[0] in "0123") == (part == "test")


@given(st.text(min_size=1), st.integers(0, 2**32 - 1))
def test_a_seed_moves_nothing_into_or_out_of_the_test(source, seed):
    others = SplitRule(0.25, 0.1, seed)
    assert (others.part_of(source) == "test") == (RULE.part_of(source) == "test")


def test_shares_are_about_those_of_the_sources():
    counts = Counter(SplitRule(0.3, 0.2, 7).part_of(f"source {number}") for number in range(10_000))
    # Four standard deviations of a binomial: below 0.02 of 10,000.
    assert [counts[part] / 10_000 for part in PARTS] == pytest.approx([0.56, 0.14, 0.3], abs=0.02)


@pytest.mark.parametrize("share", [0, 1, -0.1, 2, float("nan")])
@pytest.mark.parametrize("name", ["test", "validation"])
def test_shares_that_leave_a_part_empty(name, share):
    with pytest.raises(BadRequest, match=f"--{name} is {share}, and must be above 0 and below 1"):
        SplitRule(**{name: share})


def test_labels_of_every_record():
    labels = labelled()
    assert labels.names == ["v0", "v1", "v2", "o0", "o1", "o2"]
    assert labels.virus_N.tolist() == [True] * 3 + [False] * 3
    assert [PARTS[part] for part in labels.part_N] == ["train", "validation", "test"] * 2
    assert not labels.shared_C.any() and len(labels.shared_C) == 6
    one = {"records": 1, "sources": 1}
    assert labels.counts() == {part: {"others": one, "virus": one} for part in PARTS}


def test_chunks_of_the_test_that_both_classes_have_are_told():
    """They count: a test is as it is."""
    origins = {"v9": Entry(TEST_SOURCE), "o9": Entry(TEST_SOURCE)}
    shared = "AAAAAGGGGC"
    labels = labelled([Read("v9", shared + "CCCCCAAAAA")], [Read("o9", shared + "GAGAGAGAGC")], origins)
    assert labels.conflicting == 2 and not labels.shared_C.any()
    assert labelled().conflicting == 0
    gaps = labelled([Read("v9", "N" * 10 + "CCCCCAAAAA")], [Read("o9", "N" * 10 + "GAGAGAGAGC")], origins)
    assert gaps.conflicting == 0  # without a base there is no frame


def test_without_a_table_each_record_is_a_source():
    viral = [Read(name, "ACGT" + "A" * place) for place, name in enumerate("eal")]
    others = [Read(name, "TTTTTTGG" + "C" * place) for place, name in enumerate("siE")]
    labels = label(viral, others, None, SplitRule(0.3, 0.5, 1), 10)
    assert labels.sources == list("ealsiE")


@pytest.mark.parametrize("turned", [str, reverse_complement, str.lower])
def test_the_same_sequence_in_both_classes(turned):
    with pytest.raises(BadInput, match=r"records 'v0' and 'o9' are .* is viral and is not\. Take it out"):
        labelled(others=[Read("o9", turned("AAAAACCCCC"))])


@pytest.mark.parametrize("turned", [str, reverse_complement])
def test_the_same_sequence_in_two_parts(turned):
    twin = {"w": Entry(TEST_SOURCE)}
    with pytest.raises(BadInput, match=r"records 'v0' and 'w' are .* is in the parts train and test"):
        labelled(viral=[Read("w", turned("AAAAACCCCC"))], origins=twin)


def test_the_same_sequence_in_one_part_is_taken():
    assert len(labelled(viral=[Read("w", "AAAAACCCCC")], origins={"w": Entry(TRAIN_SOURCE)}).names) == 7


def test_chunks_that_another_part_has_are_left_out_of_training():
    # Chunks of 10: of w the second is v2's, of the test, and x's first is o0's, on the other strand.
    viral = [Read("w", "CCCCCCCCCCAAAAATTTTC"), Read("x", reverse_complement("CACACACACA") + "GGGGGGGGGG")]
    labels = labelled(viral=viral, origins={"w": Entry(TRAIN_SOURCE), "x": Entry(TRAIN_SOURCE)})
    #        v0 v1 v2 w w x x o0 o1 o2
    assert labels.shared_C.astype(int).tolist() == [0, 0, 0, 0, 1, 1, 0, 1, 0, 0]


def test_a_record_without_a_source():
    with pytest.raises(BadInput, match="record 'v0' is not in the table of --sources"):
        label(VIRAL, OTHERS, {}, RULE, 10)


@pytest.mark.parametrize(
    "viral, others, what",
    [
        ([], OTHERS, "no record is given for the class 'virus': VIRAL has none"),
        (VIRAL, [], "no record is given for the class 'others': --others has none"),
        (VIRAL[:2], OTHERS, "the class 'virus' has 2 sources, of which none is in the part test"),
        (VIRAL, OTHERS[1:], "the class 'others' has 2 sources, of which none is in the part train"),
    ],
)
def test_a_class_that_is_empty_somewhere(viral, others, what):
    with pytest.raises(BadInput, match=what):
        label(viral, others, ORIGINS, RULE, 10)


def test_a_table_of_sources(tmp_path):
    path = tmp_path / "sources.tsv"
    path.write_text("part\tsource\trecord\n\ts1\tr1\ntest\ts2\tr2\n\ts1\tr3\n")
    assert read_records_table(path, "--sources", "source") == {
        "r1": Entry("s1"),
        "r2": Entry("s2", "", "test"),
        "r3": Entry("s1"),
    }


def test_parts_of_a_table_come_first():
    labels = labelled(origins={"v0": Entry(TRAIN_SOURCE, "", "test"), "v2": Entry(TEST_SOURCE, "", "train")})
    assert [PARTS[part] for part in labels.part_N] == ["test", "validation", "train", "train", "validation", "test"]


@pytest.mark.parametrize(
    "text, what",
    [
        ("record\tgroup\nr\tg\n", "no column 'source' in its first line"),
        ("", "no column 'record'"),
        ("record\tsource\nr\t\n", "line 2: a record without a source"),
        ("record\tsource\nr\ts\nr\tt\n", "line 3: record 'r' is there twice"),
        ("record\tsource\tpart\nr\ts\ttesting\n", "line 2: part 'testing' is unknown"),
        ("record\tsource\tpart\nr\ts\ttest\nq\ts\ttrain\n", "line 3: source 's' is in the parts 'test' and 'train'"),
        (b"record\tsource\n\xff\xfe\t1\n", "is no table of text"),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path, text, what):
    path = tmp_path / "sources.tsv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInput, match=what):
        read_records_table(path, "--sources", "source")


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(BadRequest, match=r"--sources .*: cannot be read \(No such file"):
        read_records_table(tmp_path / "none.tsv", "--sources", "source")


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=40))
def test_shared_is_what_has_two_kinds(pairs):
    from virnucpro.training.labels import _shared

    kinds, digests = (np.array(column, np.uint64) for column in zip(*pairs, strict=True))
    expected = [len({kind for kind, digest in pairs if digest == mine}) > 1 for _, mine in pairs]
    assert _shared(digests, kinds.astype(np.uint8)).tolist() == expected
