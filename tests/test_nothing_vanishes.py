"""Nothing vanishes: every record has a fate, all counts add up, and the manifest says what was done."""

import csv
import gzip
import hashlib
import importlib.metadata
import json
import os
import re

import numpy as np
import pytest
import torch
from conftest import DATA, ESM_8M
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.synthetic_weights import classifier
from virnucpro.engine.results import WindowResult, finish
from virnucpro.output.tables import write_fates, write_verdicts
from virnucpro.output.viral_fasta import write_viral
from virnucpro.reading.chunks import chunk_spans
from virnucpro.reading.reads import Read
from virnucpro.reading.window_sequences import sequences_of
from virnucpro.reading.windows import windows

CHUNK = 9
reads = st.lists(st.text("ACGTN", max_size=60), max_size=8).map(
    lambda texts: [Read(f"r{number}", text) for number, text in enumerate(texts)]
)
scores = st.sampled_from([(0.0, 1.0), (0.5, 0.5), (1.0, 0.0), (0.45, 0.55), (0.25, 0.75)])


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@settings(deadline=None)
@given(reads, st.integers(1, 5), st.data())
def test_counts_add_up(tmp_path_factory, given_reads, buffer_size, data):
    """Whatever the reads, the cuts into windows, the scores and the failures."""
    folder = tmp_path_factory.mktemp("tables")
    finished = []
    for window in windows(given_reads, "nucleotide", CHUNK, buffer_size, 100):
        found = sequences_of(window, "nucleotide")
        count = len(found.proteins)
        outcome = WindowResult(window.index, None, found.open_C, count)
        drawn = data.draw(st.lists(scores, min_size=count, max_size=count))
        outcome.scores_S2 = np.array(drawn, np.float32).reshape(-1, 2)
        failing = data.draw(st.sets(st.integers(0, count - 1), max_size=2)) if count else set()
        outcome.failures = dict.fromkeys(failing, "planted")
        finished.append(finish(window, [outcome]))
    failures = {}
    counts = write_verdicts(folder, finished, failures)
    fates = write_fates(folder, finished, "nucleotide", failures)

    records = rows(folder / "sequences.tsv")
    assert [row["Sequence_ID"] for row in records] == [read.name for read in given_reads]
    assert sum(fates.values()) == len(given_reads)
    assert [int(row["Chunks"]) for row in records] == [
        len(chunk_spans(len(read.sequence), CHUNK)) for read in given_reads
    ]
    failed = sum(len(window.failures) for window in finished)
    frames = rows(folder / "prediction_results.txt")
    assert sum(int(row["Frames"]) for row in records) == len(frames) + failed
    assert counts.frames == len(frames)
    chunks = rows(folder / "prediction_results_highestscore.csv")
    assert counts.chunks == len(chunks)
    assert counts.viral_chunks == sum(row["Is_Virus"] == "True" for row in chunks)
    contigs = rows(folder / "contigs.tsv")
    assert counts.contigs == len(contigs) == sum(counts.calls.values()) == fates.get("scored", 0)
    assert {row["ID"] for row in contigs} == {
        row["Sequence_ID"] for row in records if row["Fate"] == "scored"
    }  # and every other fate says why there is no call
    assert {row["Fate"].split(":")[0] for row in records} <= {"scored", "no open frame", "empty", "failed"}

    viral = [row["ID"] for row in contigs if row["call"] == "Viral"]
    assert write_viral(folder / "viral.fa", given_reads, folder) == len(viral)
    text = (folder / "viral.fa").read_text()
    assert re.findall(r"^>(\S+)", text, re.MULTILINE) == viral
    assert re.sub(r">.*\n|\n", "", text) == "".join(read.sequence for read in given_reads if read.name in viral)


def test_the_file_of_viral_records(tmp_path):
    (tmp_path / "contigs.tsv").write_text(
        "ID\tcall\ttier\tweighted_delta\n"
        'a|"1\tViral\thigh_confidence\t0.912\n'
        "b\tNon-viral\treview\t-0.4\n"
        "d\tViral\tlow_confidence\t0.5\n"
    )
    given_reads = [Read('a|"1', "ACGT" * 16), Read("b", "AC"), Read("c", "TAA"), Read("d", "acgN")]
    for name, opened in (("v.fa", open), ("v.fa.gz", gzip.open)):
        assert write_viral(tmp_path / name, given_reads, tmp_path) == 2
        with opened(tmp_path / name, "rt") as file:
            assert file.read() == (
                f'>a|"1 tier=high_confidence weighted_delta=0.912\n{"ACGT" * 15}\nACGT\n'
                ">d tier=low_confidence weighted_delta=0.5\nacgN\n"
            )


@pytest.fixture(scope="module")
def all_viral(weights, tmp_path_factory):
    """Weights whose classifier calls everything viral."""
    directory = tmp_path_factory.mktemp("viral")
    for name in (f"{ESM_8M}.pt", "DNABERT-S"):
        (directory / name).symlink_to(weights / name)
    model = classifier(344)
    model.output_layer.weight.data.zero_()
    model.output_layer.bias.data = torch.tensor([-3.0, 3.0])
    torch.save(model.state_dict(), directory / "500_model.pth")
    return directory


def test_write_viral_and_the_manifest(program, all_viral, tmp_path):
    run = ("predict", DATA / "small.fa", "--output-dir", tmp_path / "out", "--esm-model", ESM_8M)
    viral = ("--weights-dir", all_viral, "--write-viral", tmp_path / "viral.fa")
    done = program(*run, *viral)
    assert done.returncode == 0, done.stderr
    contigs = rows(tmp_path / "out" / "small_merged" / "contigs.tsv")
    assert contigs and {row["call"] for row in contigs} == {"Viral"}
    assert f"Contigs: {len(contigs)} Viral." in done.stderr
    text = (tmp_path / "viral.fa").read_text()
    assert re.findall(r"^>(\S+)", text, re.MULTILINE) == [row["ID"] for row in contigs]

    manifest = json.loads((tmp_path / "out" / "small_run.json").read_text())
    assert manifest["counts"]["records"] == sum(manifest["fates"].values()) == 6
    assert manifest["counts"]["calls"] == {"Viral": len(contigs)}
    assert manifest["input"]["files"] == {str(DATA / "small.fa"): sha256(DATA / "small.fa")}
    assert (
        manifest["weights"]["500_model.pth"] == hashlib.sha256((all_viral / "500_model.pth").read_bytes()).hexdigest()
    )
    (session,) = manifest["sessions"]
    assert session["command"].startswith(f"virnucpro predict {DATA / 'small.fa'} --output-dir ")
    assert session["started"] <= session["finished"] and session["started"].endswith("+00:00")
    assert list(session["stage_seconds"])[-1] == "writing the results"
    assert session["packages"]["torch"] == importlib.metadata.version("torch")

    # it exists; a complete run that is resumed writes it again
    done = program(*run[:3], tmp_path / "other", *run[4:], *viral)
    assert done.returncode == 2 and "viral.fa exists, and no run in this output directory has written it" in done.stderr
    (tmp_path / "viral.fa").write_text("")
    done = program(*run, *viral, "--resume")
    assert done.returncode == 0 and "Nothing to do" in done.stderr, done.stderr
    assert (tmp_path / "viral.fa").read_text() == text

    table = tmp_path / "out" / "small_merged" / "contigs.tsv"
    table.write_text(table.read_text().replace(f"\n{contigs[0]['ID']}\t", "\nother\t"))
    done = program(*run, *viral, "--resume")
    assert done.returncode == 2 and "contigs.tsv is not as the run wrote it: no record 'other'" in done.stderr
    assert (tmp_path / "viral.fa").read_text() == text


def test_a_resumed_run_keeps_its_sessions(program, weights, reads, killed, tmp_path):
    import shutil

    from runs import options

    out = shutil.copytree(killed, tmp_path / "out")
    before = json.loads((out / "reads_run.json").read_text())["sessions"]
    assert len(before) == 1 and "finished" not in before[0]
    assert program("predict", reads, *options(out), "--resume").returncode == 0
    first, second = json.loads((out / "reads_run.json").read_text())["sessions"]
    assert first == before[0] and second["command"].endswith("--resume") and "finished" in second


@pytest.mark.parametrize(
    "name, message",
    [
        ("in.fa", "in.fa is the input itself"),
        ("none/v.fa", "none is not a directory. Make it first"),
        (".", "is not a regular file. Name one"),
        ("pipe", "is not a regular file. Name one"),
        ("keep.pth", "keep.pth exists, and no run in this output directory has written it"),
        ("out/in_merged/contigs.tsv", "is a place where the run writes its own files"),
        ("out/in_windows/v.fa", "is a place where the run writes its own files"),
        ("out/in_run.json", "is a place where the run writes its own files"),
        ("out/in_chunked500.fa", "is a place where the run writes its own files"),
        ("v" * 256, "allows 255. Name another file for --write-viral."),
    ],
)
def test_where_viral_records_cannot_go(main, tmp_path, name, message):
    (tmp_path / "in.fa").write_text(">a\nATG\n")
    (tmp_path / "keep.pth").write_text("weights")
    os.mkfifo(tmp_path / "pipe")
    run = ("predict", tmp_path / "in.fa", "--output-dir", tmp_path / "out", "--esm-model", ESM_8M, "--force")
    code, said = main(*run, "--write-viral", tmp_path / name)
    assert code == 2 and message in said
    assert (tmp_path / "in.fa").read_text() == ">a\nATG\n" and not (tmp_path / "out").exists()
    assert (tmp_path / "keep.pth").read_text() == "weights"


def test_viral_records_may_lie_in_the_output_directory(main, all_viral, tmp_path):
    run = ("predict", DATA / "small.fa", "--output-dir", tmp_path / "out", "--esm-model", ESM_8M)
    code, said = main(*run, "--weights-dir", all_viral, "--write-viral", tmp_path / "out" / "viral.fa")
    assert code == 0, said
    assert (tmp_path / "out" / "viral.fa").read_text().startswith(">")


def test_standard_input_is_not_written_over(program, tmp_path):
    path = tmp_path / "in.fa"
    path.write_text(">a\nATG\n")
    with open(path) as stdin:
        done = program("predict", "-", "--output-dir", tmp_path / "out", "--write-viral", path, stdin=stdin)
    assert done.returncode == 2 and "is the input itself" in done.stderr
    assert path.read_text() == ">a\nATG\n"


def test_proteins_cannot_be_viral(main, tmp_path):
    (tmp_path / "in.faa").write_text(">a\nMKVLAAGIVGLCAKAYEQ\n")
    run = ("predict", tmp_path / "in.faa", "--output-dir", tmp_path / "out", "--esm-model", ESM_8M)
    code, said = main(*run, "--write-viral", tmp_path / "v.fa")
    assert code == 2 and "--write-viral needs verdicts" in said
    assert not (tmp_path / "out").exists()
