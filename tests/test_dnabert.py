"""DNABERT-S features against a plain reference, and its real tokenizer."""

import json
import random

import pytest
import references
import torch
from conftest import TINY_DNABERT
from references import assert_equal_within_float32

from benchmarks import synthetic_weights
from virnucpro.dnabert import (
    alibi_slopes,
    dnabert_features,
    load_dnabert,
    load_tokenizer,
    read_dnabert,
    tokenize,
)
from virnucpro.errors import BadWeights

CPU = torch.device("cpu")
REAL_SHAPE = {"num_hidden_layers": 2}  # 768 wide, 12 heads; two layers of it keep the test short


def random_dna(lengths, seed=0):
    rng = random.Random(seed)
    return ["".join(rng.choices("ACGTN", weights=[9, 9, 9, 9, 1], k=length)) for length in lengths]


@pytest.fixture(scope="module", params=[TINY_DNABERT, REAL_SHAPE], ids=["tiny", "768 wide"])
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dnabert")
    synthetic_weights.write_dnabert(folder, **request.param)
    return folder


def test_features_equal_the_plain_reference(folder, monkeypatch):
    monkeypatch.setattr("virnucpro.dnabert.BATCH_SEQUENCES", 4)  # of 256: several batches, the last not full
    sequences = random_dna([3, 250, 61, 1, 99, 10, 30, 500, 7, 20])  # padded
    shape, _ = read_dnabert(folder)
    tokenizer = load_tokenizer(folder)
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    expected = [
        references.dnabert_features(state, ids, shape.layers, shape.heads) for ids in tokenize(tokenizer, sequences)
    ]
    found = dnabert_features(load_dnabert(folder, CPU), tokenizer, sequences)
    assert_equal_within_float32(found, torch.stack(expected))


def test_slopes_of_12_heads():
    expected = [2**-i for i in range(1, 9)] + [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]
    assert alibi_slopes(12) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("heads, expected", [(1, [2**-8]), (2, [2**-4, 2**-8]), (4, [2**-2, 2**-4, 2**-6, 2**-8])])
def test_slopes_of_powers_of_two(heads, expected):
    assert alibi_slopes(heads) == expected


@pytest.mark.parametrize(
    "sequence, tokens",
    [
        ("A", "[CLS] A [SEP]"),
        ("ACGTNNNACGT", "[CLS] A C GT [UNK] [UNK] [UNK] A C GT [SEP]"),  # one [UNK] a letter
        ("acgt", "[CLS] A C GT [SEP]"),  # upper-cased first
        ("AC-GT*A", "[CLS] A C [UNK] GT [UNK] A [SEP]"),
        ("ACRYGT", "[CLS] A C [UNK] [UNK] GT [SEP]"),
    ],
)
def test_the_real_tokenizer(folder, sequence, tokens):
    tokenizer = load_tokenizer(folder)
    (ids,) = tokenize(tokenizer, [sequence])
    assert [tokenizer.id_to_token(i) for i in ids] == tokens.split()


def test_the_tokenizer_files_own_padding_and_truncation_are_off(folder):
    carried = json.loads((folder / "tokenizer.json").read_text())
    assert carried["padding"]["strategy"] == {"Fixed": 2000}
    assert carried["truncation"]["max_length"] == 2000
    short, long = tokenize(load_tokenizer(folder), ["ACGT", "N" * 3000])
    assert len(short) == 5
    assert len(long) == 3002


def test_features_do_not_depend_on_company(folder):
    model, tokenizer = load_dnabert(folder, CPU), load_tokenizer(folder)
    short, long = random_dna([30, 400])
    together = dnabert_features(model, tokenizer, [short, long])
    alone = dnabert_features(model, tokenizer, [short])
    assert_equal_within_float32(together[:1], alone)


def test_a_folder_without_tokenizer_is_refused(folder, tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BadWeights, match="cannot be read as a tokenizer"):
        load_tokenizer(tmp_path)
