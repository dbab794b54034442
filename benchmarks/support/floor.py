"""Floor: the matrix products of ESM-2 alone, sustained, on the model's own weights; no way to embed is faster in that
precision. What is left out is attention, normalisation, GELU and everything before and after the model."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.support.inputs import Workload

WARM_UP = 24  # packs that are not counted: until the GPU has come down to its power limit
MOST, MOST_ON_CPU = 48, 8  # packs that are timed; more take as long each
NAME = "encoder.sentence_encoder.layers.{layer}.{part}.weight"
# Of a layer: the parts whose weights are one product's, in a row, and whether its input comes out of GELU.
PRODUCTS = [
    (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), False), (("self_attn.out_proj",), False),
    (("fc1",), False), (("fc2",), True),
]  # fmt: skip


def products_seconds(work: Workload, path: Path, tokens: int, precision: str) -> float:
    """Seconds for so many tokens, in packs of the workload's token budget (T), layer after layer.

    Args:
        path: The checkpoint of fair-esm. precision: "fp16" or "fp32".
    """
    import torch
    import torch.nn.functional as F

    kind = {"fp16": torch.float16, "fp32": torch.float32}[precision]
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(path, weights_only=True, mmap=True)["model"]
    layers = 1 + max(int(name.split(".layers.")[1].split(".")[0]) for name in content if ".layers." in name)

    def weight(layer: int, parts: tuple[str, ...]) -> torch.Tensor:
        found = [content[NAME.format(layer=layer, part=part)].to(work.device, kind) for part in parts]
        return torch.cat(found)  # (out, in)

    weights = [[(weight(layer, parts), after) for parts, after in PRODUCTS] for layer in range(layers)]
    width, budget = weights[0][0][0].shape[1], work.token_budget
    x_TD = torch.randn(budget, width, device=work.device).to(kind)  # as LayerNorm leaves it
    y_TF = F.gelu(torch.randn(budget, 4 * width, device=work.device)).to(kind)
    out = {each.shape[0]: torch.empty(budget, each.shape[0], device=work.device, dtype=kind) for each, _ in weights[0]}

    def finish() -> None:
        if work.device != "cpu":
            torch.cuda.synchronize()

    def run(packs: int) -> float:
        finish()
        begun = time.perf_counter()
        for _ in range(packs):
            for layer in weights:
                for each, after in layer:
                    torch.mm(y_TF if after else x_TD, each.t(), out=out[each.shape[0]])
        finish()
        return time.perf_counter() - begun

    if work.device != "cpu":
        run(WARM_UP)
    packs = min(MOST_ON_CPU if work.device == "cpu" else MOST, -(-tokens // budget))
    return run(packs) * tokens / (packs * budget)
