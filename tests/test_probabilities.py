"""What `predict` adds where a classifier carries a calibration: probabilities, and expected false discovery rates."""

from __future__ import annotations

import math
from itertools import groupby

import numpy as np
import pytest
import safetensors.torch
from conftest import assert_one_message
from test_train import CHUNK, rows_of, write

from benchmarks import synthetic_weights
from virnucpro.models.calibration import Calibration
from virnucpro.models.classifier_card import ClassifierCard, metadata_of
from virnucpro.output.verdicts import ChunkVerdict
from virnucpro.reading.reads import read_records

CALIBRATION = {"slope": 1.0, "growth": 0.5, "intercept": 3.0, "longest": 2}
LIMIT = 0.65  # some contigs are within this false discovery rate, and some are not
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def contigs(tmp_path_factory):
    return write(tmp_path_factory.mktemp("contigs") / "contigs.fa", "c", ["GCT", "AAA", "GTG", "CTG", "GGC"], 5, 40)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A classifier of 4-mers with a calibration, and the same without."""
    folder, card = tmp_path_factory.mktemp("models"), ClassifierCard(("kmer4",), CHUNK, None, {"kmer4": 136})
    state = synthetic_weights.classifier(136, 0).state_dict()
    state["output_layer.weight"] *= 30  # verdicts of both kinds
    for name, document in (("calibrated", {"calibration": CALIBRATION}), ("plain", {})):
        (folder / f"{name}.safetensors").write_bytes(safetensors.torch.save(state, metadata_of(card, document)))
    return folder


@pytest.fixture
def predicted(main, models, contigs, tmp_path):
    """Run it; returns exit code, what was said, and the results folder."""

    def run(name, *more):
        options = ("--output-dir", tmp_path / name, "--model", models / f"{name}.safetensors", "--no-progress")
        code, said = main("predict", contigs, *options, *more)
        return code, said, tmp_path / name / "contigs_merged"

    return run


def chunks_of(results):
    rows = rows_of(results / "prediction_results_highestscore.csv")
    return {
        name: [ChunkVerdict("", float(row["max_score_0"]), float(row["max_score_1"])) for row in group]
        for name, group in groupby(rows, key=lambda row: row["Modified_ID"].rpartition("_chunk_")[0])
    }


def test_without_a_calibration_the_columns_are_absent(predicted):
    code, said, results = predicted("plain")
    assert code == 0, said
    assert list(rows_of(results / "prediction_results_highestscore.csv")[0]) == [
        "Modified_ID", "Is_Virus", "max_score_0", "max_score_1",
    ]  # fmt: skip
    assert list(rows_of(results / "contigs.tsv")[0])[-1] == "nonviral_proportion"


@pytest.mark.parametrize("prevalence", [None, 0.1])
def test_probabilities(predicted, prevalence):
    code, said, results = predicted("calibrated", *(() if prevalence is None else ("--prevalence", prevalence)))
    assert code == 0, said
    calibrated, verdicts = Calibration.of({"calibration": CALIBRATION}), chunks_of(results)
    shift = math.log((prevalence or 0.5) / (1 - (prevalence or 0.5)))
    for row in rows_of(results / "prediction_results_highestscore.csv"):
        virus, others = float(row["max_score_1"]), float(row["max_score_0"])
        score = min(max((virus - others + 1) / 2, 1e-6), 1 - 1e-6)
        log_odds = math.log(score / (1 - score)) + 3 + shift
        assert float(row["probability"]) == pytest.approx(1 / (1 + math.exp(-log_odds)))
    rows = rows_of(results / "contigs.tsv")
    assert [row["ID"] for row in rows] == list(verdicts)
    for row in rows:
        expected = calibrated.probability([each.score for each in verdicts[row["ID"]]], prevalence or 0.5)
        assert float(row["probability"]) == pytest.approx(expected)
    assert ("fdr" in rows[0]) == (prevalence is not None)


def test_false_discovery_rates_and_what_is_within(predicted, contigs, tmp_path):
    viral = tmp_path / "viral.fa"
    options = ("--prevalence", 0.3, "--max-fdr", LIMIT, "--write-viral", viral)
    code, said, results = predicted("calibrated", *options)
    assert code == 0, said
    rows = rows_of(results / "contigs.tsv")
    probability_N = np.array([float(row["probability"]) for row in rows])
    for row, probability in zip(rows, probability_N, strict=True):
        rate = 1 - probability_N[probability_N >= probability].mean()
        assert float(row["fdr"]) == pytest.approx(rate, rel=1e-5)
        assert row["within_max_fdr"] == str(rate <= LIMIT)
    within = [row for row in rows if row["within_max_fdr"] == "True"]
    assert 0 < len(within) < len(rows)
    assert f"Contigs within the false discovery rate: {len(within)} of {len(rows)}." in said
    assert [read.name for read in read_records(str(viral))] == [row["ID"] for row in within]
    first = viral.read_text().splitlines()[0]
    assert first.endswith(f"probability={within[0]['probability']} fdr={within[0]['fdr']}")
    sequences = {read.name: read.sequence for read in read_records(str(contigs))}
    assert all(sequences[read.name] == read.sequence for read in read_records(str(viral)))


def test_resumed_with_another_prevalence_it_is_refused(predicted):
    assert predicted("calibrated", "--prevalence", 0.3)[0] == 0
    code, said, _ = predicted("calibrated", "--prevalence", 0.2, "--resume")
    assert code == 2 and "other settings: prevalence (0.3 then, 0.2 now)" in said
    assert predicted("calibrated", "--prevalence", 0.3, "--resume")[0] == 0


@pytest.mark.parametrize(
    "name, more, message",
    [
        ("plain", ("--prevalence", 0.1), "--prevalence needs a classifier with a calibration"),
        ("calibrated", ("--max-fdr", 0.1), "--max-fdr depends on how many viruses are expected. Add --prevalence."),
        ("calibrated", ("--prevalence", 1.5), "--prevalence must be above 0 and below 1, not 1.5."),
        ("calibrated", ("--prevalence", 0.1, "--max-fdr", 0), "--max-fdr must be above 0 and below 1, not 0.0."),
    ],
)
def test_what_is_refused(predicted, name, more, message):
    code, said, results = predicted(name, *more)
    assert code == 2 and not results.exists()
    assert_one_message(said, message)


@pytest.mark.parametrize(
    "entry", [{"slope": 1.0}, CALIBRATION | {"slope": "x"}, CALIBRATION | {"longest": 0}, "high", [1]]
)
def test_a_calibration_that_is_none(main, models, contigs, tmp_path, entry):
    card = ClassifierCard(("kmer4",), CHUNK, None, {"kmer4": 136})
    state = synthetic_weights.classifier(136, 0).state_dict()
    model = tmp_path / "model.safetensors"
    model.write_bytes(safetensors.torch.save(state, metadata_of(card, {"calibration": entry})))
    code, said = main("predict", contigs, "--output-dir", tmp_path / "out", "--model", model, "--no-progress")
    assert code == 2
    assert_one_message(said, "a classifier whose description cannot be used")
