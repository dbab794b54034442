"""What only a GPU can show. Run on a GPU host with: python -m pytest tests/test_gpu.py"""

import random

import pytest
import torch
from references import assert_equal_within_float32

from benchmarks import synthetic_weights
from virnucpro.dnabert import dnabert_features, load_dnabert, load_tokenizer
from virnucpro.esm2 import esm2_features, load_esm2

pytestmark = pytest.mark.gpu
SHAPE = (6, 320, 20)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("esm2") / "esm2.pt"
    synthetic_weights.write_fair_esm(path, *SHAPE)
    return path


@pytest.fixture(scope="module")
def proteins():
    rng = random.Random(3)
    return ["".join(rng.choices("LAGVSERTIDPKQNFYMHWC", k=length)) for length in [1, 7, 300, 2, 166, 1024, 50] * 3]


def test_float32_on_the_gpu_equals_float32_on_the_cpu(checkpoint, proteins):
    on_cpu = esm2_features(load_esm2(checkpoint, torch.device("cpu")), proteins[:7], 2048)
    on_gpu = esm2_features(load_esm2(checkpoint, torch.device("cuda")), proteins, 2048)
    assert_equal_within_float32(on_gpu[:7], on_cpu)


def test_bf16_autocast_errs_no_more_than_plain_bf16(checkpoint, proteins):
    """The bound is the error of the plainest low-precision run: weights and all in BF16, one by one."""
    device = torch.device("cuda")
    exact = esm2_features(load_esm2(checkpoint, device), proteins, 2048)
    plain_model = load_esm2(checkpoint, device)
    frequencies = plain_model.layers[0].self_attn.rot_emb.inv_freq
    plain_model.bfloat16()
    for layer in plain_model.layers:
        layer.self_attn.rot_emb.inv_freq = frequencies  # the positions are exact in either
    plain = esm2_features(plain_model, proteins, 1)
    found = esm2_features(load_esm2(checkpoint, device), proteins, 3072, bf16=True)
    assert (found - exact).abs().max() <= 2 * (plain - exact).abs().max()
    assert (found - exact).square().mean() <= (plain - exact).square().mean()


def test_kept_casts_change_nothing(checkpoint, proteins):
    model = load_esm2(checkpoint, torch.device("cuda"))
    kept, made_anew = (esm2_features(model, proteins, 3072, bf16=True, keep_casts=keep) for keep in (True, False))
    assert torch.equal(kept, made_anew)


def test_positions_stay_exact_under_autocast(checkpoint):
    """fair-esm's own table comes out of autocast in bfloat16, where position 257 is position 256."""
    rotary = load_esm2(checkpoint, torch.device("cuda")).layers[0].self_attn.rot_emb
    with torch.autocast("cuda", torch.bfloat16):
        cos_1TK, _ = rotary._update_cos_sin_tables(torch.empty(1, 1026, 2, device="cuda", dtype=torch.float32), 1)
    angles = torch.outer(torch.arange(1026.0), rotary.inv_freq.cpu())
    assert torch.allclose(cos_1TK[0].cpu(), torch.cat([angles, angles], dim=1).cos(), atol=1e-4)


def test_dnabert_on_the_gpu_equals_the_cpu(tmp_path):
    synthetic_weights.write_dnabert(tmp_path, num_hidden_layers=2)
    rng = random.Random(4)
    sequences = ["".join(rng.choices("ACGTN", k=length)) for length in [3, 500, 61, 1, 199] * 60]
    tokenizer = load_tokenizer(tmp_path)
    on_cpu, on_gpu = (
        dnabert_features(load_dnabert(tmp_path, torch.device(device)), tokenizer, sequences)
        for device in ("cpu", "cuda")
    )
    assert_equal_within_float32(on_gpu, on_cpu)


def test_a_batch_that_does_not_fit_is_halved(checkpoint):
    """One long protein among many short ones pads a batch to far more than its residues."""
    device = torch.device("cuda")
    model = load_esm2(checkpoint, device)
    proteins = ["M"] * 1500 + ["M" * 1024] + ["MK"] * 100
    whole = esm2_features(model, proteins, 2048)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    _, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction(2e9 / total)
    try:
        halved = esm2_features(model, proteins, 4096)
        assert torch.cuda.max_memory_allocated() < 2e9
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert_equal_within_float32(halved, whole)


def test_predict_runs_on_the_gpu(tmp_path, weights, monkeypatch, capfd):
    from conftest import DATA, ESM_8M

    from virnucpro.cli import main

    monkeypatch.setenv("VIRNUCPRO_WEIGHTS", str(weights))
    run = ("predict", str(DATA / "small.fa"), "--esm-model", ESM_8M, "--gpus", "0", "--parallel")
    assert main([*run, "--output-dir", str(tmp_path / "out")]) == 0
    said = capfd.readouterr().err
    assert "Workers: cuda:0, cuda:0; ESM-2 in BF16 autocast." in said
    assert "Peak GPU memory of a worker on cuda:0" in said
    assert main([*run, "--gpus", "99", "--output-dir", str(tmp_path / "none")]) == 2
    assert "--gpus asks for GPU 99" in capfd.readouterr().err
