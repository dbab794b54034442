"""Attention backends and precisions are rows: what is added to their tables from outside runs like the others.

Axes: T tokens of a pack, N tokens of one sequence, H heads, K width of a head; S sequences, F features.
"""

import math
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import packing
import pytest
import torch
import torch.nn.functional as F
from references import assert_equal_within_float32
from torch import Tensor, nn

from benchmarks import workloads
from virnucpro.engine import startup
from virnucpro.engine.loader import FrontEnd
from virnucpro.engine.model_runner import ModelRunner
from virnucpro.errors import BadRequest
from virnucpro.models import attention
from virnucpro.models.attention import BACKENDS, Backend, Unusable
from virnucpro.models.catalog import (
    CPU_PRECISION,
    GPU_PRECISION,
    PRECISIONS,
    PUBLISHED_PRECISION,
    REFERENCE_PRECISION,
    Precision,
)
from virnucpro.models.linear import Products, torch_type
from virnucpro.models.ops import Plain

CPU = torch.device("cpu")
READS = {name: sequence[:120] for name, sequence in workloads.reads(6)}


def features_of(runner: ModelRunner) -> Tensor:
    """Features of both models and scores of READS, side by side: float32 (S, F + 2)."""
    (window,) = packing.windows_of(READS)
    result = runner.submit(FrontEnd(runner.config)[window]).result()
    assert not result.failures
    return torch.from_numpy(
        np.concatenate([result.features["esm2"], result.features["dnabert_s"], result.scores_S2], axis=1)
    )


@pytest.fixture(scope="module")
def expected(weights):
    """What `sdpa` gives in float32."""
    return features_of(ModelRunner(packing.recipe(weights), CPU))


def linears(runner: ModelRunner) -> list[nn.Linear]:
    models = runner.models["esm2"], runner.models["dnabert_s"]
    return [layer for model in models for layer in model.modules() if isinstance(layer, nn.Linear)]


class Naive:
    """Softmax(q k^T / sqrt(K) - slope |i - j|) v, one sequence after the other; counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, q_THK, k_THK, v_THK, pack, slopes_H=None):
        self.calls += 1
        parts = zip(*(part_THK.split(pack.lengths) for part_THK in (q_THK, k_THK, v_THK)))
        return torch.cat([self._one(*(part_NHK.transpose(0, 1) for part_NHK in one), slopes_H) for one in parts])

    def _one(self, q_HNK, k_HNK, v_HNK, slopes_H):
        logits_HNN = q_HNK @ k_HNK.transpose(1, 2) / math.sqrt(q_HNK.shape[-1])
        if slopes_H is not None:
            places_N = torch.arange(q_HNK.shape[1])
            logits_HNN = logits_HNN - slopes_H[:, None, None] * (places_N[:, None] - places_N).abs()
        return (logits_HNN.softmax(dim=-1).to(v_HNK.dtype) @ v_HNK).transpose(0, 1)


def test_a_new_backend_is_a_row(weights, expected, monkeypatch):
    naive = Naive()
    monkeypatch.setitem(BACKENDS, "naive", Backend("naive", lambda: naive))
    runner = ModelRunner(packing.recipe(weights, attention="naive"), CPU)
    assert runner.attention == "naive"
    assert_equal_within_float32(features_of(runner), expected)
    assert naive.calls == len(runner.models["esm2"].layers) + len(runner.models["dnabert_s"].layers)  # one pack each


def test_a_backend_that_cannot_run_is_refused_and_passed_over(monkeypatch):
    def in_august(device, precision, head_widths):
        return Unusable("runs in August only", "Wait.")

    picky = Backend("picky", Naive, (lambda *_: None, in_august))
    monkeypatch.setattr(attention, "BACKENDS", {"picky": picky, "sdpa": BACKENDS["sdpa"]})
    fp32 = PRECISIONS["fp32"]
    assert attention.choose("auto", CPU, fp32) == "sdpa"
    with pytest.raises(BadRequest, match=r"--attention picky cannot run here: runs in August only. Leave it to"):
        attention.choose("picky", CPU, fp32)


class Steps(Plain):
    """As kernels that are compiled: not `Plain`, but what it does; counts what is launched ahead."""

    launched = 0

    def launches(self, shape, rotary, precision, tensors):
        yield SimpleNamespace(run=self._run)

    def _run(self):
        self.launched += 1


def stubbed(monkeypatch) -> Naive:
    """The start of a GPU with `Steps`, an attention that compiles, and one that does not."""
    naive = Naive()
    monkeypatch.setattr(startup, "choose_ops", lambda *_: (Steps(), "steps"))
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setitem(BACKENDS, "naive", Backend("naive", lambda: naive, compiles=True))
    monkeypatch.setitem(BACKENDS, "broken", Backend("broken", lambda: 1 / 0, compiles=True))
    return naive


def test_a_start_compiles_what_compiles_and_tells_what_failed(weights, monkeypatch):
    naive = stubbed(monkeypatch)
    ops, description, failed = startup.warm_up(packing.recipe(weights, precision="bf16"), CPU)
    assert isinstance(ops, Steps) and description == "steps" and ops.launched == 2  # of each model
    assert naive.calls == 6  # three lengths for each model
    assert set(failed) == {"broken"}
    assert startup.warm_up(packing.recipe(weights, precision="fp32"), CPU)[2] == ()
    assert startup.warm_up(packing.recipe(weights, precision="bf16", attention="naive"), CPU)[2] == ()
    assert naive.calls == 12


def test_a_new_precision_is_a_row(weights, expected, monkeypatch):
    monkeypatch.setitem(PRECISIONS, "fp64", Precision("fp64", "float64", "float64", 8, 8))
    runner = ModelRunner(packing.recipe(weights, precision="fp64"), CPU)
    assert {parameter.dtype for parameter in runner.models["esm2"].parameters()} == {torch.float64}
    found = features_of(runner)
    assert not torch.equal(found, expected)
    assert_equal_within_float32(found, expected)


def test_a_precision_may_keep_the_weights_of_products_in_a_type_of_their_own(weights, monkeypatch):
    """A row, and a branch in the one op that multiplies by them."""
    rounded = ModelRunner(packing.recipe(weights), CPU)
    for layer in linears(rounded):
        layer.weight.data = layer.weight.bfloat16().float()
    monkeypatch.setitem(PRECISIONS, "w16", Precision("w16", "bfloat16", "float32", 2, 4))
    monkeypatch.setattr(
        Products, "linear", staticmethod(lambda x, layer: F.linear(x, layer.weight.to(x.dtype), layer.bias))
    )
    runner = ModelRunner(packing.recipe(weights, precision="w16"), CPU)
    assert {layer.weight.dtype for layer in linears(runner)} == {torch.bfloat16}
    assert runner.models["esm2"].embedding.weight.dtype == runner.models["esm2"].norm.weight.dtype == torch.float32
    assert torch.equal(features_of(runner), features_of(rounded))


def test_every_product_of_the_language_models_is_the_one_op(weights, monkeypatch):
    multiply, seen = Products.linear, []
    monkeypatch.setattr(Products, "linear", staticmethod(lambda x, layer: seen.append(layer) or multiply(x, layer)))
    runner = ModelRunner(packing.recipe(weights), CPU)
    monkeypatch.setattr(nn.Linear, "forward", forward := count_calls(nn.Linear.forward))
    features_of(runner)
    assert len(seen) == len(linears(runner)) and set(seen) == set(linears(runner))
    assert forward.calls == 2  # the classifier's


def count_calls(function):
    def counting(*arguments):
        counting.calls += 1
        return function(*arguments)

    counting.calls = 0
    return counting


def test_the_tables_are_sound():
    assert {GPU_PRECISION, CPU_PRECISION, REFERENCE_PRECISION, PUBLISHED_PRECISION} <= set(PRECISIONS)
    for row in PRECISIONS.values():
        assert torch_type(row.weights).itemsize == row.weight_bytes
        assert torch_type(row.activations).itemsize == row.activation_bytes
        assert row.wider in ("", *PRECISIONS) and row.wider != row.name
        # What is loaded passes from layer to layer in the same type, and is not made of others itself.
        loaded = row.loaded
        assert loaded.activations == row.activations and not loaded.quantised
    assert [name for name, row in PRECISIONS.items() if row.reduced] == ["bf16", "fp16", "int8"]
    assert [name for name, row in PRECISIONS.items() if row.quantised] == ["int8"]
