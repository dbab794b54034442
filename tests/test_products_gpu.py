"""Products and what follows them, as `Fused` and `Hopper` compute them; all needs a GPU, `Hopper` one of 9.0.

Each is compared with PyTorch's own steps in float64 and in its type: it may err twice as much as these in that type,
which is flash-attention's own rule. Outliers are held to bounds of their own, for they must not excuse other tokens.

Axes: T tokens of a pack, D model width, J pairs of a head; I inputs and O outputs of a layer.
"""

from __future__ import annotations

import copy
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import packing
import pytest
import torch
import torch.nn.functional as F
from conftest import ESM_8M
from references import worst
from torch import Tensor, nn

from virnucpro.engine import startup
from virnucpro.engine.loader import FrontEnd
from virnucpro.engine.model_runner import ModelRunner
from virnucpro.models import attention
from virnucpro.models.attention import Attend
from virnucpro.models.esm2 import Esm2, bare, load_esm2
from virnucpro.models.linear import Activations, Int8Linear, Linear, Quantised, quantise
from virnucpro.models.ops import Ops, Plain, cannot_compile, cannot_run_on_hopper
from virnucpro.models.pack import Pack
from virnucpro.models.quantised_esm2 import quantised
from virnucpro.models.tensor_files import Unfilled

pytestmark = pytest.mark.gpu
CUDA = torch.device("cuda", 0)
FP16, BF16 = torch.float16, torch.bfloat16
FP16_ROW = packing.precision_of(FP16)
TOKENS = (1, 127, 128, 129, 300, 1026)
WIDTHS = {320: 20, 480: 20, 640: 20, 1280: 20, 2560: 40}  # heads of 16, 24, 32, 64 and 64 numbers
NUMBERS = {"fp16": (FP16, False), "bf16": (BF16, False), "int8": (FP16, True)}  # of activations; 8-bit products
OUTLIER, NOTHING, SPIKE = OUTLIERS = [3, 4, 5]  # tokens whose numbers are large, zeros, and large in one place
SPARE = 130  # rows behind what is given, of what must not be read


@pytest.fixture(params=["fused", "hopper"])
def ops(request, monkeypatch) -> Ops:
    """The steps, with the product for Hopper for small layers too."""
    if reason := cannot_compile(CUDA):
        pytest.skip(f"Triton cannot compile here ({reason})")
    if request.param == "fused":
        from virnucpro.models.ops_triton import Fused

        return Fused()
    if reason := cannot_run_on_hopper(CUDA, "float16"):
        pytest.skip(f"products for Hopper cannot be had here ({reason})")
    from virnucpro.models import kernels, ops_hopper

    monkeypatch.setattr(kernels, "SMALL", 0)
    return ops_hopper.Hopper()


@dataclass(frozen=True)
class Operands:
    """What a layer of ESM-2 is given: the residual stream, and inputs of products D and 4 D wide."""

    heads: int
    out: Linear  # D -> D
    qkv: Linear  # D -> 3 D
    fc1: Linear  # D -> 4 D
    fc2: Linear  # 4 D -> D
    norm: nn.LayerNorm
    x: Activations
    wide: Activations
    stream_TD: Tensor
    cos_TJ: Tensor
    sin_TJ: Tensor

    def rows(self, own: slice) -> Operands:
        """Some of the tokens, with rows behind them that would spoil what reads them."""
        names = ("x", "wide", "stream_TD", "cos_TJ", "sin_TJ")
        return replace(self, **{name: _part(getattr(self, name), own) for name in names})

    def exactly(self) -> Operands:
        """The same numbers in float64."""
        layers = {name: _exact_layer(getattr(self, name)) for name in ("out", "qkv", "fc1", "fc2")}
        norm = nn.LayerNorm(len(self.norm.weight), device=self.stream_TD.device, dtype=torch.double)
        norm.load_state_dict(self.norm.state_dict())
        x, wide = (
            each.values_TI.double() * each.scales_T.double()[:, None] if isinstance(each, Quantised) else each.double()
            for each in (self.x, self.wide)
        )
        return replace(self, **layers, norm=norm, x=x, wide=wide, stream_TD=self.stream_TD.double())


def before(tensor: Tensor) -> Tensor:
    """The tensor as the first rows of a larger one, whose others are NaN, or the largest of integers."""
    rows = len(tensor)
    larger = tensor.new_full((rows + SPARE, *tensor.shape[1:]), torch.nan if tensor.is_floating_point() else 127)
    larger[:rows] = tensor
    return larger[:rows]


def _part(given: Activations, own: slice) -> Activations:
    return Quantised(*(_part(each, own) for each in given)) if isinstance(given, Quantised) else before(given[own])


def _exact_layer(layer: Linear) -> nn.Linear:
    outputs, inputs = layer.weight.shape
    with Unfilled():
        exact = nn.Linear(inputs, outputs, device=layer.weight.device, dtype=torch.double).requires_grad_(False)
    exact.weight.copy_(layer.weight)
    if isinstance(layer, Int8Linear):
        exact.weight.mul_(layer.scales_O[:, None])
    exact.bias.copy_(layer.bias)
    return exact


def _with_outliers(x_TI: Tensor) -> Tensor:
    x_TI[OUTLIER] *= 1e4 / x_TI[OUTLIER].abs().amax()
    x_TI[NOTHING] = 0
    x_TI[SPIKE, 7] = 1e4
    return x_TI


@cache
def operands(numbers: str, width: int) -> Operands:
    """Of all TOKENS: random ones, and among them outliers and nothing at all."""
    dtype, eight = NUMBERS[numbers]
    generator = torch.Generator(CUDA).manual_seed(width)

    def random(rows: int, columns: int, scale: float = 1.0) -> Tensor:
        return (scale * torch.randn(rows, columns, generator=generator, device=CUDA)).to(dtype)

    def layer(outputs: int, inputs: int) -> Linear:
        weight_OI, bias_O = random(outputs, inputs, inputs**-0.5), random(1, outputs, 0.1)[0]
        if eight:
            eighth = Int8Linear(weight_OI, bias_O)
            eighth.weight, eighth.scales_O, eighth.bias = map(before, (eighth.weight, eighth.scales_O, eighth.bias))
            return eighth
        with Unfilled():
            whole = nn.Linear(0, 0)
        whole.weight, whole.bias = (nn.Parameter(before(part), requires_grad=False) for part in (weight_OI, bias_O))
        return whole

    def activations(columns: int) -> Tensor:
        x_TI = random(max(TOKENS), columns)
        return _with_outliers(x_TI)

    x, wide = activations(width), activations(4 * width)
    pairs = width // WIDTHS[width] // 2
    angles_TJ = torch.outer(
        torch.arange(max(TOKENS), device=CUDA), 10_000.0 ** -(torch.arange(pairs, device=CUDA) / pairs)
    )
    norm = nn.LayerNorm(width, device=CUDA, dtype=dtype).requires_grad_(False)
    norm.weight.copy_(1 + random(1, width, 0.1)[0])
    norm.bias.copy_(random(1, width, 0.1)[0])
    return Operands(
        WIDTHS[width], layer(width, width), layer(3 * width, width), layer(4 * width, width), layer(width, 4 * width),
        norm, quantise(x) if eight else x, quantise(wide) if eight else wide, 2 * random(max(TOKENS), width) + 1,
        angles_TJ.cos(), angles_TJ.sin(),
    )  # fmt: skip


def multiplied(ops: Ops, given: Operands) -> list[Tensor]:
    return [ops.linear(given.x, given.out)]


def activated(ops: Ops, given: Operands) -> list[Tensor]:
    return [ops.linear_gelu(given.x, given.fc1)]


def spread(ops: Ops, given: Operands) -> list[Tensor]:
    return [ops.linear_gelu(given.x, given.fc1, True)]


def rotated(ops: Ops, given: Operands) -> list[Tensor]:
    return [
        part.flatten(1) for part in ops.linear_rotated(given.x, given.qkv, given.heads, (given.cos_TJ, given.sin_TJ))
    ]


def added(ops: Ops, given: Operands) -> list[Tensor]:
    """A product is added to the stream, and all that a norm is followed by: MLP, attention, plain product."""
    x_TD, delta = ops.linear_onto(given.stream_TD.clone(), given.wide, given.fc2)
    x_TD, h_TD = ops.add_norm_for(given.fc1, x_TD, delta, bare(given.norm))
    given = replace(given, x=h_TD)
    return [x_TD, *activated(ops, given), *rotated(ops, given), *multiplied(ops, given)]


def last(ops: Ops, given: Operands) -> list[Tensor]:
    """A product is added to the stream, and the norm after it has weights."""
    x_TD, delta = ops.linear_onto(given.stream_TD.clone(), given.wide, given.fc2)
    return list(ops.add_norm(x_TD, delta, given.norm))


Step = Callable[[Ops, Operands], list[Tensor]]
STEPS: list[Step] = [multiplied, activated, spread, rotated, added, last]


@cache
def references(step: Step, numbers: str, width: int) -> tuple[list[Tensor], list[Tensor]]:
    """What is exact, and how far from it each row may be."""
    given = operands(numbers, width)
    exact, plain = step(Plain(), given.exactly()), step(Plain(), given)
    return exact, [_allowed(one, right) for one, right in zip(plain, exact, strict=True)]


def _allowed(plain: Tensor, exact: Tensor) -> Tensor:
    """Twice the error of the plain steps in the worst row; of an outlier in its own, or in the rounding of its largest.

    One row has too few numbers for the rule: the error of the largest may happen to be small.
    """
    error_T = (plain - exact).abs().amax(dim=1)
    rounding_T = torch.finfo(plain.dtype).eps / 2 * exact.abs().amax(dim=1)
    usual_T = torch.ones_like(error_T, dtype=torch.bool)
    usual_T[OUTLIERS] = False
    worst_usual = error_T[usual_T].amax()
    return 2 * torch.where(usual_T, worst_usual, torch.maximum(error_T, rounding_T).clamp_min(worst_usual))


def check(found: list[Tensor], step: Step, numbers: str, width: int, own: slice) -> None:
    for number, (one, right, allowed_T) in enumerate(zip(found, *references(step, numbers, width), strict=True)):
        assert one.dtype == NUMBERS[numbers][0] and one.shape == right[own].shape
        excess_T = (one - right[own]).abs().amax(dim=1) - allowed_T[own]
        assert excess_T.max() <= 0, f"output {number}, token {int(excess_T.argmax())}"  # not met by NaN either


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("numbers", NUMBERS)
@torch.inference_mode()
def test_a_product_errs_little_more_than_the_plain_one(ops, numbers, width, step):
    for tokens in TOKENS:
        own = slice(0, tokens)
        check(step(ops, operands(numbers, width).rows(own)), step, numbers, width, own)


@pytest.mark.parametrize("width", WIDTHS)
@torch.inference_mode()
def test_an_8_bit_product_is_exact_but_for_one_rounding(ops, width):
    """Of a float32 sum of a few terms, whose own rounding is far smaller, to the type of activations."""
    given = operands("int8", width)
    (exact,) = multiplied(Plain(), given.exactly())
    terms = (exact - given.out.bias).abs() + given.out.bias.abs()
    half, single = torch.finfo(FP16), torch.finfo(torch.float32)
    allowed = half.eps / 2 * (exact.abs() + half.smallest_normal) + 4 * single.eps * terms
    for found in (*multiplied(ops, given), *multiplied(Plain(), given)):
        assert ((found - exact).abs() <= allowed).all()


@pytest.mark.parametrize("dtype", [FP16, BF16])
@torch.inference_mode()
def test_gelu_of_every_number(ops, dtype):
    """The numbers are products with 1, and held to one rounding each and what `gelu` promises, with room."""
    every = torch.arange(1 << 16, device=CUDA, dtype=torch.int32).to(torch.int16).view(dtype)
    x_TI = every[every.abs() < 2.0**100].unflatten(0, (-1, 64))  # beyond, PyTorch's own overflows
    with Unfilled():
        layer = nn.Linear(0, 0)
    layer.weight, layer.bias = (
        nn.Parameter(part, requires_grad=False)
        for part in (torch.eye(64, device=CUDA, dtype=dtype), torch.zeros(64, device=CUDA, dtype=dtype))
    )
    exact, limits = F.gelu(x_TI.double()), torch.finfo(dtype)
    allowed = limits.eps / 2 * (exact.abs() + limits.smallest_normal) + 1e-6
    assert ((ops.linear_gelu(x_TI, layer) - exact).abs() <= allowed).all()


@torch.inference_mode()
def test_a_stream_is_written_to_in_its_own_rows_alone(ops):
    for numbers in NUMBERS:
        given = operands(numbers, 640).rows(slice(0, 129))
        larger_TD = torch.full((129 + SPARE, 640), torch.nan, device=CUDA, dtype=NUMBERS[numbers][0])
        larger_TD[:129] = given.stream_TD
        ops.add_norm_for(given.fc1, *ops.linear_onto(larger_TD[:129], given.wide, given.fc2), bare(given.norm))
        assert larger_TD[:129].isfinite().all() and larger_TD[129:].isnan().all()


def unquantised(numbers: str, width: int) -> Operands:
    """As `operands`, but what 8-bit products multiply is left for them to round."""
    given = operands(numbers, width)
    if not NUMBERS[numbers][1]:
        return given
    sixteen = operands("fp16", width)
    return replace(given, x=sixteen.x, wide=sixteen.wide)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
@pytest.mark.parametrize("numbers", NUMBERS)
@torch.inference_mode()
def test_a_row_that_is_not_a_number_spoils_no_other(ops, numbers, step):
    given = unquantised(numbers, 640).rows(slice(0, 300))
    before_spoiling = step(ops, given)
    for changed in (0, 127, 128, 299):
        x, wide = given.x.clone(), given.wide.clone()
        x[changed, 5] = wide[changed, 5] = torch.nan
        for one, other in zip(step(ops, replace(given, x=x, wide=wide)), before_spoiling, strict=True):
            assert one[changed].isnan().all()
            others = torch.arange(300, device=CUDA) != changed
            assert torch.equal(one[others], other[others])


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
@pytest.mark.parametrize("numbers", NUMBERS)
@torch.inference_mode()
def test_a_row_does_not_depend_on_company_to_the_last_bit(ops, numbers, step):
    if numbers != "int8" and type(ops).__name__ == "Fused":
        pytest.skip("PyTorch's own 16-bit product has another kernel for another number of tokens")
    given = unquantised(numbers, 640)
    whole = step(ops, given)
    for own in (slice(0, 1026), slice(0, 3), slice(126, 131), slice(257, 258), slice(1000, 1026)):
        for one, other in zip(step(ops, given.rows(own)), whole, strict=True):
            assert torch.equal(one, other[own])


@pytest.mark.parametrize("width", [480, 2560, 10240])
@torch.inference_mode()
def test_numbers_are_rounded_to_8_bits_as_plainly(ops, width):
    """But for halves, which a division that is not exact may put on either side, and which are rare."""
    from virnucpro.models import ops_triton

    generator = torch.Generator(CUDA).manual_seed(0)
    x_TI = torch.randn(70, width, generator=generator, device=CUDA).to(FP16)
    x_TI = _with_outliers(x_TI)
    x_TI[6, 7], x_TI[7, 7], x_TI[8, 7] = torch.nan, torch.inf, -torch.inf
    cases = [(ops_triton.quantised(x_TI), quantise(x_TI))]
    if width <= 2560:  # no norm is wider
        layer = Int8Linear(torch.zeros(8, width, device=CUDA, dtype=FP16), torch.zeros(8, device=CUDA, dtype=FP16))
        norm = nn.LayerNorm(width, elementwise_affine=False)
        x_TD, normed = ops.add_norm_for(layer, x_TI.clone(), None, norm)
        assert torch.equal(x_TD.nan_to_num(), x_TI.nan_to_num())
        cases.append((normed, quantise(Plain.add_norm(x_TI.float(), None, norm)[1])))
    finite_T = torch.ones(70, device=CUDA, dtype=torch.bool)
    finite_T[6:9] = False
    for found, right in cases:
        assert (found.values_TI.dtype, found.scales_T.dtype) == (torch.int8, torch.float32)
        assert found.scales_T[6].isnan() and not found.scales_T[7:9].isfinite().any()
        assert torch.allclose(found.scales_T[finite_T], right.scales_T[finite_T], rtol=1e-5, atol=0)
        apart = (found.values_TI.int() - right.values_TI.int())[finite_T].abs()
        assert apart.max() <= 1 and apart.float().mean() < 1e-3


@pytest.fixture(scope="module")
def eight_bits(weights) -> Esm2:
    """The 8M model's 8-bit likeness."""
    return quantised(load_esm2(weights / f"{ESM_8M}.pt", CUDA, FP16_ROW))


def packs() -> Iterator[Pack]:
    """The longest protein that there is and shorter ones, ragged packs, and a single token."""
    rng = random.Random(0)
    for lengths in ((1026, 166, 166, 40, 3), (300, 100, 7), (129,), (3, 1), (1,)):
        yield packing.pack_of([[rng.randrange(4, 24) for _ in range(length)] for length in lengths], CUDA)


def encoded(model: Esm2, attend: Attend, ops: Ops) -> Tensor:
    """Representations of all tokens of `packs`: float32 (T, D)."""
    return torch.cat([model(pack, attend, ops).float() for pack in packs()])


@torch.inference_mode()
def test_the_8_bit_model_errs_little_more_than_with_plain_steps(eight_bits, ops):
    """Than with the same 8-bit numbers in float32, where only what is rounded to 8 bits is rounded."""
    attend = attention.BACKENDS[backend_or_skip()].load()
    exactly = copy.deepcopy(eight_bits).float()
    for layer in exactly.modules():
        if isinstance(layer, Int8Linear):
            layer.dtype = torch.float32
    exact = encoded(exactly, attention.sdpa, Plain())
    plain = encoded(eight_bits, attention.sdpa, Plain())
    found = encoded(eight_bits, attend, ops)
    assert found.isfinite().all()
    assert 0 < worst(found - exact) <= 2 * worst(plain - exact)
    assert torch.equal(encoded(eight_bits, attend, ops), found)


def backend_or_skip() -> str:
    if cause := attention.unusable("triton", CUDA, FP16_ROW, [16]):
        pytest.skip(f"--attention triton {cause.reason}")
    return "triton"


@pytest.fixture
def chosen(ops, monkeypatch) -> Ops:
    """A start chooses these steps."""
    monkeypatch.setattr(startup, "choose_ops", lambda *_: (ops, "chosen"))
    return ops


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_start_compiles_all_that_a_run_needs(weights, chosen, monkeypatch, precision):
    """A kernel that is compiled at the first window, or the first of an odd number of tokens, stalls the device."""
    import triton
    from triton.runtime import JITFunction

    for module in [module for name, module in sys.modules.items() if name.startswith("virnucpro.models.")]:
        for kernel in vars(module).values():
            if isinstance(kernel, JITFunction):
                kernel.device_caches.clear()  # what other tests have compiled
    runner = ModelRunner(packing.recipe(weights, "protein", precision=precision, attention="triton"), CUDA)
    assert runner.ops is chosen
    late = []
    monkeypatch.setattr(triton.knobs.runtime, "jit_cache_hook", lambda **told: late.append(told["fn"].name))
    for lengths in ([166] * 8, [167, 90, 81], [1024, 300, 99]):
        proteins = {f"p{i}": protein for i, protein in enumerate(packing.random_proteins(lengths))}
        (window,) = packing.windows_of(proteins, "protein")
        assert not runner.submit(FrontEnd(runner.config)[window]).result().failures
    assert late == []


def test_an_8_bit_run_takes_an_empty_window(weights, chosen):
    runner = ModelRunner(packing.recipe(weights, "protein", precision="int8"), CUDA)
    for sequence, count in (("*", 0), ("MKVLAAGIVG", 1)):
        (window,) = packing.windows_of({"p": sequence}, "protein")
        result = runner.submit(FrontEnd(runner.config)[window]).result()
        assert (result.sequences, result.failures) == (count, {})


def test_weights_that_are_not_finite_are_told_in_8_bits(weights, chosen, tmp_path):
    spoilt = shutil.copytree(weights, tmp_path / "weights")
    packing.spoil_esm2(spoilt / f"{ESM_8M}.pt")
    runner = ModelRunner(packing.recipe(spoilt, "protein", precision="int8"), CUDA)
    (window,) = packing.windows_of({"a": "MKVLAAGIVG", "b": "MA"}, "protein")
    reason = "features are not finite in int8 (try --precision fp16)"
    assert runner.submit(FrontEnd(runner.config)[window]).result().failures == {0: reason, 1: reason}
