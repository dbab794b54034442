"""virnucpro train: from labelled FASTA to a classifier, its files, and what `predict` makes of it."""

from __future__ import annotations

import csv
import json
import math
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import dropwhile, takewhile
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import ESM_8M, ROOT, assert_one_message, environment
from faulty import Fault
from runs import stop_after, wait_for
from short_training import SHORT
from sklearn.metrics import accuracy_score, average_precision_score, brier_score_loss, recall_score, roc_auc_score
from test_kill import processes_of

from virnucpro.evaluation.metrics import calibration_error
from virnucpro.evaluation.records_table import CLASSES
from virnucpro.models.calibration import Calibration
from virnucpro.models.classifier_card import read_card
from virnucpro.reading.chunks import Chunk, chunk_spans
from virnucpro.reading.frames import open_frames
from virnucpro.reading.reads import read_records
from virnucpro.training.document import thresholds
from virnucpro.training.recipes import RECIPES

CHUNK = 90  # bp
RECORDS = 90  # of each class
NOTE = "Codons of a test, and nothing else."
STATED = ("--licence", "MIT", "--note", NOTE)
TABLES = ("metrics.json", "model_card.md", "report.html", "scores.tsv", "split.tsv")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", autouse=True)
def short_recipes():
    with pytest.MonkeyPatch.context() as patch:
        for name, recipe in SHORT.items():
            patch.setitem(RECIPES, name, recipe)
        yield


@pytest.fixture
def undrawn(monkeypatch):
    """Reports without pictures, which take longest of a short training, where nobody looks at the report."""
    monkeypatch.setattr("virnucpro.reporting.curves.picture", lambda title, height, draw: "")


def write(path, name, codons, seed, records=RECORDS):
    """Records of one to three chunks, of codons that tell most apart; every tenth has no open frame."""
    rng = random.Random(seed)
    rows = []
    for number in range(records):
        length = rng.randrange(20, 90)
        sequence = "".join(rng.choices(codons, k=length))
        if number % 10 == 9:
            sequence = "TAATTAACTAG" * 6 + ("G" if name == "v" else "T")
        rows.append(f">{name}{number}\n{sequence + 'ACGT'[number % 4] * (number % 3)}{'C' * (number // 10)}\n")
    path.write_text("".join(rows))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write(folder / "viral.fa", "v", ["GCT", "AAA", "GTT", "AAC", "GAC", "ATG", "TTC", "AAG"], 1)
    write(folder / "others.fa", "o", ["GCC", "AAA", "GTT", "AAC", "GAC", "ATG", "TTC", "CCG"], 2)
    rows = [
        f"{kind}{number}\tsource {kind}{number // 2}\tgroup {number % 2}" for kind in "vo" for number in range(RECORDS)
    ]
    (folder / "sources.tsv").write_text("\n".join(["record\tsource\tgroup", *rows]) + "\n")
    return folder


def options(data, output, *more, features="kmer4", esm_model=ESM_8M):
    return (
        "train", data / "viral.fa", "--others", data / "others.fa", "-o", output, "--chunk-size", CHUNK, "--features",
        features, "--esm-model", esm_model, "--sources", data / "sources.tsv", "--no-progress",
        "--set", "buffer_size=16", "--set", "checkpoint_seq_threshold=1", "--validation", "0.7", *more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def server(weights, tmp_path_factory):
    """See `doomed`; what is said is in the file `said`."""
    said = tmp_path_factory.mktemp("server") / "said"
    with said.open("w") as file, subprocess.Popen(
        [sys.executable, Path(__file__).with_name("short_training.py")],
        env=environment(weights) | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True,
    ) as process:  # fmt: skip
        process.said = said
        yield process
        process.kill()


def apart(server, data, folder, *more, **kill):
    """The training of `trained` in a process of its own, which `kill` ends, see `doomed`: (exit status, its words)."""
    argv, before = options(data, folder / "model.safetensors", *STATED, *more), len(server.said.read_text())
    server.stdin.write(json.dumps({"argv": list(map(str, argv)), **kill}) + "\n")
    server.stdin.flush()
    told = json.loads(server.stdout.readline())
    wait_for(lambda: not processes_of(told["session"]))
    return told["code"], server.said.read_text()[before:]


@pytest.fixture(scope="module")
def trained(server, data, tmp_path_factory):
    """A folder with model.safetensors and what belongs to it."""
    folder = tmp_path_factory.mktemp("trained")
    code, said = apart(server, data, folder)
    assert code == 0, said
    return folder


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def files_of(folder, stem="model"):
    files = [folder / f"{stem}.safetensors", *(folder / f"{stem}_training" / name for name in TABLES)]
    return {path.name: path.read_bytes() for path in files}


def test_what_it_leaves(trained):
    names = {"model.safetensors", "model_run.json", "model_training", "telemetry_model.json"}
    assert {path.name for path in trained.iterdir()} == names
    assert {path.name for path in (trained / "model_training").iterdir()} == set(TABLES)
    card = read_card(trained / "model.safetensors")
    assert (card.features, card.chunk_size, card.widths) == (("kmer4",), CHUNK, {"kmer4": 136})
    document = card.document
    assert document["licence"] == "MIT" and card.note == NOTE and document["recipe"]["name"] == "default"
    assert [(each["name"], each["class"]) for each in document["inputs"]] == [
        ("viral.fa", "virus"),
        ("others.fa", "others"),
    ]
    assert document["split"]["seed"] == 0 and document["split"]["test"] == 0.25
    assert document["temperature"] > 0 and Calibration.of(document).slope > 0
    assert document["metrics"]["chunk"]["auroc"]["low"] <= document["metrics"]["chunk"]["auroc"]["value"]
    assert set(document["thresholds"]["false_positive_rates"]) == {"0.01", "0.05"}


def described(words):
    """The names in the first column of the first table after some words of docs/formats.md."""
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    lines = text[text.index(f"\n{words}") :].splitlines()
    _, _, *rows = takewhile(lambda line: line[:1] == "|", dropwhile(lambda line: line[:1] != "|", lines))
    return [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]


def test_its_files_are_as_the_documentation_describes_them(trained):
    for name in ("scores.tsv", "split.tsv"):
        header = (trained / "model_training" / name).read_text().partition("\n")[0]
        assert described(f"`{name}`: ") == header.split("\t")
    document = read_card(trained / "model.safetensors").document
    assert sorted(described("`NAME.safetensors`: ")) == sorted(document)
    metrics = json.loads((trained / "model_training" / "metrics.json").read_text())
    assert described("## An evaluation: ") == [*metrics]
    assert all(described("| entry of a level ") == [*level] for level in metrics["levels"].values())


def test_a_rate_that_so_few_others_cannot_show_has_no_threshold():
    scores = np.array([0.125, 0.25] * 10 + [0.75])
    assert thresholds(scores, scores > 0.5) == {"0.05": np.nextafter(0.25, 1)}  # of 20 others one may be called
    assert thresholds(scores[1:], scores[1:] > 0.5) == {}


def test_no_source_is_in_two_parts_and_every_record_in_one(trained, data):
    rows, parts = rows_of(trained / "model_training" / "split.tsv"), defaultdict(set)
    for row in rows:
        parts[row["Source"]].add(row["Part"])
    assert {len(each) for each in parts.values()} == {1}
    assert [row["Record"] for row in rows] == [f"{kind}{number}" for kind in "vo" for number in range(RECORDS)]
    assert {(row["Class"], row["Record"][0]) for row in rows} == {("virus", "v"), ("others", "o")}
    assert {row["Part"] for row in rows} == {"train", "validation", "test"}


def test_every_chunk_of_the_test_is_in_the_table(trained, data, main, tmp_path):
    """With a score that `predict` gives, too, or with a reason."""
    split = {row["Record"]: row["Part"] for row in rows_of(trained / "model_training" / "split.tsv")}
    rows = {row["Chunk_ID"]: row for row in rows_of(trained / "model_training" / "scores.tsv")}
    for kind in ("viral", "others"):
        out = tmp_path / kind
        model = ("--model", trained / "model.safetensors", "--set", "buffer_size=16", "--no-progress")
        code, said = main("predict", data / f"{kind}.fa", "--output-dir", out, *model)
        assert code == 0 and f"model.safetensors: {NOTE}" in said, said
        scored = rows_of(out / f"{kind}_merged" / "prediction_results_highestscore.csv")
        assert scored
        for row in scored:
            if split[row["Modified_ID"].rpartition("_chunk_")[0]] == "test":
                mine = rows.pop(row["Modified_ID"])
                assert mine["Class"] == ("virus" if kind == "viral" else "others") and not mine["Reason"]
                for name in ("max_score_0", "max_score_1"):
                    assert float(mine[name]) == pytest.approx(float(row[name]), abs=1e-6)
    assert rows and {row["Reason"] for row in rows.values()} == {"no open frame"}  # what is left
    assert {row["Score"] for row in rows.values()} == {""}


def units_of(rows, calibration):
    """What scores.tsv and the card's calibration say of frames, chunks and contigs: virus, source and score of each."""
    levels, evidence = {"frame": [], "chunk": []}, defaultdict(list)
    for row in rows:
        what = row["Class"] == "virus", row["Source"]
        levels["frame"] += [(*what, float(frame.partition(":")[2])) for frame in row["Frames"].split()]
        if row["Score"]:
            levels["chunk"].append((*what, float(row["Score"])))
            middle = (float(row["max_score_1"]) - float(row["max_score_0"]) + 1) / 2
            record = row["Chunk_ID"].rpartition("_chunk_")[0]
            evidence[(record, *what)].append(math.log(middle / (1 - middle)))
    levels["contig"] = []
    for (_, *what), of_chunks in evidence.items():
        length = min(len(of_chunks), calibration["longest"])
        factor = calibration["slope"] + calibration["growth"] * math.log2(length)
        log_odds = factor * sum(of_chunks) / len(of_chunks) + calibration["intercept"]
        levels["contig"].append((*what, 1 / (1 + math.exp(-log_odds))))
    return levels


@pytest.mark.parametrize("level", ["frame", "chunk", "contig"])
def test_every_figure_comes_out_of_the_table_again(trained, level):
    calibration = read_card(trained / "model.safetensors").document["calibration"]
    assert calibration["growth"] > 0 and calibration["longest"] == 2  # so a contig's length counts here, to an end
    rows = rows_of(trained / "model_training" / "scores.tsv")
    virus, sources, score = zip(*units_of(rows, calibration)[level], strict=True)
    told = json.loads((trained / "model_training" / "metrics.json").read_text())["levels"][level]["metrics"]
    assert (told["scored"], told["virus"], told["sources"]) == (len(virus), sum(virus), len({*sources}))
    virus_N, score_N = np.array(virus), np.array(score)
    called_N = score_N >= 0.5
    expected = {
        "accuracy": accuracy_score(virus_N, called_N),
        "auroc": roc_auc_score(virus_N, score_N),
        "auprc": average_precision_score(virus_N, score_N),
        "recall_virus": recall_score(virus_N, called_N),
        "recall_others": recall_score(~virus_N, ~called_N),
        "brier": brier_score_loss(virus_N, score_N),
        "ece": calibration_error(virus_N, score_N, np.ones(len(virus_N))),
    }
    assert {name: told[name]["value"] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert 0.9 < expected["auroc"] < 1  # codons that differ this much are told apart, though not without an error


def test_scores_are_probabilities_by_the_card(trained):
    calibrated = Calibration.of(read_card(trained / "model.safetensors").document)
    from virnucpro.output.verdicts import ChunkVerdict

    for row in rows_of(trained / "model_training" / "scores.tsv"):
        if row["Score"]:
            verdict = ChunkVerdict("", float(row["max_score_0"]), float(row["max_score_1"]))
            assert float(row["Score"]) == pytest.approx(calibrated.probability([verdict.score]), abs=1e-12)


def test_the_same_again_is_the_same_bytes_also_after_an_interruption(trained, main, data, tmp_path, monkeypatch):
    output = tmp_path / "model.safetensors"
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        code, said = main(*options(data, output, *STATED))
    assert code == 130 and not output.exists(), said
    kept = len(list((tmp_path / "model_windows").glob("*.safetensors")))
    assert kept >= 1
    code, said = main(*options(data, output, *STATED, "--resume"))
    assert code == 0 and "Resuming:" in said, said
    assert files_of(tmp_path) == files_of(trained)


def test_killed_it_goes_on_to_the_same_bytes(trained, server, data, tmp_path):
    """kill -9 before a file takes its name, and --resume in another process: with some windows kept, then with all of
    them, while the files of the training are written."""
    kept = []
    for number in (24, 60):
        folder = tmp_path / str(number)
        folder.mkdir()
        code, said = apart(server, data, folder, at=("replace", number))
        assert code == -signal.SIGKILL, said
        kept.append(len(json.loads((folder / "model_run.json").read_text())["checkpoints"]))
        code, said = apart(server, data, folder, "--resume")
        assert code == 0 and f"Resuming: {kept[-1]} windows are done." in said, said
        assert files_of(folder) == files_of(trained)
        assert {path.name for path in folder.rglob("*")} == {path.name for path in trained.rglob("*")}
    assert 1 < kept[0] < kept[1]


def test_where_sequences_fail_nothing_is_trained_until_they_are_tried_again(trained, main, data, tmp_path, monkeypatch):
    from virnucpro.engine.model_runner import ModelRunner

    output, plain = tmp_path / "model.safetensors", ModelRunner.queue
    fault = Fault("raise", poison=frozenset({(3, 0), (4, 1)}))

    def queue(self, packed):
        fault.strike(packed.blank.index, packed.blank.only)
        return plain(self, packed)

    with monkeypatch.context() as patch:
        patch.setattr(ModelRunner, "queue", queue)
        code, said = main(*options(data, output, *STATED))
    assert code == 3 and said.count("Left out one sequence") == 2, said
    (line,) = [line for line in said.splitlines() if "Partial" in line]
    assert "ERROR Partial features: 2 sequences failed, so nothing was trained. Repeat with --resume." in line
    assert not output.exists() and not (tmp_path / "model_training").exists()
    windows = json.loads((tmp_path / "model_run.json").read_text())["checkpoints"]
    code, said = main(*options(data, output, *STATED, "--resume"))
    assert code == 0 and f"Resuming: {len(windows) - 2} windows are done." in said, said
    assert files_of(tmp_path) == files_of(trained)


def test_killed_while_it_trains_it_goes_on_to_the_same_bytes(trained, main, data, tmp_path, monkeypatch):
    import virnucpro.pipeline.training_files as training_files

    output = tmp_path / "model.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(training_files, "model_card", lambda *_: 1 / 0)  # when some files are written
        with pytest.raises(ZeroDivisionError):
            main(*options(data, output, *STATED))
    assert (tmp_path / "model_training" / "scores.tsv").exists() and not output.exists()
    code, said = main(*options(data, output, *STATED, "--resume"))
    assert code == 0, said
    assert files_of(tmp_path) == files_of(trained)


@pytest.mark.usefixtures("undrawn")
def test_features_serve_another_fit(main, data, tmp_path, monkeypatch):
    """As long as a training is not complete, what does not decide about features may change."""
    output = tmp_path / "model.safetensors"
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        assert main(*options(data, output))[0] == 130
    code, said = main(*options(data, output, "--seed", 1, "--resume"))
    assert code == 0 and "Resuming:" in said, said
    assert read_card(output).document["split"]["seed"] == 1
    code, said = main(*options(data, output, "--seed", 2, "--resume"))
    assert code == 2 and "other training: seed (1 then, 2 now)" in said


def test_other_labels_or_missing_files_are_no_complete_training(trained, main, data, tmp_path):
    own = shutil.copytree(trained, tmp_path / "own")
    asked = (*STATED, "--resume")
    rows = (data / "sources.tsv").read_text().replace("v0\tsource v0", "v0\tsource v1")
    (tmp_path / "sources.tsv").write_text(rows)
    code, said = main(*options(data, own / "model.safetensors"), "--sources", tmp_path / "sources.tsv", *asked)
    assert code == 2 and "other training: labels" in said
    (own / "model_training" / "scores.tsv").unlink()
    code, said = main(*options(data, own / "model.safetensors", *asked))
    assert code == 0 and "Nothing to do" not in said
    assert files_of(own) == files_of(trained)


def test_trainings_and_runs_do_not_replace_each_other(trained, main, data, tmp_path):
    own = shutil.copytree(trained, tmp_path / "own")
    fasta = shutil.copy(data / "viral.fa", tmp_path / "model.fa")
    model = ("--model", trained / "model.safetensors", "--no-progress")
    code, said = main("predict", fasta, "--output-dir", own, *model, "--force")
    assert code == 2 and "model_run.json is of a training" in said
    assert main("predict", fasta, "--output-dir", tmp_path / "run", *model)[0] == 0
    (tmp_path / "run" / "model.safetensors").write_text("mine")
    code, said = main(*options(data, tmp_path / "run" / "model.safetensors", "--force"))
    assert code == 2 and "model_run.json is of a run of predict" in said
    assert (tmp_path / "run" / "model.safetensors").read_text() == "mine"
    assert files_of(own) == files_of(trained)


def test_a_training_that_is_begun_over_leaves_no_old_classifier(trained, main, data, tmp_path, monkeypatch):
    import virnucpro.pipeline.training_files as training_files

    own = shutil.copytree(trained, tmp_path / "own")
    monkeypatch.setattr(training_files, "model_card", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(*options(data, own / "model.safetensors", "--force"))
    assert not (own / "model.safetensors").exists()


@pytest.mark.usefixtures("undrawn")
def test_another_seed_has_the_same_test(trained, main, data, tmp_path):
    code, said = main(*options(data, tmp_path / "model.safetensors", "--seed", 1))
    assert code == 0, said
    tests = [
        {row["Record"] for row in rows_of(folder / "model_training" / "split.tsv") if row["Part"] == "test"}
        for folder in (trained, tmp_path)
    ]
    assert tests[0] == tests[1]
    assert (tmp_path / "model.safetensors").read_bytes() != (trained / "model.safetensors").read_bytes()


@pytest.mark.usefixtures("undrawn")
def test_a_complete_training_is_left_as_it_is(trained, main, data, tmp_path):
    own = shutil.copytree(trained, tmp_path / "own")
    output = own / "model.safetensors"
    code, said = main(*options(data, output, "--licence", "MIT"))
    assert code == 2 and "Add --resume to go on with it, --force to start it over" in said
    code, said = main(*options(data, output, *STATED, "--resume"))
    assert code == 0 and "Nothing to do: the training of" in said
    code, said = main(*options(data, output, "--licence", "GPL", "--note", NOTE, "--resume"))
    assert code == 2 and "holds a run with other training: licence" in said
    assert files_of(own) == files_of(trained)
    code, said = main(*options(data, output, "--licence", "GPL", "--force"))
    assert code == 0 and read_card(output).document["licence"] == "GPL"


@pytest.mark.usefixtures("undrawn")
def test_with_language_models(main, data, tmp_path):
    """The weights are synthetic, and the classifier says so."""
    few = tmp_path / "data"
    few.mkdir()
    for name in ("viral", "others"):
        records = (data / f"{name}.fa").read_text().split(">")[1:13]
        (few / f"{name}.fa").write_text("".join(f">{record}" for record in records))
    parts = ["train"] * 8 + ["validation"] * 2 + ["test"] * 2
    rows = [f"{kind}{number}\t{kind}{number}\t{part}" for kind in "vo" for number, part in enumerate(parts)]
    (few / "sources.tsv").write_text("\n".join(["record\tsource\tpart", *rows]) + "\n")
    output = tmp_path / "model.safetensors"
    code, said = main(*options(few, output, "--save-embeddings", features="esm2+kmer4"))
    assert code == 0, said
    with h5py.File(tmp_path / "model_training" / "embeddings.h5") as file:
        frames = file["ids"].asstr()[:].tolist()
        assert file["kmer4"].shape == (len(frames), 136) and file["embeddings"].shape == (len(frames), 320)
    tested = [row for row in rows_of(tmp_path / "model_training" / "scores.tsv") if row["Frames"]]
    named = {f"{row['Chunk_ID']}{each.split(':')[0]}" for row in tested for each in row["Frames"].split()}
    assert named < set(frames)
    card = read_card(output)
    assert card.features == ("kmer4", "esm2") and card.widths == {"kmer4": 136, "esm2": 320}
    assert card.esm_model == ESM_8M and len(card.sha256["esm2"]) == 64 and card.synthetic
    assert (
        "**The weights of its language models are random" in (tmp_path / "model_training" / "model_card.md").read_text()
    )
    code, said = main("predict", few / "viral.fa", "--output-dir", tmp_path / "out", "--model", output, "--no-progress")
    assert code == 0 and "These weights are synthetic" in said, said


@pytest.mark.usefixtures("undrawn")
def test_coding_frames(main, data, tmp_path):
    """Records are read from their first base, in every chunk; what is validated by is all that is open."""
    coding = ("--frames", "coding", "--recipe", "published", "--validation", "0.2")
    code, said = main(*options(data, tmp_path / "model.safetensors", *coding))
    assert code == 0, said
    parts = {row["Record"]: row["Part"] for row in rows_of(tmp_path / "model_training" / "split.tsv")}
    opened, own = Counter(), Counter()  # frames by part, and those of the record's own reading frame
    for kind in ("viral", "others"):
        for read in read_records(str(data / f"{kind}.fa")):
            for start, end in chunk_spans(len(read.sequence), CHUNK):
                opened[parts[read.name]] += len(list(open_frames(Chunk("", read.sequence[start:end]))))
                first = start + -start % 3
                codons = [read.sequence[place : place + 3] for place in range(first, end - 2, 3)]
                own[parts[read.name]] += not {"TAA", "TAG", "TGA"} & {*codons}
    document = read_card(tmp_path / "model.safetensors").document
    assert document["frames_used"] == {"train": own["train"], "validation": opened["validation"]}
    assert own["train"] < opened["train"]
    assert document["frames"] == "coding" and document["recipe"]["name"] == "published"


@pytest.mark.parametrize(
    "change, code, message",
    [
        (("--features", "kmer9"), 2, "features kmer9: 'kmer9' is unknown"),
        (("--test", "1.5"), 2, "--test is 1.5, and must be above 0 and below 1"),
        (("-o", "model.pth"), 2, "--output model.pth: the name of a classifier ends in .safetensors"),
        (("--sources", "nowhere.tsv"), 2, "--sources nowhere.tsv: cannot be read (No such file or directory)"),
    ],
)
def test_requests_that_cannot_be_met(main, data, tmp_path, change, code, message):
    actual, said = main(*options(data, tmp_path / "model.safetensors"), *change)
    assert actual == code
    assert_one_message(said, message)


def test_what_is_refused_of_the_data(main, data, tmp_path):
    def refused(viral, others, sources=None):
        own = tmp_path / str(len(list(tmp_path.iterdir())))
        own.mkdir()
        for name, text in (("viral.fa", viral), ("others.fa", others), ("sources.tsv", sources)):
            if text is None:
                shutil.copy(data / name, own)
            else:
                (own / name).write_text(text)
        code, said = main(*options(own, own / "model.safetensors"))
        assert not (own / "model.safetensors").exists()
        return code, said

    code, said = refused(None, (data / "viral.fa").read_text().replace(">v", ">o"))
    assert code == 1 and "records 'v0' and 'o0' are the same sequence" in said
    code, said = refused(None, (data / "viral.fa").read_text().replace(">v", ">o").replace("T", "U"))
    assert code == 1 and "records 'v0' and 'o0' are the same sequence" in said
    code, said = refused("", None)
    assert code == 1 and "no record is given for the class 'virus'" in said
    code, said = refused(">p\nMKWLLPFFEE\n", ">q\nMKWLLPQQEE\n")
    assert code == 2 and "The sequences are protein, and a classifier is trained on DNA" in said
    few = "".join(f">{{0}}{number}\n{'GCT' * 10}{'A' * number}\n" for number in range(9))
    table = "record\tsource\tpart\n" + "".join(
        f"{kind}{number}\t{kind}{number}\t{('train', 'validation', 'test')[number % 3]}\n"
        for kind in "vo"
        for number in range(9)
    )
    code, said = refused(few.format("v"), few.replace("GCT", "GCC").format("o"), table)
    assert code == 1 and "frames are there to train with, and 100 are needed" in said
    code, said = refused(None, None, "record\tsource\nv0\ts\n")
    assert code == 1 and "record 'v1' is not in the table of --sources" in said


def test_a_file_that_nobody_trained_is_left_alone(main, data, tmp_path):
    output = tmp_path / "model.safetensors"
    output.write_text("mine")
    code, said = main(*options(data, output))
    assert code == 2 and "exists, and no training here has written it" in said
    assert output.read_text() == "mine"


@pytest.mark.usefixtures("undrawn")
def test_several_files_of_others(main, data, tmp_path):
    """After one --others, as a shell's pattern gives them, or after one each."""
    records = (data / "others.fa").read_text().split(">")[1:]
    for number, some in enumerate((records[:50], records[50:])):
        (tmp_path / f"o{number}.fa").write_text("".join(f">{record}" for record in some))
    written = []
    for number, files in enumerate(
        (
            ["--others", tmp_path / "o0.fa", tmp_path / "o1.fa"],
            [f"--others={tmp_path / 'o0.fa'}", tmp_path / "o1.fa"],
        )
    ):
        output = tmp_path / f"{number}" / "model.safetensors"
        output.parent.mkdir()
        first, viral, _, _, *rest = options(data, output)
        code, said = main(first, viral, *files, *rest)
        assert code == 0, said
        written.append(output.read_bytes())
    assert written[0] == written[1]


def test_viruses_after_the_others_are_refused(main, data, tmp_path):
    first, viral, *rest = options(data, tmp_path / "model.safetensors")
    code, said = main(first, *rest, viral)
    assert code == 2 and "viral.fa is among the viruses, and comes after --others" in said


def test_classes_are_in_the_order_of_the_scores():
    assert CLASSES == ("others", "virus")
