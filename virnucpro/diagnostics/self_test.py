"""Self-test: this machine's arithmetic against a float32 reference, in the layers a run would use. No weights needed.

Two layers of each model, in the chosen ESM-2's width, with random weights: the way a run computes them (low precision,
the chosen attention, packed), and plainly (PyTorch's own steps, one sequence at a time) in float32. What the plain way
errs in the same low precision is what is allowed, twice: flash-attention's own rule. FP32 is checked against float64.

Axes: S sequences, D width.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn

from virnucpro.models import attention
from virnucpro.models.catalog import ESM2_SIZES, PRECISIONS, REFERENCE_PRECISION, Precision
from virnucpro.models.dnabert_s import Dnabert, alibi_slopes, dna_means
from virnucpro.models.dnabert_s_checkpoint import DnabertShape
from virnucpro.models.esm2 import Esm2, protein_means, rotary_tables
from virnucpro.models.esm2_checkpoint import Esm2Shape
from virnucpro.models.linear import prepare
from virnucpro.models.ops import Ops, Plain, choose_ops
from virnucpro.models.pack import Pack
from virnucpro.models.tensor_files import State, Unfilled, fill, to_device
from virnucpro.models.tokens import VOCABULARY

LAYERS = 2
FLOAT64 = Precision("fp64", "float64", "float64", 8, 8)  # the reference where none of fewer bits would do
DNABERT_S_SHAPE = DnabertShape(LAYERS, 768, 12, 3072, 4096, 1e-12)
# Tokens of the sequences: the smallest, ones of a frame of 300 and 500 bp, and on a GPU the longest.
LENGTHS = {"cuda": (3, 20, 102, 168, 168, 400, 1026), "cpu": (3, 20, 102)}
FLOOR = 1e-6  # of what is allowed: rounding of the means themselves


@dataclass(frozen=True)
class Result:
    """Of one model. error: largest difference to the reference, in units of the features' standard deviation."""

    model: str
    attention: str
    error: float
    allowed: float
    seconds: float

    @property
    def passed(self) -> bool:
        return self.error <= self.allowed  # False for NaN


@torch.inference_mode()
def self_test(esm_model: str, device: torch.device, precision: str, asked: str = "auto") -> list[Result]:
    """Run both models.

    Args:
        esm_model: A key of `ESM2_SIZES`.
        precision, asked: As --precision and --attention; the first not "auto".
    Raises:
        BadRequest: The attention asked for cannot run here. RuntimeError: The device fails.
    """
    layers, width, heads = ESM2_SIZES[esm_model]
    shape = Esm2Shape(min(LAYERS, layers), width, heads)
    with Unfilled():
        esm2, dnabert = Esm2(shape), Dnabert(DNABERT_S_SHAPE)
    head_width = width // heads
    tables = rotary_tables(10000 ** -(torch.arange(0, head_width, 2).float() / head_width))
    slopes_H = torch.tensor(alibi_slopes(DNABERT_S_SHAPE.heads))
    run = device, PRECISIONS[precision], asked
    return [
        _tested("ESM-2", esm2, {"cos": tables[0], "sin": tables[1]}, protein_means, VOCABULARY, *run),
        _tested("DNABERT-S", dnabert, {"slopes_H": slopes_H}, dna_means, DNABERT_S_SHAPE.vocabulary, *run),
    ]


def _tested(
    name: str, model: nn.Module, buffers: dict[str, Tensor], means: Callable[[Tensor, Pack], Tensor], vocabulary: int,
    device: torch.device, precision: Precision, asked: str,
) -> Result:  # fmt: skip
    begun = time.perf_counter()
    reference = PRECISIONS[REFERENCE_PRECISION] if precision.reduced else FLOAT64
    state = _random_state(model, device)
    rng = random.Random(0)
    lengths = LENGTHS[device.type]
    ids = [torch.tensor([rng.randrange(vocabulary) for _ in range(length)], device=device) for length in lengths]
    alone = [_pack([one]) for one in ids]
    head_width = model.shape.width // model.shape.heads
    chosen = attention.choose(asked, device, precision, [head_width])
    fused, _ = choose_ops(device)

    def run(numbers: Precision, packs: list[Pack], backend: str, ops: Ops) -> Tensor:
        fill(model, to_device(state, device, numbers))
        prepare(model, numbers)
        for key, value in buffers.items():  # FP32 whatever the weights are, as in a run
            setattr(model, key, value.to(device))
        attend = attention.make(backend, ops)
        return torch.cat([means(model(pack, attend, ops), pack) for pack in packs])

    reference_SD = run(reference, alone, "sdpa", Plain())
    plainly_SD = run(precision, alone, "sdpa", Plain())
    ours_SD = run(precision, [_pack(ids)], chosen, fused)
    spread = reference_SD.std()
    error = ((ours_SD - reference_SD).abs().max() / spread).item()
    allowed = 2 * ((plainly_SD - reference_SD).abs().max() / spread).item() + FLOOR
    return Result(name, chosen, error, allowed, time.perf_counter() - begun)


def _random_state(model: nn.Module, device: torch.device) -> State:
    """Random weights under which activations keep their size from layer to layer; FP16 numbers, as published ones."""
    generator = torch.Generator(device).manual_seed(0)
    state = {}
    for key, value in model.state_dict().items():
        tensor = torch.randn(value.shape, generator=generator, device=device)
        if value.ndim == 2:
            tensor /= value.shape[1] ** 0.5
        else:
            tensor = 0.1 * tensor + (1.0 if "norm" in key and key.endswith("weight") else 0.0)
        state[key] = tensor.half().float()
    return state


def _pack(ids: list[Tensor]) -> Pack:
    lengths = tuple(len(one) for one in ids)
    edges = [0, *accumulate(lengths)]
    return Pack(torch.cat(ids), torch.tensor(edges, dtype=torch.int32, device=ids[0].device), lengths)
