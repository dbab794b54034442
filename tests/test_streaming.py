"""The models as a value: what stays loaded gives what the command writes, call after call."""

from __future__ import annotations

import multiprocessing

import h5py
import numpy as np
import packing
import pytest
from conftest import DATA, ESM_8M

import virnucpro
from virnucpro.config.placement import Placement
from virnucpro.errors import BadRequest, BadWeights
from virnucpro.streaming import Embedder, prepare

PROTEINS = dict(zip("abcdefgh", packing.random_proteins([20, 3, 400, 77, 1, 1500, 60, 61])))


@pytest.fixture
def embedder(weights):
    with Embedder(weights, ESM_8M, device="cpu", threads=1, buffer_size=3) as made:
        yield made


def together(windows):
    """All names, and their embeddings."""
    windows = list(windows)
    return [name for each in windows for name in each.names], np.concatenate([each.embeddings for each in windows])


def test_the_same_as_the_command_writes(embedder, weights, tmp_path):
    fasta = tmp_path / "proteins.faa"
    fasta.write_text("".join(f">{name}\n{residues}\n" for name, residues in PROTEINS.items()))
    path = virnucpro.embed(fasta, tmp_path / "out", weights_dir=weights, esm_model=ESM_8M)
    names, embeddings = together(embedder.embed(PROTEINS.items()))
    with h5py.File(path) as file:
        assert names == list(file["ids"].asstr())
        np.testing.assert_allclose(embeddings, file["embeddings"][:], atol=1e-5)  # other packs: float32's last digits
    assert embedder.backends["device"] == "CPU"


def test_each_window_tells_what_it_took(embedder):
    costs = [window.cost for window in embedder.embed(PROTEINS.items())]
    assert sum(cost.sequences for cost in costs) == 8
    assert sum(cost.tokens for cost in costs) == sum(min(len(each), 1024) + 2 for each in PROTEINS.values())
    assert all(cost.seconds > 0 for cost in costs)


def test_a_model_is_loaded_once(embedder, monkeypatch):
    first = together(embedder.embed(PROTEINS.items()))
    monkeypatch.setattr("virnucpro.executors.local.ModelRunner", None)
    again = together(embedder.embed(PROTEINS.items()))
    assert first[0] == again[0] and np.array_equal(first[1], again[1])


def test_what_was_not_asked_for_is_dropped(weights):
    with Embedder(weights, ESM_8M, device="cpu", threads=1, buffer_size=1, loaders=1) as embedder:
        left = embedder.embed(PROTEINS.items())
        next(left)
        assert together(embedder.embed([("x", "MKV"), ("empty", ""), ("y", "LAG")]))[0] == ["x", "y"]
        assert list(left) == []
        assert len(multiprocessing.active_children()) == 1
    assert multiprocessing.active_children() == []


def test_weights_that_are_missing(tmp_path):
    with pytest.raises(BadWeights, match="Missing weights"):
        Embedder(tmp_path, ESM_8M)


def test_an_unknown_precision_is_refused_at_once(weights):
    with pytest.raises(BadRequest, match=r"precision is 'fp17'\. Choose one of auto, fp32, bf16, fp16"):
        Embedder(weights, ESM_8M, precision="fp17")


def test_dna_is_not_made_ready_without_a_tokenizer():
    with pytest.raises(BadRequest, match=r"small\.fa is DNA: give the folder with DNABERT-S's tokenizer"):
        prepare(str(DATA / "small.fa"))


def test_a_file_made_ready(weights):
    frames = (DATA / "small_protein_500.faa").read_text().splitlines()[1::2]  # their residues
    made = prepare(str(DATA / "small.fa"), weights / "DNABERT-S", token_budget=512)
    assert (made.sequences, sum(map(len, made.packs))) == (len(frames), len(set(frames))) == (16, 15)
    assert all(sum(pack) <= 512 for pack in made.packs)
    assert list(made.main_seconds) == ["survey", "reading, windows"]
    assert set(made.loader_seconds) == {"frames", "ESM-2 tokens", "DNABERT-S tokens", "packs"}
    assert min(made.loader_seconds.values()) > 0


def test_a_file_is_made_ready_for_a_gpu():
    gpu, defaults = Placement(("cuda:0",)), prepare.__kwdefaults__
    assert (defaults["token_budget"], defaults["buffer_size"]) == (gpu.token_budget, gpu.buffer_size) == (16896, 2048)


def test_proteins_need_no_tokenizer(tmp_path):
    fasta = tmp_path / "proteins.faa"
    fasta.write_text("".join(f">{name}\n{residues}\n" for name, residues in PROTEINS.items()))
    made = prepare(str(fasta), token_budget=512)
    assert sorted(length for pack in made.packs for length in pack) == [3, 5, 22, 62, 63, 79, 402, 1026]
    assert set(made.loader_seconds) == {"letters", "ESM-2 tokens", "packs"}
