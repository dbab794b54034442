"""What decides about speed and needs no clock: the same on every machine, so that CI sees it get worse on a CPU."""

from __future__ import annotations

import pytest
import torch

from benchmarks import exact
from benchmarks.support import inputs

# As of version 2.0, which is held. Packs and padding are those of the 10,000 proteins in a GPU's windows.
PACKS, PADDING = 135, 0.577  # %
# 10^9 for a protein of the small workload: the products of ESM-2 8M, and attention over its own tokens.
OPERATIONS = 3.1651
WAITS = 1.2  # of the host for a window


@pytest.fixture
def small(weights, monkeypatch):
    """The small workload, on the tests' own weights."""
    work = inputs.WORKLOADS["cpu-small"]
    monkeypatch.setattr(inputs, "weights", lambda _: weights)
    return work


def test_no_more_packs_nor_padding_than_there_were():
    found = exact.packing()
    assert found["packs"] <= PACKS and found["padding"] <= PADDING
    assert found["padding"] == pytest.approx(PADDING, abs=1e-3), "better: write down what holds now"


def test_no_more_arithmetic_nor_waits_than_there_were(small):
    found = exact.counted(small, exact.SAMPLE)
    assert found["operations"] == pytest.approx(OPERATIONS, abs=1e-4)
    assert found["waits"] <= WAITS


def test_what_makes_it_worse_is_seen(small, monkeypatch):
    """Packs that are half empty, and a model that reads each number back."""
    from virnucpro.engine import loader, model_runner

    pack = loader.pack
    monkeypatch.setattr(loader, "pack", lambda lengths_S, budget: pack(lengths_S, budget // 2))
    worse = exact.packing()
    assert worse["packs"] > 2 * PACKS * 0.95 and worse["padding"] > 40
    monkeypatch.setattr(loader, "pack", pack)
    run = model_runner.ModelRunner._run

    def waiting(self, model, means, pack, order_N, features_SD, failures):
        run(self, model, means, pack, order_N, features_SD, failures)
        features_SD.sum().item()
        torch.nn.functional.linear(features_SD, torch.ones(10_000, features_SD.shape[1]))

    monkeypatch.setattr(model_runner.ModelRunner, "_run", waiting)
    found = exact.counted(small, exact.SAMPLE)
    assert found["waits"] > WAITS and found["operations"] > OPERATIONS
