"""The demo model: it comes with the program, needs nothing else, and says what it says of real sequences."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA, ROOT
from test_train import rows_of

from virnucpro.config.settings import Settings
from virnucpro.models.classifier import load_classifier
from virnucpro.models.classifier_card import read_card
from virnucpro.models.locate import DEMO_CLASSIFIER, DEMO_FOLDER, PACKAGED

# Of seven viruses, and of eight pieces of bacteria, archaea and fungi: none is wrong, two are undecided.
CALLS = {
    "NC_001477.1": "Viral",
    "NC_001474.2": "Viral",
    "NC_001475.2": "Viral",
    "MG601754.1": "Viral",
    "OZ211306.1": "Viral",
    "NC_045512.2": "Viral",
    "AY632535.2": "Viral",
    "bacteria_AE015924.1_1230000_1245000": "Non-viral",
    "bacteria_AE015924.1_570000_585000": "Non-viral",
    "bacteria_AE015924.1_1515000_1530000": "Non-viral",
    "bacteria_AE015924.1_180000_195000": "Non-viral",
    "archea_HG425166.1_270000_285000": "Ambiguous",
    "archea_HG425166.1_360000_375000": "Non-viral",
    "eukarya_NW_012133358.1_0_15000": "Ambiguous",
    "eukarya_NW_012133457.1_0_15000": "Non-viral",
}
REAL = DATA / "real_mixed.fa"
ENCODER = PACKAGED["virnucpro_t6_8M"]


def test_its_files_are_small_and_free():
    card = read_card(DEMO_CLASSIFIER)
    assert DEMO_CLASSIFIER.stat().st_size < 1_000_000
    assert sum(path.stat().st_size for path in ENCODER.iterdir()) < 16_000_000
    assert card.document["licence"] == "MIT" and card.note.startswith("a small model to try the program with")
    notice = (DEMO_FOLDER / "README.md").read_text(encoding="utf-8")
    assert "Duy Tin Truong, Nicola Segata and Curtis Huttenhower" in notice and "MIT" in notice


def test_the_classifier_is_of_the_encoder_that_comes_with_it():
    card = read_card(DEMO_CLASSIFIER)
    assert card.features == ("kmer4", "esm2") and card.chunk_size == 500 and card.esm_model == "virnucpro_t6_8M"
    assert card.sha256 == {"esm2": hashlib.sha256((ENCODER / "model.safetensors").read_bytes()).hexdigest()}
    assert load_classifier(DEMO_CLASSIFIER).features == 136 + 320
    assert card.calibration is not None and not card.synthetic


def test_its_sources_were_never_trained_on():
    split = read_card(DEMO_CLASSIFIER).document["split"]
    assert (split["test"], split["records"]["test"]["virus"]["records"]) == (0.25, 1500)


def test_the_name_stands_for_the_file(tmp_path):
    asked = Settings(("x.fa",), tmp_path, model=Path("demo"))
    assert (asked.model_type, asked.model_path, asked.chunk_size) == ("custom", DEMO_CLASSIFIER, None)


@pytest.fixture(scope="module")
def run(program, tmp_path_factory):
    """The README's first command, with a weights directory that has nothing to do with it."""
    out = tmp_path_factory.mktemp("demo") / "out"
    done = program("predict", REAL, "--model", "demo", "--output-dir", out, "--prevalence", "0.5")
    assert done.returncode == 0, done.stderr
    return done, out


def test_verdicts_on_real_sequences(run):
    done, out = run
    assert "demo.safetensors: a small model to try the program with" in done.stderr and "synthetic" not in done.stderr
    calls = {row["ID"]: row["call"] for row in rows_of(out / "real_mixed_merged" / "contigs.tsv")}
    assert calls == CALLS


def test_nothing_but_results_is_left(run):
    _, out = run
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*")) == [
        "real_mixed_merged",
        "real_mixed_merged/contigs.tsv",
        "real_mixed_merged/prediction_results.txt",
        "real_mixed_merged/prediction_results_highestscore.csv",
        "real_mixed_merged/sequences.tsv",
        "real_mixed_run.json",
        "telemetry_real_mixed.json",
    ]
    telemetry = json.loads((out / "telemetry_real_mixed.json").read_text())
    about, frames = telemetry["run_metadata"], telemetry["summary"]["sequences"]
    assert about["settings"]["attention"] == "sdpa" and about["backends"]["device"] == "CPU"
    assert list(about["stage_seconds"]) == [
        "reading the input", "loading the models", "computing", "writing the results",
    ]  # fmt: skip
    assert sum(batch["sequences"] for batch in telemetry["per_batch_metrics"]) == frames == 275


def test_every_record_is_there(run):
    merged = run[1] / "real_mixed_merged"
    fates = rows_of(merged / "sequences.tsv")
    assert [row["Sequence_ID"] for row in fates] == list(CALLS)
    assert {row["Fate"] for row in fates} == {"scored"}
    assert sum(int(row["Frames"]) for row in fates) == len(rows_of(merged / "prediction_results.txt"))
    # 11-kb genomes of single-stranded RNA viruses are one long reading frame: nearly every chunk is open
    assert (fates[0]["Length"], fates[0]["Chunks"]) == ("10735", "22") and int(fates[0]["Frames"]) >= 20


def test_what_a_run_records_of_it(run):
    _, out = run
    manifest = json.loads((out / "real_mixed_run.json").read_text())
    assert set(manifest["weights"]) == {
        "demo.safetensors", "virnucpro_t6_8M/config.json", "virnucpro_t6_8M/model.safetensors",
    }  # fmt: skip
    assert manifest["settings"]["esm_model"] == "virnucpro_t6_8M" and manifest["synthetic_weights"] is False


def test_weights_and_doctor_know_it(main, tmp_path):
    code, said = main("weights", "fetch", "demo", "--weights-dir", tmp_path / "w")
    assert code == 0 and "demo comes with the program" in said and not (tmp_path / "w").exists()
    code, _ = main("doctor", "--quick", "--model", "demo", "--weights-dir", tmp_path)
    assert code == 0


@pytest.mark.gpu
@pytest.mark.parametrize("precision, agreement", [("fp16", 0.99), ("int8", 0.97)])
def test_on_a_gpu_its_labels_are_those_of_float32(run, tmp_path, precision, agreement):
    from virnucpro.api import predict

    summary = predict(REAL, tmp_path / "out", model="demo", precision=precision)
    ours, theirs = (
        {row["Modified_ID"]: row["Is_Virus"] for row in rows_of(folder / "prediction_results_highestscore.csv")}
        for folder in (summary.results, run[1] / "real_mixed_merged")
    )
    assert ours.keys() == theirs.keys()
    assert np.mean([ours[name] == theirs[name] for name in ours]) >= agreement


def test_the_documents_tell_the_same():
    """Each contig's call, as the quick start shows the table."""
    text = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^    (\S+) +(Viral|Non-viral|Ambiguous) ", text, re.MULTILINE))
    assert shown == CALLS
