"""Whether there are frames enough is told before a feature is computed, and from no more records than that takes."""

import numpy as np
import pytest

from virnucpro.errors import BadInput
from virnucpro.evaluation.records_table import PARTS
from virnucpro.reading.reads import Read
from virnucpro.training.frame_counts import LEAST_FRAMES, check_frames, is_coding
from virnucpro.training.labels import Labels

CHUNK = 30
SIX = "GCT" * 10  # six open frames: no stop on either strand
CLOSED = "TAATTAACTAG" * 3


def labels_of(rows, shared=()):
    """Rows: part, whether it is a virus; a chunk each."""
    parts = np.array([PARTS.index(part) for part, _ in rows], np.uint8)
    virus = np.array([virus for _, virus in rows])
    names = [f"r{number}" for number in range(len(rows))]
    shared_C = np.isin(np.arange(len(rows)), [*shared])
    return Labels(names, virus, names, [""] * len(rows), parts, shared_C)


def reads_of(sequences, last=None):
    """Fails where more than `last` of them are asked for."""
    for number, sequence in enumerate(sequences):
        assert last is None or number < last, "a record too many was read"
        yield Read(f"r{number}", sequence)


JUDGED = [(part, virus) for part in ("validation", "test") for virus in (True, False)]
TRAINED = [("train", True)] * 9 + [("train", False)] * 8  # 54 and 48 frames


def test_enough_is_enough():
    rows = [*JUDGED, *TRAINED, *[("train", False)] * 50]
    check_frames(reads_of([SIX] * len(rows), len(JUDGED) + len(TRAINED)), labels_of(rows), CHUNK, "open")


def test_too_few_to_train():
    rows = [*JUDGED, *TRAINED[:-1]]  # 96
    with pytest.raises(BadInput, match=f"96 open frames are there to train with, and {LEAST_FRAMES} are needed. Give"):
        check_frames(reads_of([SIX] * len(rows)), labels_of(rows), CHUNK, "open")


def test_coding_frames_are_one_a_chunk():
    rows = [*JUDGED, *TRAINED * 5]  # 85 chunks
    message = "85 coding frames are there to train with, and 100 are needed. Give more sequences, or --frames open."
    with pytest.raises(BadInput, match=message):
        check_frames(reads_of([SIX] * len(rows)), labels_of(rows), CHUNK, "coding")
    assert [bool(is_coding(start, frame)) for start, frame in ((0, 0), (3, 0), (0, 1), (2, 1), (2, 0), (3, 3))] == [
        True, True, False, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize("place, said", [
    (0, "no frame of the class 'virus' is in the part validation"),
    (3, "no frame of the class 'others' is in the part test"),
])  # fmt: skip
def test_a_class_without_a_frame_in_a_part(place, said):
    rows = [*JUDGED, *TRAINED]
    sequences = [CLOSED[:CHUNK] if number == place else SIX for number in range(len(rows))]
    with pytest.raises(BadInput, match=said):
        check_frames(reads_of(sequences), labels_of(rows), CHUNK, "open")


def test_what_is_left_out_does_not_count():
    rows = [*JUDGED, *TRAINED]
    with pytest.raises(BadInput, match="96 open frames"):
        check_frames(reads_of([SIX] * len(rows)), labels_of(rows, shared=[len(rows) - 1]), CHUNK, "open")
