"""Which steps of a layer a CUDA device gets, told without one."""

import sys
from types import SimpleNamespace

import pytest
import torch

from virnucpro.models import ops
from virnucpro.models.catalog import PRECISIONS

CUDA = torch.device("cuda", 0)


@pytest.fixture
def asked(monkeypatch):
    """A GPU for which all can be compiled; what products for Hopper were compiled for."""
    types = []
    monkeypatch.setattr(ops, "cannot_compile", lambda device: None)
    monkeypatch.setattr(ops, "cannot_run_on_hopper", lambda device, activations: types.append(activations))
    for module, name in (("ops_triton", "Fused"), ("ops_hopper", "Hopper")):
        fake = SimpleNamespace(**{name: lambda name=name: name})
        monkeypatch.setitem(sys.modules, f"virnucpro.models.{module}", fake)
    return types


@pytest.mark.parametrize(
    "precision, width, chosen, types",
    [
        ("fp32", 5120, "Fused", []),
        ("fp16", 768, "Fused", []),  # no layer has so many weights that they pay
        ("fp16", 1280, "Hopper", ["float16"]),
        ("bf16", 2560, "Hopper", ["bfloat16"]),
        ("int8", 320, "Hopper", ["float16"]),  # of which some products stay
    ],
)
def test_products_for_hopper_are_compiled_where_a_layer_is_multiplied_by_them(asked, precision, width, chosen, types):
    assert ops.choose_ops(CUDA, PRECISIONS[precision], width)[0] == chosen
    assert asked == types


def test_where_products_for_hopper_cannot_be_had_the_reason_is_told(asked, monkeypatch):
    monkeypatch.setattr(ops, "cannot_run_on_hopper", lambda device, activations: "no Gluon")
    assert ops.choose_ops(CUDA, PRECISIONS["fp16"], 2560) == (
        "Fused",
        "fused steps in Triton (those for Hopper need another GPU or Triton: no Gluon)",
    )
