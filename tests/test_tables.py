"""Report: whole files, byte by byte."""

import numpy as np
import pytest

from virnucpro.engine.results import FinishedWindow, WindowResult, finish
from virnucpro.output.tables import has_results, scored, write_fates, write_verdicts
from virnucpro.output.verdicts import FrameScore
from virnucpro.reading.windows import Piece, Window

FRAMES = [
    FrameScore("a|1_chunk_1F1", 0.25, 0.75),
    FrameScore("a|1_chunk_1R2", 0.99999, 1.2345e-05),
    FrameScore("a|1_chunk_2F3", 0.5, 0.5),
    FrameScore("b_chunk_1F1", failure="OutOfMemoryError: no room"),
    FrameScore("b_chunk_2F1", 0.875, 0.125),
    FrameScore("c_chunk_3_chunk_1F1", 0.0, 1.0),
]


def test_files_of_verdicts(tmp_path):
    failures = {}
    counts = write_verdicts(tmp_path, iter(FRAMES), failures)
    assert (tmp_path / "prediction_results.txt").read_bytes() == (
        b"Sequence_ID\tPrediction\tscore1\tscore2\n"
        b"a|1_chunk_1F1\tvirus\t0.25\t0.75\n"
        b"a|1_chunk_1R2\tothers\t0.99999\t1.2345e-05\n"
        b"a|1_chunk_2F3\tothers\t0.5\t0.5\n"
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
    assert failures == {"b": "OutOfMemoryError: no room"}
    assert (counts.chunks, counts.viral_chunks, counts.contigs) == (4, 2, 2)
    assert len(list(tmp_path.iterdir())) == 3  # no temporary file is left


def finished(index, pieces, open_C, failures=None, scores_S2=None):
    """A window of pieces (name, length of the read, chunks before, chunks here)."""
    names, *numbers = zip(*pieces)
    columns = [np.array(column) for column in numbers]
    return FinishedWindow(index, list(names), *columns, np.array(open_C, np.uint8), 0, 0, failures or {}, scores_S2)


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


def test_frames_are_named_and_scored_in_order_of_the_input():
    assert list(scored(WINDOWS)) == [
        FrameScore("a_chunk_1F1", 0.25, 0.75),
        FrameScore("a_chunk_1R2", 0.1, 0.9),  # the shortest text that gives the float32 back
        FrameScore("a_chunk_3F3", 0.5, 0.5),
        FrameScore("d_chunk_1F1", 1.0, 0.0),
        FrameScore("d_chunk_1R3", failure="worker on cuda:0 was killed by SIGKILL"),
    ]


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
