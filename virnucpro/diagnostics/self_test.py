"""Self-test: this machine's arithmetic against a float32 reference, in the layers a run would use. No weights needed.

Two layers of each model, in the chosen ESM-2's width, with random weights: the way a run computes them (low precision,
the chosen attention, packed), and plainly (PyTorch's own steps, one sequence at a time) in float32. What the plain way
errs in the same low precision is what is allowed, twice: flash-attention's own rule. FP32 is checked against float64.

Axes: S sequences, D width.
"""

from __future__ import annotations

import random
import time
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn

from virnucpro.models import attention
from virnucpro.models.catalog import PRECISIONS, REFERENCE_PRECISION, Precision
from virnucpro.models.language_models import LANGUAGE_MODELS, LanguageModel
from virnucpro.models.ops import Ops, Plain, choose_ops
from virnucpro.models.pack import Pack
from virnucpro.models.tensor_files import State, fill
from virnucpro.models.upload import to_device

LAYERS = 2
FLOAT64 = Precision("fp64", "float64", "float64", 8, 8)  # the reference where none of fewer bits would do
# Tokens of the sequences: the smallest, ones of a frame of 300 and 500 bp, and on a GPU the longest.
LENGTHS = {"cuda": (3, 20, 102, 168, 168, 400, 1026), "cpu": (3, 20, 102)}
FLOOR = 1e-6  # of what is allowed: rounding of the means themselves


@dataclass(frozen=True)
class Result:
    """How a model passed. error: largest difference to the reference, in units of the features' standard deviation."""

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
    """Run all language models.

    Args:
        esm_model: A key of `ESM2_SIZES`.
        precision, asked: As --precision and --attention; the first not "auto".
    Raises:
        BadRequest: The attention asked for cannot run here. RuntimeError: The device fails.
    """
    # Triton's kernels run on the current device, whatever their arguments lie on.
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        rows = [row for row in LANGUAGE_MODELS.values() if not row.weightless]
        return [_tested(row, esm_model, device, PRECISIONS[precision], asked) for row in rows]


def _tested(row: LanguageModel, esm_model: str, device: torch.device, precision: Precision, asked: str) -> Result:
    model, _, vocabulary = row.code.sample(esm_model, LAYERS)
    begun = time.perf_counter()
    reference = PRECISIONS[REFERENCE_PRECISION] if precision.reduced else FLOAT64
    state = _random_state(model, device)
    rng = random.Random(0)
    lengths = LENGTHS[device.type]
    ids = [torch.tensor([rng.randrange(vocabulary) for _ in range(length)], device=device) for length in lengths]
    alone = [_pack([one]) for one in ids]
    chosen = attention.choose(asked, device, precision, model.shape.head_widths)
    fused, _ = choose_ops(device, precision, model.shape.width)

    def run(numbers: Precision, packs: list[Pack], backend: str, ops: Ops) -> Tensor:
        model, buffers, _ = row.code.sample(esm_model, LAYERS)  # a new one: what prepares it takes parts away
        fill(model, to_device(state, device, numbers.loaded))
        row.code.prepare(model, numbers.loaded)
        for key, value in buffers.items():  # FP32 whatever the weights are, as in a run
            setattr(model, key, value.to(device))
        if numbers.quantised:
            model = row.quantised(model)
        attend = attention.BACKENDS[backend].load()
        return torch.cat([row.code.means(model(pack, attend, ops), pack) for pack in packs])

    reference_SD = run(reference, alone, "sdpa", Plain())
    plainly_SD = run(precision, alone, "sdpa", Plain())
    ours_SD = run(precision, [_pack(ids)], chosen, fused)
    spread = reference_SD.std()
    error = ((ours_SD - reference_SD).abs().max() / spread).item()
    allowed = 2 * ((plainly_SD - reference_SD).abs().max() / spread).item() + FLOOR
    return Result(row.title, chosen, error, allowed, time.perf_counter() - begun)


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
