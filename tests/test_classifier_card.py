"""Classifier cards: a classifier names its features and models, and a run loads these and refuses others."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import ESM_8M

from benchmarks import synthetic_weights
from virnucpro.errors import BadRequest, BadWeights
from virnucpro.models.classifier import load_classifier
from virnucpro.models.classifier_card import ClassifierCard, metadata_of, read_card
from virnucpro.models.language_models import parse_features, spelled
from virnucpro.reading.chunks import Chunk
from virnucpro.reading.frames import open_frames
from virnucpro.reading.kmers import KMERS

READ = "ATGGCCAAAGTTCTGGACGAACGTACCGGC"
SHA256 = "5" * 64


@pytest.fixture
def card(weights):
    sha256 = hashlib.sha256((weights / f"{ESM_8M}.pt").read_bytes()).hexdigest()
    return ClassifierCard(("kmer4", "esm2"), 500, ESM_8M, {"kmer4": 136, "esm2": 320}, {"esm2": sha256})


def write(path, card, document=None):
    state = synthetic_weights.classifier(sum(card.widths.values()), 0).state_dict()
    path.write_bytes(safetensors.torch.save(state, metadata_of(card, document or {"licence": "MIT"})))
    return path


@pytest.mark.parametrize(
    "text, features",
    [("esm2", ("esm2",)), ("esm2+kmer4", ("kmer4", "esm2")), ("dnabert_s+esm2", ("dnabert_s", "esm2"))],
)
def test_features_have_one_order(text, features):
    assert parse_features(text) == features
    assert parse_features(spelled(features)) == features


@pytest.mark.parametrize("text, what", [("kmer5", "'kmer5' is unknown"), ("esm2+esm2", "twice"), ("", "'' is unknown")])
def test_other_features_are_refused(text, what):
    with pytest.raises(BadRequest, match=f"{what}.*kmer4, dnabert_s, esm2"):
        parse_features(text)


def test_a_card_is_read_as_it_was_written(card, tmp_path):
    path = write(tmp_path / "model.safetensors", card)
    again = read_card(path)
    assert replace(again, document={}) == card and again.document["licence"] == "MIT"
    assert load_classifier(path).features == 456


def test_the_same_classifier_is_the_same_bytes(card, tmp_path):
    """Also from process to process, where a safetensors file of several entries has them in any order."""
    code = "import sys, numpy, safetensors.numpy; from virnucpro.models.classifier_card import *\n"
    code += "card = ClassifierCard(('esm2',), 500, 'x', {'esm2': 4}, {'esm2': '0'})\n"
    code += "file = safetensors.numpy.save({'a': numpy.zeros(2)}, metadata_of(card, {'b': 1, 'a': 2}))\n"
    code += "sys.stdout.buffer.write(file)"
    each = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(3)}
    assert len(each) == 1


@pytest.mark.parametrize(
    "name, card", [("500_model.pth", ClassifierCard(chunk_size=500)), ("mine.pth", ClassifierCard())]
)
def test_of_a_pth_the_name_says_what_is_known(tmp_path, name, card):
    assert read_card(tmp_path / name) == card
    assert card.features == ("dnabert_s", "esm2")


@pytest.mark.parametrize(
    "document, what",
    [
        ("no JSON", "description cannot be used"),
        ("[]", "description cannot be used"),
        ('{"features": "kmer9", "models": {}}', "'kmer9' is unknown"),
        ('{"features": "kmer4", "models": {}, "chunk_size": 500}', "KeyError: 'widths'"),
        ('{"features": "kmer4", "models": {}, "chunk_size": 1, "widths": {"kmer4": 136}}', "chunks of 1 bp"),
        (
            f'{{"features": "esm2", "models": {{"esm2": {{"name": "x", "sha256": "{SHA256}"}}}}, "chunk_size": 500, '
            '"widths": {"esm2": 320}}',
            "ESM-2 x, which is unknown",
        ),
        (  # any weights would do
            '{"features": "esm2", "models": {"esm2": {"name": "esm2_t6_8M_UR50D", "sha256": null}}, "chunk_size": 500, '
            '"widths": {"esm2": 320}}',
            "KeyError: 'sha256 of esm2'",
        ),
    ],
)
def test_a_card_that_cannot_be_used(tmp_path, document, what):
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors.torch.save({"a": torch.zeros(1)}, {"virnucpro": document}))
    with pytest.raises(BadWeights, match=f"model.safetensors: .*{what}"):
        read_card(path)


def test_widths_that_are_not_the_weights(card, tmp_path):
    path = write(tmp_path / "model.safetensors", card)
    state = safetensors.torch.load_file(path)
    other = replace(card, widths={"kmer4": 136, "esm2": 480})
    path.write_bytes(safetensors.torch.save(state, metadata_of(other, {})))
    with pytest.raises(BadWeights, match=r"takes 456 features, and says that they are kmer4 \(136\) and esm2 \(480\)"):
        load_classifier(path)


@pytest.fixture
def request_of(card, weights, tmp_path):
    """A run of READ with a classifier of kmer4+esm2, in a directory that has ESM-2 and nothing else."""
    only = tmp_path / "weights"
    only.mkdir()
    shutil.copy(weights / f"{ESM_8M}.pt", only)
    (tmp_path / "in.fa").write_text(f">a\n{READ}\n")

    def options(**changes):
        path = write(tmp_path / "model.safetensors", replace(card, **changes))
        return (
            "predict", tmp_path / "in.fa", "--output-dir", tmp_path / "out", "--weights-dir", only, "--model", path,
            "--no-progress",
        )  # fmt: skip

    return options


def test_a_run_loads_what_the_classifier_names(request_of, main, tmp_path):
    code, said = main(*request_of(), "--save-embeddings")
    assert code == 0, said
    frames = {frame.name: frame.nucleotides for frame in open_frames(Chunk("a_chunk_1", READ))}
    with h5py.File(tmp_path / "out" / "in_merged" / "embeddings.h5") as file:
        assert file["ids"].asstr()[:].tolist() == list(frames)
        assert "dnabert_s" not in file
        kmer4, esm2 = file["kmer4"][:], file["embeddings"][:]
    dna = frames["a_chunk_1F1"]
    assert kmer4[0, KMERS.index("AAAG")] == pytest.approx(dna.count("AAAG") / (len(dna) - 3))
    classifier = load_classifier(tmp_path / "model.safetensors").model
    with torch.inference_mode():
        expected = classifier(torch.from_numpy(np.concatenate([kmer4, esm2], axis=1))).softmax(1)
    rows = (tmp_path / "out" / "in_merged" / "prediction_results.txt").read_text().splitlines()[1:]
    scores = [[float(each) for each in row.split("\t")[2:]] for row in rows]
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    manifest = json.loads((tmp_path / "out" / "in_run.json").read_text())
    assert set(manifest["weights"]) == {f"{ESM_8M}.pt", "model.safetensors"}
    assert manifest["settings"]["esm_model"] == ESM_8M and manifest["settings"]["chunk_size"] == 500


@pytest.mark.parametrize(
    "changes, more, code, message",
    [
        ({"sha256": {"esm2": SHA256}}, (), 2, rf"trained on features of other weights than .* \(sha256 {SHA256}, not "),
        ({}, ("--esm-model", "esm2_t12_35M_UR50D"), 2, f"trained on features of {ESM_8M}, and --esm-model says"),
        ({}, ("--model-type", "300"), 2, "--model says all of the classifier"),
        ({}, ("--model-path", "x.pth"), 2, "--model says all of the classifier"),
    ],
)
def test_other_weights_and_requests_are_refused(request_of, main, tmp_path, changes, more, code, message):
    actual, said = main(*request_of(**changes), *more)
    assert actual == code and re.search(message, said), said
    assert not (tmp_path / "out" / "in_merged").exists()


def test_of_other_chunks_it_is_refused_for_a_published_size(request_of, main, tmp_path):
    *options, _, path, _ = request_of(chunk_size=300)
    code, said = main(*options, "--model-path", path, "--model-type", "500", "--no-progress")
    assert code == 2 and "was trained on chunks of 300 bp, but --model-type 500" in said


def test_a_classifier_of_kmers_alone_needs_no_weights(main, tmp_path):
    (tmp_path / "in.fa").write_text(f">a\n{READ}\n>b\nATG\n")  # b has no 4-mer
    model = write(tmp_path / "model.safetensors", ClassifierCard(("kmer4",), 500, None, {"kmer4": 136}))
    (tmp_path / "none").mkdir()
    code, said = main("predict", tmp_path / "in.fa", "--output-dir", tmp_path / "out", "--model", model,
                      "--weights-dir", tmp_path / "none", "--no-progress")  # fmt: skip
    assert code == 0 and "2 scored" in said, said
