"""virnucpro evaluate: a finished run and a table of labels, or files of known class, become figures and a page."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from conftest import assert_one_message
from test_probabilities import contigs, models  # noqa: F401  # fixtures
from test_train import rows_of

import virnucpro
from virnucpro.errors import BadInput, BadRequest
from virnucpro.evaluation.held_out import baseline_scores
from virnucpro.evaluation.run_results import Label, read_results
from virnucpro.pipeline.evaluate import finished_run
from virnucpro.reading.reads import read_records

pytestmark = pytest.mark.usefixtures("one_thread")
# Chunks of 10 bp: a virus of two, of which one has no open frame, another that failed, and two others.
SEQUENCES = """
Sequence_ID Length Chunks Frames Fate
v1 17 2 2 scored
v2 10 1 1 failed:_too_little_memory
o1 10 1 1 scored
o2 9 1 0 no_open_frame
x 9 1 1 scored
"""
FRAMES = """
Sequence_ID Prediction score1 score2
v1_chunk_2F1 virus 0.25 0.75
v1_chunk_2R3 others 0.625 0.375
o1_chunk_1F2 others 0.875 0.125
x_chunk_1F1 virus 0 1
"""
CHUNKS = """
Modified_ID Is_Virus max_score_0 max_score_1
v1_chunk_2 True 0.625 0.75
o1_chunk_1 False 0.875 0.125
x_chunk_1 True 0 1
"""
CONTIGS = """
ID call tier weighted_delta
v1 Ambiguous review 0.125
o1 Non-viral low_confidence -0.75
x Viral low_confidence 1.0
"""
LABELS = {"v1": Label(True, "s1", "phage"), "v2": Label(True, "v2"), "o1": Label(False, "s2"), "o2": Label(False, "s2")}
FILES = {
    "sequences.tsv": SEQUENCES,
    "prediction_results.txt": FRAMES,
    "prediction_results_highestscore.csv": CHUNKS,
    "contigs.tsv": CONTIGS,
}


def write_tables(folder, **more):
    folder.mkdir()
    for name, text in (FILES | more).items():
        lines = [
            "\t".join(line.split()).replace("_too_", " too ").replace("_little_", " little ")
            for line in text.split("\n")
        ]
        (folder / name).write_text("\n".join(lines).strip().replace("no_open_frame", "no open frame") + "\n")
    return folder


def shown(units):
    """Rows of a level; NaN as None."""
    scores = [None if math.isnan(score) else score for score in units.score_N.tolist()]
    return list(zip(units.names, units.virus_N.tolist(), scores, units.calls, units.sources, units.length_N.tolist()))


def test_the_tables_of_a_run(tmp_path):
    levels = read_results(write_tables(tmp_path / "r"), LABELS, 10, 0.5)
    assert shown(levels["frame"]) == [
        ("v1_chunk_2F1", True, 0.75, "virus", "s1", 9),
        ("v1_chunk_2R3", True, 0.375, "others", "s1", 9),
        ("o1_chunk_1F2", False, 0.125, "others", "s2", 10),
    ]
    assert shown(levels["chunk"]) == [
        ("v1_chunk_1", True, None, "no open frame", "s1", 10),
        ("v1_chunk_2", True, 0.5625, "virus", "s1", 9),
        ("v2_chunk_1", True, None, "failed", "v2", 10),
        ("o1_chunk_1", False, 0.125, "others", "s2", 10),
        ("o2_chunk_1", False, None, "no open frame", "s2", 9),
    ]
    assert shown(levels["contig"]) == [
        ("v1", True, 0.5625, "Ambiguous", "s1", 17),
        ("v2", True, None, "failed", "v2", 10),
        ("o1", False, 0.125, "others", "s2", 10),
        ("o2", False, None, "no open frame", "s2", 9),
    ]
    assert levels["chunk"].groups[:2] == ["phage", "phage"]


def test_probabilities_are_taken_at_equal_classes(tmp_path):
    more = "ID call tier weighted_delta probability\nv1 Ambiguous review 0.125 0.1\no1 Non-viral review -0.75 0.01"
    levels = read_results(write_tables(tmp_path / "r", **{"contigs.tsv": more}), LABELS, 10, 0.1)
    # 1 in 9 where 1 in 10 is a virus: no evidence at all.
    assert levels["contig"].score_N[0] == pytest.approx(0.5)
    assert levels["contig"].score_N[2] == pytest.approx((0.01 / 0.1) / (0.01 / 0.1 + 0.99 / 0.9))


@pytest.mark.parametrize(
    "file, text, what",
    [
        ("contigs.tsv", "", "contigs.tsv has no row for v1"),
        ("prediction_results_highestscore.csv", "garbage", "highestscore.csv has no row for v1"),
        ("contigs.tsv", "ID call\nv1 Viral", "its tables are not as a run writes them"),
        ("contigs.tsv", "ID call weighted_delta\nv1 Maybe 0.1", "its tables are not as a run writes them"),
        ("prediction_results.txt", "Sequence_ID Prediction score2\nv1_chunk_9F1 virus 1", "not as a run writes them"),
        ("sequences.tsv", "Sequence_ID Length Fate\nv1 long scored", "its tables are not as a run writes them"),
    ],
)
def test_tables_that_are_none(tmp_path, file, text, what):
    with pytest.raises(BadInput, match=what):
        read_results(write_tables(tmp_path / "r", **{file: text}), LABELS, 10, 0.5)


def test_tables_that_are_not_there(tmp_path):
    (tmp_path / "r").mkdir()
    with pytest.raises(BadRequest, match=r"sequences\.tsv is not there\. Name the directory"):
        read_results(tmp_path / "r", LABELS, 10, 0.5)


@pytest.mark.parametrize(
    "files, what",
    [
        ({}, "holds no runs"),
        ({"a_run.json": "{}", "b_run.json": "{}"}, "holds 2 runs: name one of a_run.json, b_run.json"),
        ({"a_run.json": "no"}, "a_run.json is no manifest of a run"),
        ({"a_run.json": "{}"}, "a_run.json is no manifest of a run"),
        ({"a_run.json": '{"settings": {}, "status": "complete"}'}, "not finished, or of proteins"),
        ({"a_run.json": '{"settings": {"chunk_size": 500}, "status": "running"}'}, "not finished, or of proteins"),
    ],
)
def test_directories_without_a_finished_run(tmp_path, files, what):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(BadRequest, match=what):
        finished_run(tmp_path)


@pytest.fixture
def evaluated(main, models, contigs, tmp_path, capfd):  # noqa: F811
    """Evaluate contigs of known class: the first half of the records viral, two records a source."""
    records = list(read_records(str(contigs)))
    for name, some in (("viral", records[:20]), ("others", records[20:])):
        (tmp_path / f"{name}.fa").write_text("".join(f">{read.name}\n{read.sequence}\n" for read in some))
    rows = [f"{read.name}\ts{number // 2}" for number, read in enumerate(records)]
    (tmp_path / "sources.tsv").write_text("\n".join(["record\tsource", *rows]) + "\n")
    files = (tmp_path / "viral.fa", "--others", tmp_path / "others.fa", "--sources", tmp_path / "sources.tsv")

    def run(*more):
        options = ("--output-dir", tmp_path / "out", "--model", models / "calibrated.safetensors", "--no-progress")
        return main("evaluate", *files, *options, *more)

    return run, tmp_path


def test_files_and_a_run_with_labels_give_the_same(evaluated, main):
    run, folder = evaluated
    code, said = run()
    assert code == 0, said
    document = json.loads((folder / "out" / "evaluation_viral.json").read_text())
    assert "<script" not in (folder / "out" / "evaluation_viral.html").read_text()
    table = ["record\tclass\tsource"]
    for number, row in enumerate(rows_of(folder / "out" / "viral_merged" / "sequences.tsv")):
        table.append(f"{row['Sequence_ID']}\t{'virus' if number < 20 else 'others'}\ts{number // 2}")
    (folder / "labels.tsv").write_text("\n".join(table) + "\n")
    (folder / "again").mkdir()
    code, said = main("evaluate", folder / "out", "--labels", folder / "labels.tsv", "--output-dir", folder / "again")
    assert code == 0, said
    assert json.loads((folder / "again" / "evaluation_viral.json").read_text()) == document
    judged = document["levels"]["contig"]["metrics"]
    # By the run's own table.
    rows = rows_of(folder / "out" / "viral_merged" / "contigs.tsv")
    viral = {row["record"] for row in rows_of(folder / "labels.tsv") if row["class"] == "virus"}
    right = [(float(row["probability"]) >= 0.5) == (row["ID"] in viral) for row in rows]
    assert judged["accuracy"]["value"] == pytest.approx(np.mean(right))
    assert judged["scored"] == len(rows) and judged["sources"] == 20


def test_it_prints_the_figures(evaluated, program):
    run, folder = evaluated
    assert run("--baselines")[0] == 0
    document = json.loads((folder / "out" / "evaluation_viral.json").read_text())
    assert set(document["levels"]["chunk"]["baselines"]) >= {"GC content", "4-mers", "amino acids"}
    (folder / "labels.tsv").write_text("record\tclass\nc0\tvirus\nc1\tvirus\nc20\tothers\nc21\tothers\n")
    done = program("evaluate", folder / "out", "--labels", folder / "labels.tsv", "--prevalence", "0.1")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"virnucpro {virnucpro.__version__} evaluation of viral"
    assert "  classifier             calibrated.safetensors" in lines
    assert re.search(r"Contigs: what they are, and what was said\n +virus +others", done.stdout)
    assert lines[-1].startswith(
        "Where 50 % are viral, as here, figures look better than in a metagenome: with 10 % viral records"
    )


@pytest.mark.parametrize(
    "words, message",
    [
        (("a.fa",), "Give files of viruses and --others, or the directory of a finished run and --labels."),
        (("a.fa", "--others", "b.fa", "--labels", "l.tsv"), "Give files of viruses and --others, or the directory"),
        (("a.fa", "--others", "b.fa"), "With --others there is a run to be made. Give --output-dir."),
        (("a", "b", "--labels", "l.tsv"), "With --labels give one directory of a finished run"),
        (("a", "--labels", "l.tsv", "--baselines"), "With --labels give one directory of a finished run"),
        (("-", "--others", "b.fa", "--output-dir", "o"), "- is no regular file, and sequences are read several times"),
        (("a", "--labels", "l.tsv", "--prevalence", "nan"), "--prevalence must be above 0 and below 1, not nan"),
    ],
)
def test_requests_that_do_not_go_together(main, words, message):
    code, said = main("evaluate", *words)
    assert code == 2
    assert_one_message(said, message)


def test_labels_of_other_records(evaluated, main):
    run, folder = evaluated
    assert run()[0] == 0
    (folder / "labels.tsv").write_text("record\tclass\nnone\tvirus\n")
    code, said = main("evaluate", folder / "out", "--labels", folder / "labels.tsv")
    assert code == 1 and "none of 40 records of the run has a label" in said
    (folder / "labels.tsv").write_text("record\tclass\nc0\tvirus\nnone\tothers\n")
    code, said = main("evaluate", folder / "out", "--labels", folder / "labels.tsv")
    assert code == 0, said
    assert "39 of 40 records of the run have no label" in said and "1 of 2 labels are of records" in said
    assert "No record of the class 'others' is labelled" in said


def test_a_baseline_never_saw_the_source_that_it_scores(monkeypatch):
    from virnucpro.evaluation import held_out

    seen = []

    def spy(train, virus_N, test):
        seen.append(({dna[0] for dna in train}, {dna[0] for dna in test}))
        return np.full(len(test), 0.5)

    monkeypatch.setattr(held_out, "BASELINES", {"spy": spy})
    sources = [letter for letter in "ABCDEFGHIJKL" for _ in range(3)]
    virus_N = np.array([letter < "G" for letter in sources])
    scores = baseline_scores([f"{letter}{n}" for n, letter in enumerate(sources)], virus_N, sources)
    assert scores["spy"].tolist() == [0.5] * 36
    assert len(seen) == 5 and not any(train & test for train, test in seen)
    assert baseline_scores(["A"] * 8, np.arange(8) < 4, list("abcdefgh")) == {}


def test_of_many_chunks_whole_sources_are_drawn(monkeypatch):
    from virnucpro.evaluation import held_out

    monkeypatch.setattr(held_out, "MOST", 40)
    monkeypatch.setattr(held_out, "BASELINES", {"half": lambda train, virus_N, test: np.full(len(test), 0.5)})
    sources = [f"{n:02d}" for n in range(40) for _ in range(3)]
    scores = baseline_scores(["A"] * 120, np.arange(120) < 60, sources)["half"]
    drawn = np.isfinite(scores).reshape(40, 3)
    assert drawn.any(axis=1).tolist() == drawn.all(axis=1).tolist()
    assert drawn.sum() == 39


@pytest.mark.parametrize(
    "option", [("--model", "demo"), ("--precision", "fp16"), ("--set", "buffer_size=16"), ("--force",)]
)
def test_options_of_a_run_are_refused_where_there_is_one(evaluated, main, option):
    _, folder = evaluated
    (folder / "labels.tsv").write_text("record\tclass\nc0\tvirus\n")
    code, said = main("evaluate", folder / "out", "--labels", folder / "labels.tsv", *option)
    assert code == 2
    assert_one_message(
        said, f"{option[0]} is of a run that is to be made, and with --labels there is one. Leave it out."
    )
