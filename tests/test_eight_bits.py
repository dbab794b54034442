"""8-bit products on the CPU, and what a device must have for them.

Axes: T tokens, I inputs, O outputs of a layer.
"""

import logging

import packing
import pytest
import torch
from torch import nn

from virnucpro.engine import model_runner, startup
from virnucpro.engine.startup import check_kernels, check_precision
from virnucpro.errors import BadRequest
from virnucpro.models.catalog import PRECISIONS
from virnucpro.models.linear import Int8Linear, Products
from virnucpro.models.ops import Plain

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
INT8 = PRECISIONS["int8"]
NO_COMPILER = (
    "--precision int8 cannot run on cuda:0: Triton cannot compile here (no C compiler). "
    "Install a C compiler (gcc) and Python's headers, or leave --precision out."
)
TOO_OLD = (
    "--precision int8 cannot run on cuda:0: its compute capability is 7.5, and 8.0 (Ampere) is needed. "
    "Leave --precision out."
)


def device_of(monkeypatch, capability, compiler):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(startup, "cannot_compile", lambda device: None if compiler else "no C compiler")


def check(precision=INT8, device=CUDA):
    """What a run asks, the first of it before anything is loaded."""
    check_precision(precision, device)
    check_kernels(precision, device)


@pytest.mark.parametrize(
    "capability, compiler, refusal",
    [
        ((7, 5), True, TOO_OLD),
        ((7, 5), False, TOO_OLD),  # a compiler would not help
        ((8, 0), False, NO_COMPILER),
        ((8, 0), True, None),
        ((9, 0), True, None),
    ],
)
def test_what_8_bits_need(monkeypatch, capability, compiler, refusal):
    device_of(monkeypatch, capability, compiler)
    if refusal is None:
        check()
        return
    with pytest.raises(BadRequest) as told:
        check()
    assert str(told.value) == refusal


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_other_precisions_ask_nothing_of_a_device(monkeypatch, caplog, name):
    device_of(monkeypatch, (3, 5), compiler=False)
    for device in (CUDA, CPU):
        check(PRECISIONS[name], device)
    assert not caplog.records


def test_the_cpu_takes_8_bits_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        check(INT8, CPU)
    (record,) = caplog.records
    assert record.getMessage() == ("8-bit products on the CPU are for checking: they are slower than --precision fp32.")


def test_a_device_that_cannot_is_refused_before_anything_is_loaded(weights, monkeypatch):
    device_of(monkeypatch, (7, 5), compiler=True)
    monkeypatch.setattr(model_runner, "LANGUAGE_MODELS", {})
    monkeypatch.setattr(model_runner, "warm_up", lambda *_: pytest.fail("something was compiled"))
    with pytest.raises(BadRequest, match=r"compute capability is 7\.5"):
        model_runner.ModelRunner(packing.recipe(weights, precision="int8"), CUDA)


def identity(count):
    layer = nn.Linear(count, count, bias=False).requires_grad_(False)
    layer.weight.copy_(torch.eye(count))
    return layer


def test_what_gelu_lets_pass_is_spread_within_blocks():
    root = 8**0.5
    x_TI = torch.tensor([[root * 10] + [0.0] * 15, [0.0] * 8 + [root * 10, root * 10] + [0.0] * 6, [-100.0] * 16])
    right = [
        [10.0] * 8 + [0.0] * 8,
        [0.0] * 8 + [20.0, 0.0] * 4,
        [0.0] * 16,
    ]
    found = Plain().linear_gelu(x_TI, identity(16), True)
    assert torch.allclose(found, torch.tensor(right), atol=1e-5)
    assert torch.allclose(Plain().linear_gelu(x_TI, identity(16)), x_TI.clamp_min(0), atol=1e-5)


def test_a_product_of_8_bit_numbers_by_eye():
    """Rows of x have scales 1 and 2, those of the weights 0.5 and 1."""
    layer = Int8Linear(torch.tensor([[63.5, 1.3], [-127.0, 3.0]]), torch.tensor([0.25, 1000.0]))
    assert layer.weight.tolist() == [[127, 3], [-127, 3]] and layer.scales_O.tolist() == [0.5, 1.0]
    x_TI = torch.tensor([[127.0, 2.4], [-254.0, 5.2]])  # as 8-bit numbers: (127, 2) and (-127, 3)
    assert Products.linear(x_TI, layer).tolist() == [
        [(127 * 127 + 2 * 3) * 0.5 + 0.25, -127 * 127 + 2 * 3 + 1000.0],
        [(-127 * 127 + 3 * 3) * 2 * 0.5 + 0.25, (127 * 127 + 3 * 3) * 2 + 1000.0],
    ]


@pytest.mark.parametrize("spoilt", [torch.nan, torch.inf, -torch.inf])
def test_a_row_that_is_not_finite_spoils_no_other(spoilt):
    generator = torch.Generator().manual_seed(0)
    layer = Int8Linear(torch.randn(5, 16, generator=generator), torch.randn(5, generator=generator))
    x_TI = torch.randn(3, 16, generator=generator)
    whole_TO = Products.linear(x_TI, layer)
    x_TI[1, 7] = spoilt
    found_TO = Products.linear(x_TI, layer)
    assert not found_TO[1].isfinite().any()
    assert torch.equal(found_TO[[0, 2]], whole_TO[[0, 2]])


def test_the_mean_of_the_inputs_takes_the_error_of_rounded_weights_out():
    """A product of the mean itself is then exact, but for the rounding of the mean to 8 bits."""
    weight_OI, mean_I = torch.tensor([[127.0, 0.4]]), torch.tensor([10.0, 127.0])
    plain, mended = Int8Linear(weight_OI, torch.zeros(1)), Int8Linear(weight_OI, torch.zeros(1), mean_I)
    exact = 1270 + 0.4 * 127
    assert float(Products.linear(mean_I[None], plain)) == 1270
    assert float(Products.linear(mean_I[None], mended)) == pytest.approx(exact, rel=1e-6)
