"""Report: whole files, byte by byte."""

from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.engine.results import FinishedWindow, WindowResult, finish
from virnucpro.output.tables import has_results, write_fates, write_verdicts
from virnucpro.reading.frames import FRAME_SUFFIXES
from virnucpro.reading.windows import Piece, Window


def finished(index, pieces, open_C, failures=None, scores_S2=None):
    """A window of pieces (name, length of the read, chunks before, chunks here)."""
    names, *numbers = zip(*pieces)
    columns = [np.array(column) for column in numbers]
    return FinishedWindow(index, list(names), *columns, np.array(open_C, np.uint8), 0, 0, failures or {}, scores_S2)


SCORED = [
    finished(
        0,
        [("a|1", 900, 0, 2), ("closed", 12, 0, 1), ("b", 900, 0, 2)],
        [0b010001, 0b000100, 0, 0b000011, 0b000001],
        {3: "OutOfMemoryError: no room"},
        np.array(
            [[0.25, 0.75], [0.99999, 1.2345e-05], [0.5, 0.5], [np.nan, np.nan], [0.0, 1.0], [0.875, 0.125]], np.float32
        ),
    ),
    finished(1, [("none", 0, 0, 0)], []),
    finished(2, [("lost", 9, 0, 1)], [0b000011], {0: "one", 1: "two"}),  # no scores: its worker was given up
    finished(3, [("c_chunk_3", 9, 0, 1)], [0b000001], scores_S2=np.array([[0.0, 1.0]], np.float32)),
]


def test_files_of_verdicts(tmp_path):
    failures = {}
    counts = write_verdicts(tmp_path, iter(SCORED), failures)
    assert (tmp_path / "prediction_results.txt").read_bytes() == (
        b"Sequence_ID\tPrediction\tscore1\tscore2\n"
        b"a|1_chunk_1F1\tvirus\t0.25\t0.75\n"
        b"a|1_chunk_1R2\tothers\t0.99999\t1.2345e-05\n"
        b"a|1_chunk_2F3\tothers\t0.5\t0.5\n"
        b"b_chunk_1F2\tvirus\t0.0\t1.0\n"  # though the other frame of the chunk has failed
        b"b_chunk_2F1\tothers\t0.875\t0.125\n"
        b"c_chunk_3_chunk_1F1\tvirus\t0.0\t1.0\n"
    )
    assert (tmp_path / "prediction_results_highestscore.csv").read_bytes() == (
        b"Modified_ID\tIs_Virus\tmax_score_0\tmax_score_1\n"
        b"a|1_chunk_1\tFalse\t0.99999\t0.75\n"
        b"a|1_chunk_2\tTrue\t0.5\t0.5\n"
        b"b_chunk_2\tFalse\t0.875\t0.125\n"
        b"c_chunk_3_chunk_1\tTrue\t0.0\t1.0\n"
    )
    # a|1: deltas -0.24999 and 0; the second weighs nothing. b is left out: part of it failed.
    assert (tmp_path / "contigs.tsv").read_bytes() == (
        b"ID\tcall\ttier\tweighted_delta\tn_chunks\tn_confident_viral\tn_confident_nonviral\tn_ambiguous\t"
        b"viral_proportion\tnonviral_proportion\n"
        b"a|1\tAmbiguous\treview\t-0.25\t2\t0\t0\t1\t0.0\t0.0\n"
        b"c_chunk_3\tViral\tlow_confidence\t1.0\t1\t1\t0\t0\t1.0\t0.0\n"
    )
    assert failures == {"b": "OutOfMemoryError: no room", "lost": "one"}
    assert (counts.frames, counts.chunks, counts.viral_chunks, counts.contigs) == (6, 4, 2, 2)
    assert len(list(tmp_path.iterdir())) == 3  # no temporary file is left


# Frames F1 R2 of a's first chunk, none of its second, F3 of its third, which lies in the next window.
WINDOWS = [
    finished(0, [("a", 1001, 0, 2)], [0b010001, 0], scores_S2=np.array([[0.25, 0.75], [0.1, 0.9]], np.float32)),
    finished(
        1,
        [("a", 1001, 2, 1), ("b", 12, 0, 1), ("c", 0, 0, 0), ("d", 500, 0, 1)],
        [0b000100, 0, 0b100001],
        {2: "worker on cuda:0 was killed by SIGKILL"},
        np.array([[0.5, 0.5], [1.0, 0.0], [np.nan, np.nan]], np.float32),
    ),
]


def test_frames_are_named_in_order_of_the_input():
    assert [list(window.sequence_names("nucleotide")) for window in WINDOWS] == [
        ["a_chunk_1F1", "a_chunk_1R2"],
        ["a_chunk_3F3", "d_chunk_1F1", "d_chunk_1R3"],
    ]


def test_a_read_in_two_windows_has_one_call(tmp_path):
    write_verdicts(tmp_path, WINDOWS, {})
    assert [line.split("\t")[:5] for line in (tmp_path / "contigs.tsv").read_text().splitlines()[1:]] == [
        ["a", "Viral", "low_confidence", "0.65", "2"],
    ]


@given(st.lists(st.lists(st.integers(0, 63), max_size=5), max_size=5), st.sets(st.integers(1, 20)), st.data())
def test_it_does_not_matter_where_windows_are_cut(tmp_path_factory, masks_of_reads, cuts, data):
    """Nor what fails: for one window and for several the same files, and every frame without a failure in its row."""
    chunks = [(f"r{i}", number, mask) for i, masks in enumerate(masks_of_reads) for number, mask in enumerate(masks)]
    frames = [(place, frame) for place, (*_, mask) in enumerate(chunks) for frame in range(6) if mask >> frame & 1]
    some = st.sampled_from([(0.1, 0.9), (0.9, 0.1), (0.5, 0.5), (1e-8, 1.0)])
    scores = np.array(data.draw(st.lists(some, min_size=len(frames), max_size=len(frames))), np.float32).reshape(-1, 2)
    failing = data.draw(st.dictionaries(st.integers(0, 40), st.text("xyz", min_size=1)))

    def window(index, begin, end):
        pieces = []
        for name, group in groupby(chunks[begin:end], key=lambda chunk: chunk[0]):
            numbers = [number for _, number, _ in group]
            pieces.append((name, 9, numbers[0], len(numbers)))
        here = [place for place, (chunk, _) in enumerate(frames) if begin <= chunk < end]
        failures = {i: failing[place] for i, place in enumerate(here) if place in failing}
        open_C = [mask for *_, mask in chunks[begin:end]]
        return finished(index, pieces or [("empty", 0, 0, 0)], open_C, failures, scores[here])

    found = []
    for edges in ([0, len(chunks)], sorted({0, len(chunks)} | {cut for cut in cuts if cut < len(chunks)})):
        folder, reasons = tmp_path_factory.mktemp("tables"), {}
        counts = write_verdicts(folder, [window(i, *pair) for i, pair in enumerate(pairwise(edges))], reasons)
        found.append((counts, reasons, {path.name: path.read_bytes() for path in folder.iterdir()}))
    assert found[0] == found[-1]
    named = [f"{chunks[place][0]}_chunk_{chunks[place][1] + 1}{FRAME_SUFFIXES[frame]}" for place, frame in frames]
    assert found[0][2]["prediction_results.txt"].decode().splitlines()[1:] == [
        f"{name}\t{'virus' if virus > others else 'others'}\t{others!s}\t{virus!s}"
        for place, (name, (others, virus)) in enumerate(zip(named, scores, strict=True))
        if place not in failing
    ]


@given(st.floats(0, 1, width=32))
def test_the_text_of_a_score_is_that_of_the_number_that_verdicts_rest_on(score):
    text = str(np.float32(score))
    assert str(float(text)) == text and np.float32(text) == np.float32(score)


def test_fate_of_every_record(tmp_path):
    fates = write_fates(tmp_path, WINDOWS, "nucleotide", {"d": "worker on cuda:0 was killed by SIGKILL"})
    assert (tmp_path / "sequences.tsv").read_bytes() == (
        b"Sequence_ID\tLength\tChunks\tFrames\tFate\n"
        b"a\t1001\t3\t3\tscored\n"  # one row, though it lies in two windows
        b"b\t12\t1\t0\tno open frame\n"
        b"c\t0\t0\t0\tempty\n"
        b"d\t500\t1\t2\tfailed: worker on cuda:0 was killed by SIGKILL\n"
    )
    assert fates == {"scored": 1, "no open frame": 1, "empty": 1, "failed": 1}


def test_fate_of_proteins(tmp_path):
    window = finished(0, [("a", 1024, 0, 1), ("b", 1025, 0, 1), ("c", 0, 0, 1), ("d", 7, 0, 1)], [1, 1, 0, 1])
    assert list(window.sequence_names("protein")) == ["a", "b", "d"]
    fates = write_fates(tmp_path, [window], "protein", {"d": "features are not finite"})
    assert [line.split("\t")[2:] for line in (tmp_path / "sequences.tsv").read_text().splitlines()[1:]] == [
        ["0", "1", "embedded"],
        ["0", "1", "embedded: first 1024 residues"],
        ["0", "0", "empty"],
        ["0", "1", "failed: features are not finite"],
    ]
    assert fates == {"embedded": 2, "empty": 1, "failed": 1}


def test_a_window_is_put_together_from_its_parts():
    """Where a failure was hunted down, a window has an outcome for each of its parts."""
    pieces = (Piece("a", 1001, "", ((0, 500), (333, 833))), Piece("b", 9, "", ((0, 9),)))
    open_C = np.array([1, 2, 3], np.uint8)
    first = WindowResult(4, (0, 1), open_C, 1, scores_S2=np.array([[0.0, 1.0]], np.float32))
    second = WindowResult(
        4, (1, 4), open_C, 3, scores_S2=np.array([[0.5, 0.5]] * 3, np.float32), failures={1: "boom"}, cut=2
    )
    whole = finish(Window(4, pieces), [first, second])
    assert (whole.index, whole.names, whole.sequences) == (4, ["a", "b"], 4)
    assert [whole.lengths_R.tolist(), whole.firsts_R.tolist(), whole.chunks_R.tolist()] == [[1001, 9], [0, 0], [2, 1]]
    assert whole.frames_R().tolist() == [2, 2]
    assert whole.scores_S2.tolist() == [[0.0, 1.0], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]
    assert whole.failures == {2: "boom"}  # by place in the window
    assert whole.features == {}


@pytest.mark.parametrize(
    "kind, with_features, files",
    [
        ("nucleotide", False, 4),
        ("nucleotide", True, 5),
        ("protein", False, 1),
        ("protein", True, 2),
    ],
)
def test_results_are_complete_or_not(tmp_path, kind, with_features, files):
    names = ["sequences.tsv", "prediction_results.txt", "prediction_results_highestscore.csv", "contigs.tsv"]
    needed = (names if kind == "nucleotide" else names[:1]) + ["embeddings.h5"] * with_features
    assert len(needed) == files
    for name in needed:
        assert not has_results(tmp_path, kind, with_features)
        (tmp_path / name).touch()
    assert has_results(tmp_path, kind, with_features)
