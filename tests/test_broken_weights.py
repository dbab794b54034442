"""Weights on the command line: broken, unfitting or converted, with one clear message for each."""

import json
import shutil

import pytest
import torch
from conftest import DATA, ESM_8M, TINY_DNABERT

from benchmarks.synthetic_weights import classifier, write_classifier, write_dnabert

SMALL = ("--esm-model", ESM_8M)


@pytest.fixture
def own_weights(weights, tmp_path):
    """A copy of the weights that a test may break."""
    return shutil.copytree(weights, tmp_path / "weights")


def cut(path):
    path.write_bytes(path.read_bytes()[:-500])


def swap_json(path):
    path.write_text("[1, 2")


def set_json(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def spoil_classifier(path):
    model = classifier(344)
    model.hidden_layer.bias.data[0] = float("nan")
    torch.save(model.state_dict(), path)


BROKEN = {
    "a web page": (lambda w: (w / f"{ESM_8M}.pt").write_text("<html>"), "a web page? a git-lfs pointer?"),
    "text as a size": (lambda w: set_json(w / "DNABERT-S" / "config.json", hidden_size="24"), "width is '24', not a"),
    "null as a size": (lambda w: set_json(w / "DNABERT-S" / "config.json", num_hidden_layers=None), "layers is None"),
    "odd heads": (lambda w: set_json(w / "DNABERT-S" / "config.json", num_attention_heads=5), "5 heads do not divide"),
    "classifier with nan": (lambda w: spoil_classifier(w / "500_model.pth"), "weights that are not finite"),
    "esm cut off": (lambda w: cut(w / f"{ESM_8M}.pt"), "damaged or not a PyTorch weights file"),
    "esm empty": (lambda w: (w / f"{ESM_8M}.pt").write_bytes(b""), "Fetch it again"),
    "esm of another kind": (lambda w: torch.save({"x": 1}, w / f"{ESM_8M}.pt"), "no ESM-2 checkpoint of fair-esm"),
    "dnabert cut off": (lambda w: cut(w / "DNABERT-S" / "pytorch_model.bin"), "damaged or not a PyTorch"),
    "dnabert config": (lambda w: swap_json(w / "DNABERT-S" / "config.json"), "cannot be read as JSON"),
    "dnabert of fewer tokens": (
        lambda w: write_dnabert(w / "DNABERT-S", **TINY_DNABERT, vocab_size=100),
        "tokenizer.json has 4096 tokens, the model 100",
    ),
    "dnabert tokenizer": (lambda w: swap_json(w / "DNABERT-S" / "tokenizer.json"), "cannot be read as a tokenizer"),
    "no dnabert tokenizer": (
        lambda w: (w / "DNABERT-S" / "tokenizer.json").unlink(),
        "config.json, tokenizer.json and",
    ),
    "no dnabert weights": (lambda w: (w / "DNABERT-S" / "pytorch_model.bin").unlink(), "DNABERT-S/ with config.json"),
    "classifier cut off": (lambda w: cut(w / "500_model.pth"), "damaged or not a PyTorch weights file"),
    "classifier of another width": (
        lambda w: shutil.copy(w / "wide.pth", w / "500_model.pth"),
        "takes 3328 features, but esm2_t6_8M_UR50D (320) and DNABERT-S (24) give 344",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_weights_are_exit_2(main, own_weights, tmp_path, name):
    write_classifier(own_weights / "wide.pth", 3328)
    damage, message = BROKEN[name]
    damage(own_weights)
    options = ("--weights-dir", own_weights, *SMALL)
    code, said = main("predict", DATA / "small.fa", "--output-dir", tmp_path / "out", *options)
    assert code == 2
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_the_chunk_size_goes_with_the_classifier(main, weights, tmp_path):
    run = ("predict", DATA / "small.fa", "--output-dir", tmp_path / "out", *SMALL)
    code, said = main(*run, "--model-type", 300, "--model-path", weights / "500_model.pth")
    assert code == 2
    assert "trained on chunks of 500 bp, but --model-type 300 asks for 300 bp" in said
    unnamed = shutil.copy(weights / "500_model.pth", tmp_path / "mine.pth")
    code, said = main(*run, "--model-type", "custom", "--model-path", unnamed)
    assert code == 2
    assert f"virnucpro convert {unnamed} mine.safetensors --chunk-size BP" in said


def test_convert(main, weights, tmp_path):
    target = tmp_path / "mine.safetensors"
    code, said = main("convert", weights / "500_model.pth", target)
    assert code == 0
    assert "chunk size 500 bp" in said
    for source, goal, options, message in (
        (weights / "500_model.pth", target, (), "exists"),
        (weights / "500_model.pth", tmp_path / "x.pth", (), "must end in .safetensors"),
        (weights / "500_model.pth", tmp_path / "x.safetensors", ("--chunk-size", 300), "trained on chunks of 500 bp"),
        (weights / f"{ESM_8M}.pt", tmp_path / "x.safetensors", (), "refused, for it holds more than weights"),
        (tmp_path / "none.pth", tmp_path / "x.safetensors", (), "does not exist"),
    ):
        code, said = main("convert", source, goal, *options)
        assert code == 2
        assert message in said
