"""DNABERT-S features over packs against a plain reference, and its real tokenizer."""

import json

import packing
import pytest
import torch
from conftest import TINY_DNABERT
from packing import random_dna
from references import assert_equal_within_float32, worst

from benchmarks import synthetic_weights
from benchmarks.support.reference import dnabert_features
from virnucpro.errors import BadWeights
from virnucpro.models.dnabert_s import alibi_slopes, dna_means, load_dnabert
from virnucpro.models.dnabert_s_checkpoint import read_dnabert
from virnucpro.models.tokens import dnabert_tokens, load_tokenizer

CPU = torch.device("cpu")
REAL_SHAPE = {"num_hidden_layers": 2}  # 768 wide, 12 heads; two layers of it keep the test short
SEQUENCES = random_dna([3, 250, 61, 1, 99, 10, 30, 500, 7, 20])


@pytest.fixture(scope="module", params=[TINY_DNABERT, REAL_SHAPE], ids=["tiny", "768 wide"])
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dnabert")
    synthetic_weights.write_dnabert(folder, **request.param)
    return folder


def plain(folder, token_ids, dtype=torch.float32):
    """The reference in one type throughout, one sequence at a time."""
    shape, _ = read_dnabert(folder)
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    state = {name: tensor.to(dtype) for name, tensor in state.items()}
    return torch.stack([dnabert_features(state, ids, shape.layers, shape.heads) for ids in token_ids])


@pytest.mark.parametrize("budget", [1, 100, 2048])  # tokens; with 1 every sequence has a pack of its own
def test_packs_give_what_the_plain_reference_gives(folder, budget):
    token_ids = dnabert_tokens(load_tokenizer(folder), SEQUENCES)
    found = packing.run(load_dnabert(folder, CPU), token_ids, budget)
    assert_equal_within_float32(found, plain(folder, token_ids))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_low_precision_errs_little_more_than_the_plainest(folder, dtype):
    token_ids = dnabert_tokens(load_tokenizer(folder), SEQUENCES[:5])
    exact = plain(folder, token_ids)
    found = packing.run(load_dnabert(folder, CPU, packing.precision_of(dtype)), token_ids, 2048)
    assert worst(found - exact) <= 2 * worst(plain(folder, token_ids, dtype) - exact)


def test_no_sequence_sees_another(folder):
    token_ids = dnabert_tokens(load_tokenizer(folder), SEQUENCES)
    model = load_dnabert(folder, CPU)
    before = packing.run(model, token_ids, 2048)
    for changed in range(len(token_ids)):
        other = [token + 1 for token in token_ids[changed]]
        after = packing.run(model, [*token_ids[:changed], other, *token_ids[changed + 1 :]], 2048)
        others = [i for i in range(len(token_ids)) if i != changed]
        assert torch.equal(after[others], before[others])
        assert not torch.equal(after[changed], before[changed])


def test_the_mean_takes_all_tokens():
    pack = packing.pack_of([[1, 5, 2], [1, 2]])
    x_TD = torch.tensor([[1.0], [2.0], [6.0], [4.0], [8.0]])
    assert dna_means(x_TD, pack).tolist() == [[3.0], [6.0]]


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
    (ids,) = dnabert_tokens(tokenizer, [sequence])
    assert [tokenizer.id_to_token(i) for i in ids] == tokens.split()


def test_the_tokenizer_files_own_padding_and_truncation_are_off(folder):
    carried = json.loads((folder / "tokenizer.json").read_text())
    assert carried["padding"]["strategy"] == {"Fixed": 2000}
    assert carried["truncation"]["max_length"] == 2000
    short, long = dnabert_tokens(load_tokenizer(folder), ["ACGT", "N" * 3000])
    assert len(short) == 5
    assert len(long) == 3002


@pytest.mark.parametrize("content", ["{}", '{"model": {"type": "WordLevel", "vocab": {"A": 0}, "unk_token": "A"}}'])
def test_a_folder_without_tokenizer_is_refused(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(BadWeights, match=r"cannot be read as a tokenizer|of kind WordLevel, not BPE"):
        load_tokenizer(tmp_path)
