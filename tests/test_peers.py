"""The peers: that they embed what they are given, and say why where they cannot run. Small models, on the CPU."""

from __future__ import annotations

import sys
import types

import pytest
import torch
import torch.nn.functional as F

from benchmarks import peers
from benchmarks.support import inputs
from benchmarks.support.skip import Skip

WORK = inputs.CPU_SMALL
PROTEINS = ["MKV", "ACDEFGHIKLMNPQRSTVWY", "MKVLAAG", "W"]


def one_by_one(q_THK, k_THK, v_THK, cu_S1, scale):
    """Attention within each sequence, which is what `varlen_attn` computes on a GPU."""
    y_THK = torch.empty_like(q_THK)
    for first, end in zip(cu_S1[:-1].tolist(), cu_S1[1:].tolist(), strict=True):
        q, k, v = (part[first:end].transpose(0, 1) for part in (q_THK, k_THK, v_THK))
        y_THK[first:end] = F.scaled_dot_product_attention(q, k, v, scale=scale).transpose(0, 1)
    return y_THK


def newer(q, k, v, cu_q, cu_k, max_q, max_k, *, scale=None):
    return one_by_one(q, k, v, cu_q, scale)


def older(q, k, v, cu_q, cu_k, max_q, max_k, is_causal=False):
    return one_by_one(q, k, v, cu_q, None)


@pytest.mark.parametrize("varlen_attn", [newer, older])
def test_packed_and_padded_transformers_are_one_model(monkeypatch, varlen_attn):
    pytest.importorskip("transformers", reason="transformers is not installed")
    varlen = pytest.importorskip("torch.nn.attention.varlen", reason="this PyTorch has no varlen_attn")
    monkeypatch.setattr(varlen, "varlen_attn", varlen_attn)
    rows = []
    for make in (peers.transformers, peers.packed_transformers):
        torch.manual_seed(0)  # of the random weights
        rows.append(make(WORK, "fp32")(PROTEINS))
    assert rows[0].shape == (4, 320)
    torch.testing.assert_close(*rows, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("missing, said", [
    ("transformers", "needs the package transformers, which is not installed here"),
    ("torch.nn.attention.varlen", "needs torch.nn.attention.varlen, which this PyTorch does not have"),
])  # fmt: skip
def test_a_peer_that_cannot_run_says_why(monkeypatch, missing, said):
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name == missing else name)
    with pytest.raises(Skip, match=said):
        peers.packed_transformers(WORK, "fp32")


def test_an_old_transformers_is_named(monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "transformers", types.SimpleNamespace(__version__="4.40.0"))
    with pytest.raises(Skip, match=r"needs transformers with AttentionInterface; 4\.40\.0 is older"):
        peers.packed_transformers(WORK, "fp32")


def test_batches_of_a_packed_peer_are_of_tokens_without_padding(monkeypatch):
    seen = {}
    monkeypatch.setattr(inputs, "require", lambda name: inputs.GPU_10K)
    monkeypatch.setattr(peers.history, "require_release", lambda: None)
    monkeypatch.setattr(peers, "seconds_per_10k", lambda embed, made, device: seen.update({embed: made}) or 1.0)
    for name, (_, cost, most) in peers.PEERS.items():
        monkeypatch.setitem(peers.PEERS, name, (lambda work, precision, name=name: name, cost, most))
        peers.Peers().measure("gpu-10k", name)
    assert {name: sum(map(len, made)) for name, made in seen.items()} == dict.fromkeys(peers.PEERS, peers.SAMPLE)
    packs = [sum(len(protein) + 2 for protein in batch) for batch in seen["transformers packed"]]
    assert max(packs) <= 16_384 and min(packs[:-1]) > 15_000
