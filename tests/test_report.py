"""Report: whole files, byte by byte."""

from virnucpro.report import write_fates, write_verdicts
from virnucpro.verdicts import FrameScore

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


def test_fate_of_every_record(tmp_path):
    table = tmp_path / "reads.tsv"
    table.write_text("a\t1001\t3\t4\nb\t12\t1\t0\nc\t0\t0\t0\nd\t500\t1\t2\n")
    fates = write_fates(tmp_path, table, "nucleotide", {"d": "worker on cuda:0 was killed by SIGKILL"})
    assert (tmp_path / "sequences.tsv").read_bytes() == (
        b"Sequence_ID\tLength\tChunks\tFrames\tFate\n"
        b"a\t1001\t3\t4\tscored\n"
        b"b\t12\t1\t0\tno open frame\n"
        b"c\t0\t0\t0\tempty\n"
        b"d\t500\t1\t2\tfailed: worker on cuda:0 was killed by SIGKILL\n"
    )
    assert fates == {"scored": 1, "no open frame": 1, "empty": 1, "failed": 1}


def test_fate_of_proteins(tmp_path):
    table = tmp_path / "reads.tsv"
    table.write_text("a\t1024\t0\t1\nb\t1025\t0\t1\nc\t0\t0\t0\n")
    fates = write_fates(tmp_path, table, "protein", {})
    assert [line.split("\t")[-1] for line in (tmp_path / "sequences.tsv").read_text().splitlines()[1:]] == [
        "embedded",
        "embedded: first 1024 residues",
        "empty",
    ]
    assert fates == {"embedded": 2, "empty": 1}
