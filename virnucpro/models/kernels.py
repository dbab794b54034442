"""Kernels: the launches that a language model makes, on few tokens: what has to be compiled before it runs.

No torch here, and no Triton until a launch is asked for. tests/test_gpu.py holds the list against what runs.

Axes: T tokens, D model width, I inputs, O outputs, H heads, K per head, J = K / 2; P tiles, or parts of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from virnucpro.models.catalog import Precision
from virnucpro.models.language_models import Shape
from virnucpro.models.launch import Launch

HOPPER = (9, 0)  # the compute capability that `hopper_kernel` is written for
SMALL = 1 << 22  # weights of a layer below which PyTorch's 16-bit product is at least as fast as ours on an H100
TOKENS = 80
LENGTHS = (64, 128, 256)  # of the longest sequence of a pack: attention has a kernel for each
EPS = 1e-5  # told at run time, so any will do
Tensors = Callable[..., Any]  # makes a tensor of torch's name of a type, and sizes


def forms(precision: Precision) -> tuple[Precision, ...]:
    """What a run computes in: with 8 bits also the precision in which it is audited."""
    return (precision, precision.loaded) if precision.quantised else (precision,)


def hopper_pays(precision: Precision, width: int) -> bool:
    """Whether a model of this width has a layer that `hopper_kernel` multiplies by."""
    return precision.quantised or (precision.reduced and 4 * width**2 >= SMALL)  # the MLP's layers are the largest


def probe(tensor: Tensors) -> Launch:
    """Give the launch that tells whether Triton can compile here at all."""
    from virnucpro.models import rows_kernel as rows

    x_TD, w_D = tensor("float16", 2, 32), tensor("float16", 32)
    return rows.add_norm(x_TD, x_TD, w_D, w_D, x_TD, x_TD, None, EPS)


def hopper_probe(tensor: Tensors, dtype: str, activations: str) -> Launch:
    """Give the launch of the product for Hopper, which is compiled once for a type of operands."""
    from virnucpro.models.hopper_finish import NOTHING
    from virnucpro.models.hopper_kernel import product

    x_TI, y_TO, some = tensor(dtype, 8, 64), tensor(activations, 8, 8), tensor("float32", 8)
    bias_O = some if dtype == "int8" else tensor(activations, 8)
    return product(x_TI, x_TI, y_TO, some, some, some, bias_O, some, some, some, False, NOTHING, 1)


@dataclass(frozen=True)
class Kernels:
    """The launches of one model, by groups."""

    shape: Shape
    rotary: bool  # whether it has ESM-2's layers, or DNABERT-S's
    precision: Precision
    hopper: bool
    tensor: Tensors

    def products(self) -> Iterator[Launch]:
        """List the matrix products that are not PyTorch's."""
        half, width = self.precision.activations, self.shape.width
        if self.rotary and self.hopper:
            for dtype in dict.fromkeys((self.precision.weights, half)):
                yield hopper_probe(self.tensor, dtype, half)
        elif self.rotary and self.precision.quantised:
            from virnucpro.models.product_kernel import product

            x_TI, y_TO = self.tensor("int8", TOKENS, width), self.tensor(half, TOKENS, width)
            weight_OI, some = self.tensor("int8", width, width), self.tensor("float32", max(TOKENS, width))
            for gelu in (False, True):
                yield product(x_TI, some, weight_OI, some, some, y_TO, gelu=gelu, spreads=gelu)

    def attention(self) -> Iterator[Launch]:
        """List attention for each of LENGTHS; nothing where the kernel cannot attend with heads of this width."""
        from virnucpro.models.attention_kernel import WIDTHS, attend

        heads, (width,) = self.shape.heads, self.shape.head_widths or (0,)
        x_THK, tiles_P3 = self.tensor(self.precision.activations, TOKENS, heads, width), self.tensor("int32", 1, 3)
        slopes_H = None if self.rotary else self.tensor("float32", heads)
        for longest in LENGTHS if width in WIDTHS else ():
            yield attend(x_THK, x_THK, x_THK, x_THK, tiles_P3, slopes_H, longest)

    def rows(self) -> Iterator[Launch]:
        """List what stands between products."""
        from virnucpro.models import rows_kernel as rows

        width, eight_bit, half = self.shape.width, self.precision.quantised, self.precision.activations
        x_TD, delta_TD = self.tensor(half, TOKENS, width), self.tensor(half, TOKENS, width)
        x_TF, w_D = self.tensor(half, TOKENS, 4 * width), self.tensor(half, width)
        scales_T = self.tensor("float32", TOKENS)
        if not self.rotary:
            yield rows.add_norm(x_TD, delta_TD, w_D, w_D, delta_TD, x_TD, None, EPS)
            yield rows.gated_gelu(self.tensor(half, TOKENS, 8 * width), x_TF)
            return

        def norm(added: bool, rounded: bool, weights: Any = None) -> Launch:
            """Norm the stream, to which a product was added at its own end, or is added now."""
            out, scales = (self.tensor("int8", TOKENS, width), scales_T) if rounded else (x_TD, None)
            delta, total = (None, x_TD) if added else (delta_TD, delta_TD)
            return rows.add_norm(x_TD, delta, weights, weights, total, out, scales, EPS)

        yield norm(added=True, rounded=False)  # before the first layer
        added = False
        for inputs, outputs in ((width, 4 * width), (4 * width, 3 * width)):  # of out, and of fc1; of fc2, and of qkv
            added = self._ends(width, inputs)
            if added and not eight_bit and self._ends(outputs, width):
                yield rows.moments(self.tensor("float32", TOKENS, -(-width // 64), 2), scales_T, scales_T, width, EPS)
            else:
                yield norm(added, eight_bit)
        yield norm(added, rounded=False, weights=None if eight_bit else w_D)  # after the last
        if eight_bit:
            for x_TI in (x_TD, x_TF):
                yield rows.quantise(x_TI, self.tensor("int8", *x_TI.shape), scales_T)
        elif not self._ends(4 * width, width):
            yield rows.gelu(x_TF, spreads=False)
        half_width = width // self.shape.heads // 2
        # The first layer's stays in 16 bits.
        if not (self._ends(3 * width, width, eight_bit=False) and 32 % half_width == 0 and width % 32 == 0):
            angles_TJ = self.tensor("float32", TOKENS, half_width)
            yield rows.rotate(self.tensor(half, TOKENS, 3 * width), angles_TJ, angles_TJ)

    def _ends(self, outputs: int, inputs: int, eight_bit: bool | None = None) -> bool:
        """Whether a product of this size is `hopper_kernel`'s, as `ops_hopper` decides."""
        eight_bit = self.precision.quantised if eight_bit is None else eight_bit
        return self.hopper and (eight_bit or outputs * inputs >= SMALL)

    groups = (products, attention, rows)  # the slowest to compile first
