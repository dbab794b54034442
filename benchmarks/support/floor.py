"""Floor: the matrix products of ESM-2 alone, sustained, on the model's own weights; no way to embed is faster in that
precision. What is left out is attention, normalisation, GELU and everything before and after the model.

Axes: T tokens of a pack, D model width, F = 4 D, I inputs and O outputs of a product.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.support.package_api import int8_product

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.support.inputs import Workload

WARM_UP = 24  # packs that are not counted: until the GPU has come down to its power limit
MOST, MOST_ON_CPU = 48, 8  # packs that are timed; more take as long each
NAME = "encoder.sentence_encoder.layers.{layer}.{part}.weight"
# Of a layer: the parts whose weights are one product's, in a row, and whether its input comes out of GELU.
PRODUCTS = [
    (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), False), (("self_attn.out_proj",), False),
    (("fc1",), False), (("fc2",), True),
]  # fmt: skip


class Way(NamedTuple):
    """A way to multiply: how weights and inputs become its operands, and the product of these."""

    layer: Callable[[Tensor], Any]
    operand: Callable[[Tensor], Any]
    product: Callable[[Any, Any], Any]


class Scaled(NamedTuple):
    """8-bit floating point numbers with a scale for each row."""

    values_TI: Tensor
    scales_T1: Tensor


def cublas() -> Way:
    import torch.nn.functional as F

    return Way(lambda weight_OI: weight_OI, lambda x_TI: x_TI, F.linear)


def fp8() -> Way:
    """PyTorch's product of FP8 with a scale for each token and each output."""
    import torch

    def scaled(x_TI: Tensor) -> Scaled:
        scales_T1 = x_TI.float().abs().amax(dim=1, keepdim=True) / torch.finfo(torch.float8_e4m3fn).max
        return Scaled((x_TI / scales_T1).to(torch.float8_e4m3fn), scales_T1)

    def product(x_TI: Scaled, layer: Scaled) -> Tensor:
        return torch._scaled_mm(
            x_TI.values_TI, layer.values_TI.t(), scale_a=x_TI.scales_T1, scale_b=layer.scales_T1.t(),
            out_dtype=torch.bfloat16, use_fast_accum=True,
        )  # fmt: skip

    return Way(scaled, scaled, product)


def int8(device: str) -> Way:
    """The package's own product."""
    return Way(*int8_product(device))


def ways(device: str, precision: str) -> dict[str, Way]:
    """Those by which products of that precision can be made here."""
    import torch

    if precision != "int8":
        return {"cublas": cublas()}
    way, weight_OI = fp8(), torch.ones(64, 64, device=device, dtype=torch.float16)
    try:
        way.product(way.operand(weight_OI), way.layer(weight_OI))
    except (RuntimeError, ValueError) as error:  # of another GPU, or another PyTorch
        print(f"There are no products of FP8 with a scale for each row here: {str(error).splitlines()[0]}")
        return {"own": int8(device)}
    return {"fp8": way, "own": int8(device)}


def floors(work: Workload, path: Path, packs: list[int], precision: str) -> dict[str, float]:
    """Seconds for all of these packs by each way that there is here, one after the other.

    Args:
        path: The checkpoint of fair-esm. packs: Tokens of each. precision: "fp16", "fp32" or "int8".
    """
    return {name: seconds(work, path, packs, precision, way) for name, way in ways(work.device, precision).items()}


def seconds(work: Workload, path: Path, packs: list[int], precision: str, way: Way) -> float:
    """Of one way, layer after layer; of many packs for some, evenly from the first to the last."""
    import torch
    import torch.nn.functional as F

    on_cpu = work.device == "cpu"
    dtype = torch.float32 if precision == "fp32" else torch.float16
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(path, weights_only=True, mmap=True)["model"]
    layers = 1 + max(int(name.split(".layers.")[1].split(".")[0]) for name in content if ".layers." in name)

    def weight(layer: int, parts: tuple[str, ...]) -> Tensor:
        found = [content[NAME.format(layer=layer, part=part)].to(work.device, dtype) for part in parts]
        return torch.cat(found)  # (O, I)

    products = [(way.layer(weight(layer, parts)), after) for layer in range(layers) for parts, after in PRODUCTS]
    width, most = content[NAME.format(layer=0, part="fc1")].shape[1], max(packs)
    x_TD = way.operand(torch.randn(most, width, device=work.device).to(dtype))  # as LayerNorm leaves it
    y_TF = way.operand(F.gelu(torch.randn(most, 4 * width, device=work.device)).to(dtype))
    timed = packs[:: -(-len(packs) // (MOST_ON_CPU if on_cpu else MOST))]
    operands = {tokens: (_first(x_TD, tokens), _first(y_TF, tokens)) for tokens in timed}

    def finish() -> None:
        if not on_cpu:
            torch.cuda.synchronize()

    def run(packs: list[int]) -> float:
        finish()
        begun = time.perf_counter()
        for tokens in packs:
            for layer, after in products:
                way.product(operands[tokens][after], layer)
        finish()
        return time.perf_counter() - begun

    if not on_cpu:
        run((timed * WARM_UP)[:WARM_UP])
    return run(timed) * sum(packs) / sum(timed)


def _first(operand: Any, tokens: int) -> Any:
    """The operand of the first tokens."""
    return type(operand)(*(part[:tokens] for part in operand)) if isinstance(operand, tuple) else operand[:tokens]
