"""What 8-bit products cost, layer by layer: the passes, the arithmetic, and what is said of it."""

import json
import re

import numpy as np
import packing
import pytest
import torch
from conftest import ESM_8M
from packing import random_proteins
from test_parity import agreement

from virnucpro.diagnostics import layer_costs
from virnucpro.diagnostics.comparison import LayerCosts, relative_errors
from virnucpro.diagnostics.parity_report import _rows
from virnucpro.models import quantised_esm2
from virnucpro.models.catalog import PRECISIONS
from virnucpro.models.esm2 import load_esm2
from virnucpro.models.quantised_esm2 import KEPT, PRODUCTS, rotation
from virnucpro.reporting import pictures

pytestmark = pytest.mark.usefixtures("quantised_once", "brief_calibration")
CPU = torch.device("cpu")


@pytest.mark.parametrize("count, chosen", [(0, 0), (1, 1), (64, 64), (65, 33), (150, 50), (1000, 63)])
def test_some_are_spread_over_all(count, chosen):
    pieces = range(count)
    some = pieces[layer_costs.some(pieces)]
    assert len(some) == chosen and max(some, default=0) >= count - 2 * -(-count // 64)


def test_passes():
    nothing, *layers = layer_costs.passes(ESM_8M)
    assert nothing == [] and len(layers) == 6 + 4
    assert layers[5] == [(5, "qkv"), (5, "out"), (5, "fc1"), (5, "fc2")]
    assert layers[-1] == [(number, "fc2") for number in range(6)]


def test_relative_errors():
    one = np.array([[3, 4], [0, 5], [np.nan, 1], [0, 0]], np.float32)
    exact = np.array([[3, 4], [0, 4], [1, 1], [0, 0]], np.float32)
    assert relative_errors(one, exact) == pytest.approx([0, 0.25, np.nan, np.nan], nan_ok=True)


def test_costs_are_by_how_much_the_mean_error_falls():
    """Two layers; of three sequences the last failed once."""
    exact = np.ones((3, 1), np.float32)
    errors = [(0.2, 0.4, 0), (0.1, 0.3, 0), (0.2, 0.5, 0), *([(0.2, 0.4, 0)] * 3), (0.1, 0.4, np.nan)]
    features = [exact + np.array(each, np.float32)[:, None] for each in errors]
    costs = layer_costs.costs(features, exact)
    assert costs.sequences == 2 and costs.error == pytest.approx(0.3)
    assert costs.layers == pytest.approx([0.1, -0.05], abs=1e-6)
    assert costs.products == pytest.approx({"qkv": 0, "out": 0, "fc1": 0, "fc2": 0.05}, abs=1e-6)
    assert layer_costs.costs([exact * np.nan] * 7, exact) is None


@pytest.mark.parametrize("kept", [[], [(3, "fc1")], [(5, name) for name in PRODUCTS], [(n, "out") for n in range(6)]])
def test_to_put_products_back_is_to_quantise_without_them(weights, kept):
    model, proteins = load_esm2(weights / f"{ESM_8M}.pt", CPU, PRECISIONS["fp16"]), random_proteins([30, 5])
    likeness = quantised_esm2.quantised(model)
    before = packing.run_esm2(likeness, proteins)
    with layer_costs.keeping(kept, likeness, model, rotation(320).half()):
        found = packing.run_esm2(likeness, proteins)
    assert torch.equal(found, packing.run_esm2(quantised_esm2.quantised(model, (*KEPT, *kept)), proteins))
    assert torch.equal(packing.run_esm2(likeness, proteins), before)
    assert torch.equal(found, before) == (not kept)


PROTEINS = random_proteins([40, 60, 50])
DNA = [text * 5 for text in ("ATGGCCAAAGTTCTGGACATG", "GCGGGTCCAGACTTCCGG", "AAAGTTGCTCTGGACCAC")]


@pytest.mark.parametrize("kind, texts, pictures", [("protein", PROTEINS, 3), ("nucleotide", DNA, 5)])
def test_a_spoilt_product_costs_most(main, monkeypatch, tmp_path, kind, texts, pictures):
    """The whole command, with a product that keeps 3 of its 8 bits; the first and the last sequence tell."""

    plain = quantised_esm2.quantised

    def spoilt(model, kept=KEPT):
        likeness = plain(model, kept)
        product = likeness.layers[4].out
        product.weight = product.weight // 32 * 32
        return likeness

    monkeypatch.setattr(quantised_esm2, "quantised", spoilt)
    monkeypatch.setattr(layer_costs, "MOST", 2)
    path = tmp_path / "x.fa"
    path.write_text("".join(f">{number}\n{text}\n" for number, text in enumerate(texts)))
    run = ("parity", path, "--output-dir", tmp_path, "--esm-model", ESM_8M, "--precision", "int8", "--no-progress")
    main(*run, "--input-type", kind)
    found = json.loads((tmp_path / "parity_x.json").read_text())
    assert found["precision"] == "int8" and found["thresholds"]["min_cosine"] == 0.995
    costs = found["layer_costs"]
    rows = (tmp_path / "parity_x.tsv").read_text().splitlines()[1:]
    assert costs["sequences"] == sum(row[0] in "02" for row in rows) < len(rows) and len(costs["layers"]) == 6
    assert costs["error"] == pytest.approx(found["esm2_error"]["mean"], rel=0.3)
    assert np.argmax(costs["layers"]) == 4 and max(costs["products"], key=costs["products"].get) == "out"
    assert (tmp_path / "parity_x.html").read_text().count("<svg ") == pictures


def test_the_worst_five_are_named():
    summary = agreement([0.9], [0.9], [0]).summary()
    assert "cost of 8 bits" not in dict(_rows(summary))
    falls = [0.001, 0.004, -0.001, 0.002, 0.003, 0.0, 0.0005]
    costs = LayerCosts(50, 0.02, falls, dict(zip(PRODUCTS, (0.005, 0.004, 0.003, -0.002))))
    rows = [*_rows(summary | {"layer_costs": vars(costs)})]
    assert rows[-10:] == [
        ("cost of 8 bits", "mean error 2.00e-02 of 50 sequences; with these in 16 bits less by"),
        ("  layer 1", "4.0e-03 (20 %)"),
        ("  layer 4", "3.0e-03 (15 %)"),
        ("  layer 3", "2.0e-03 (10 %)"),
        ("  layer 0", "1.0e-03 (5 %)"),
        ("  layer 6", "5.0e-04 (2 %)"),
        ("  qkv, all layers", "5.0e-03 (25 %)"),
        ("  out, all layers", "4.0e-03 (20 %)"),
        ("  fc1, all layers", "3.0e-03 (15 %)"),
        ("  fc2, all layers", "-2.0e-03 (-10 %)"),
    ]


def test_columns_have_names_and_signs():
    svg = pictures.columns({str(number): 1 - number for number in range(48)}, ("layer", "%"))
    named = [int(text) for text in re.findall(r">(\d+)</text>", svg)]
    assert {0, 2, 46} <= {*named} and 47 not in named  # every second one, where all would touch
    assert pictures.FAST in svg and pictures.WORSE in svg
