"""Weights on the command line: broken, unfitting or converted, with one clear message for each."""

import json
import shutil

import pytest
import torch
from conftest import DATA, ESM_8M, TINY_DNABERT, assert_one_message

from benchmarks.synthetic_weights import classifier, write_classifier, write_dnabert
from virnucpro.system.files import sha256_of

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


def count_in(path):
    state = classifier(344).state_dict()
    state["hidden_layer.weight"] = state["hidden_layer.weight"].int()
    torch.save(state, path)


def lead_out(path):
    """The end of a zip file says that its list of parts lies before it."""
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x06\x07") + 12] = 255
    path.write_bytes(content)


def swap_tokens(path):
    """Two tokens of three letters change their ids."""
    content = json.loads(path.read_text())
    ids = content["model"]["vocab"]
    first, second = [token for token in ids if len(token) == 3][:2]
    ids[first], ids[second] = ids[second], ids[first]
    path.write_text(json.dumps(content))


def make_hole(path):
    """Zeros in the midst of the file, as a download over several connections leaves them; no size differs."""
    with open(path, "rb+") as file:
        file.seek(path.stat().st_size // 2)
        file.write(bytes(5000))


def record(folder):
    """Put every file on record."""
    lines = [f"{sha256_of(path)}  {path.relative_to(folder)}\n" for path in folder.rglob("*") if path.is_file()]
    (folder / "SHA256SUMS").write_text("".join(lines))


BROKEN = {
    "dnabert heads": (
        lambda w: write_dnabert(w / "DNABERT-S", **TINY_DNABERT | {"hidden_size": 768, "num_attention_heads": 6}),
        "num_attention_heads is 6, but 12 in DNABERT-S",
    ),
    "dnabert activation": (
        lambda w: set_json(w / "DNABERT-S" / "config.json", hidden_act="relu"),
        "hidden_act is 'relu', but 'gelu' in DNABERT-S",
    ),
    "another tokenizer": (
        lambda w: swap_tokens(w / "DNABERT-S" / "tokenizer.json"),
        "another vocabulary (4,096 tokens); expected DNABERT-S's tokenizer",
    ),
    "another model is there": (
        lambda w: (w / f"{ESM_8M}.pt").rename(w / "esm2_t12_35M_UR50D.pt"),
        "esm2_t12_35M_UR50D.pt (--esm-model esm2_t12_35M_UR50D)",
    ),
    "a hole": (lambda w: make_hole(w / f"{ESM_8M}.pt"), f"{ESM_8M}.pt: damaged (Bad CRC-32 for file"),
    "parts before the begin": (lambda w: lead_out(w / "500_model.pth"), "500_model.pth: damaged"),
    "brackets without end": (
        lambda w: (w / "DNABERT-S" / "config.json").write_text('{"a":' + "[" * 200_000),
        "cannot be read as JSON",
    ),
    "more layers than tensors": (
        lambda w: set_json(w / "DNABERT-S" / "config.json", num_hidden_layers=10**9),
        "1000000000 layers, but ",
    ),
    "whole numbers": (lambda w: count_in(w / "500_model.pth"), "hidden_layer.weight holds no floating-point numbers"),
    "a web page": (lambda w: (w / f"{ESM_8M}.pt").write_text("<html>"), "a web page? a git-lfs pointer?"),
    "text as a size": (lambda w: set_json(w / "DNABERT-S" / "config.json", hidden_size="24"), "width is '24', not a"),
    "null as a size": (lambda w: set_json(w / "DNABERT-S" / "config.json", num_hidden_layers=None), "layers is None"),
    "odd heads": (lambda w: set_json(w / "DNABERT-S" / "config.json", num_attention_heads=5), "5 heads do not divide"),
    "classifier with nan": (lambda w: spoil_classifier(w / "500_model.pth"), "weights that are not finite"),
    # whichever sees it first: who loads the file, or who digests it beside that
    "esm cut off": (lambda w: cut(w / f"{ESM_8M}.pt"), f"{ESM_8M}.pt: damaged"),
    "esm empty": (lambda w: (w / f"{ESM_8M}.pt").write_bytes(b""), "Fetch it again"),
    "esm of another kind": (lambda w: torch.save({"x": 1}, w / f"{ESM_8M}.pt"), "no ESM-2 checkpoint of fair-esm"),
    "dnabert cut off": (lambda w: cut(w / "DNABERT-S" / "pytorch_model.bin"), "pytorch_model.bin: damaged"),
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
    "classifier cut off": (lambda w: cut(w / "500_model.pth"), "500_model.pth: damaged"),
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


@pytest.mark.parametrize(
    "command, late",
    [("predict", False), ("predict", True), ("parity", False)],
    ids=["predict", "predict, seen at the end", "parity"],
)
def test_what_is_not_on_record_is_not_used(main, own_weights, tmp_path, monkeypatch, command, late):
    record(own_weights)
    where = () if command == "parity" else ("--output-dir", tmp_path / "out")
    arguments = (command, DATA / "small.fa", *where, "--weights-dir", own_weights, *SMALL)
    with open(own_weights / f"{ESM_8M}.pt", "ab") as file:
        file.write(b" ")  # nothing but the sha256 tells
    if late:
        monkeypatch.setattr("virnucpro.weights.digests.WeightDigests.check", lambda digests: None)
    code, said = main(*arguments)
    assert code == 2
    assert_one_message(said, f"{ESM_8M}.pt: not the file on record (sha256 ")
    assert not [path for path in tmp_path.glob("out/**/*") if path.suffix in (".csv", ".tsv", ".txt", ".safetensors")]


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
