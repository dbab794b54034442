"""Start-up: weights are checked before any is put to work, and kernels compiled while they are loading."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from virnucpro.config.compute import ComputeConfig, WeightsInfo
from virnucpro.errors import BadRequest
from virnucpro.models.attention import BACKENDS, unusable
from virnucpro.models.catalog import AUTO, CPU_PRECISION, PRECISIONS, Precision
from virnucpro.models.classifier import check_fit, load_classifier
from virnucpro.models.language_models import LANGUAGE_MODELS, Shape
from virnucpro.models.linear import Delta, Int8Linear, Linear, torch_type
from virnucpro.models.ops import Ops, Plain, cannot_compile, choose_ops
from virnucpro.models.pack import Pack
from virnucpro.models.tensor_files import Unfilled
from virnucpro.reading.input_kind import InputKind

log = logging.getLogger(__name__)
THREADS = 4  # that compile
TOKENS = 80  # more than a tile of the attention kernel, as nearly all packs have
LENGTHS = (TOKENS, 200)  # of a sequence: attention has a kernel for each


def check_models(config: ComputeConfig) -> WeightsInfo:
    """Check that the weights fit each other, without loading the large ones.

    Raises:
        BadRequest: Broken or unfitting weights.
    """
    weights, rows = config.weights, LANGUAGE_MODELS
    shapes = {name: rows[name].code.check(path, config.esm_model) for name, path in weights.models.items()}
    synthetic = any(shape.synthetic for shape in shapes.values())
    if config.kind == InputKind.PROTEIN:
        return WeightsInfo(0, synthetic)
    assert weights.classifier is not None, "a run of DNA without its models"
    classifier = load_classifier(weights.classifier)
    widths = {rows[name].weights_name(config.esm_model): shape.width for name, shape in shapes.items()}
    chunk_size = check_fit(classifier, weights.classifier, config.chunk_size, widths)
    return WeightsInfo(chunk_size, synthetic or classifier.synthetic)


def check_precision(precision: Precision, device: torch.device) -> None:
    """Check that the device can compute so, before anything is loaded.

    Raises:
        BadRequest: It cannot.
    """
    if not precision.quantised:
        return
    refused = f"--precision {precision.name} cannot run on {device}: "
    if device.type == "cpu":
        log.warning("8-bit products on the CPU are for checking: they are slower than --precision %s.", CPU_PRECISION)
    elif (capability := torch.cuda.get_device_capability(device)) < (8, 0):
        raise BadRequest(
            f"{refused}its compute capability is {capability[0]}.{capability[1]}, and 8.0 (Ampere) is needed. "
            f"Leave --precision out."
        )
    elif reason := cannot_compile(device):
        raise BadRequest(
            f"{refused}Triton cannot compile here ({reason}). Install a C compiler (gcc) and Python's headers, or "
            "leave --precision out."
        )


def warm_up(config: ComputeConfig, device: torch.device) -> tuple[Ops, str, tuple[str, ...]]:
    """Choose the steps of a layer and compile them, and the attention that may be used, for the models' widths.

    Returns:
        The steps, what to tell the user about them, and the attention backends that turned out not to compile.
    """
    precision = PRECISIONS[config.precision]
    if config.plain:
        return Plain(), "PyTorch's own steps", ()
    if not precision.reduced:
        return *choose_ops(device), ()
    rows = [(LANGUAGE_MODELS[name], path) for name, path in config.weights.models.items()]
    models = [(row.code.size(path, config.esm_model), row.rotary) for row, path in rows]
    backends = [row.name for row in BACKENDS.values() if row.compiles and config.attention in (AUTO, row.name)]
    failed: list[str] = []

    def zeros(*sizes: int) -> Tensor:
        return torch.zeros(sizes, device=device, dtype=torch_type(precision.activations))

    def attend(name: str, shape: Shape, slopes_H: Tensor | None) -> None:
        try:
            if unusable(name, device, precision, shape.head_widths) is None:
                for tokens in LENGTHS:
                    edges = torch.tensor([0, tokens], device=device, dtype=torch.int32)
                    q, k, v = zeros(tokens, 3, shape.heads, shape.width // shape.heads).unbind(1)
                    BACKENDS[name].load()(q, k, v, Pack(edges, edges, (tokens,)), slopes_H)
        except Exception as error:  # Triton raises all kinds
            log.debug("The attention kernel", exc_info=error)
            failed.append(name)

    def compiled(step: Callable[[], object]) -> None:
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext(), torch.inference_mode():
            step()

    with ThreadPoolExecutor(THREADS) as pool:  # a compiler lets Python go on for much of its time
        chosen = pool.submit(choose_ops, device)
        steps: list[Callable[[], object]] = []
        for shape, rotary in models:
            slopes_H = None if rotary else torch.ones(shape.heads, device=device)
            steps += [partial(attend, name, shape, slopes_H) for name in backends if shape.heads]
            steps.append(partial(_multiply, zeros(TOKENS, shape.width)))
        attending = [pool.submit(compiled, step) for step in steps]
        ops, description = chosen.result()
        steps = []
        for shape, rotary in [] if isinstance(ops, Plain) else models:
            if rotary:
                forms = (True, False) if precision.quantised else (False,)
                steps += [partial(_rotary_layer, ops, shape, zeros, quantised) for quantised in forms]
            else:
                norm = nn.LayerNorm(shape.width, device=device, dtype=torch_type(precision.activations))
                steps.append(partial(ops.add_norm, zeros(TOKENS, shape.width), zeros(TOKENS, shape.width), norm))
                steps.append(partial(ops.gated_gelu, zeros(TOKENS, 2 * shape.width)))
        list(pool.map(compiled, steps))
        for step in attending:
            step.result()
    return ops, description, tuple(failed)


def _rotary_layer(ops: Ops, shape: Shape, zeros: Callable[..., Tensor], quantised: bool) -> None:
    """Take the steps of ESM-2's first layer, of another one, and after the last."""
    width, device, dtype = shape.width, zeros().device, zeros().dtype

    def layer(outputs: int, inputs: int, quantised: bool = quantised) -> Linear:
        if quantised:
            return Int8Linear(zeros(outputs, inputs), zeros(outputs))
        with Unfilled():
            return nn.Linear(inputs, outputs, device=device, dtype=dtype)

    qkv, out, fc1, fc2 = layer(3 * width, width), layer(width, width), layer(4 * width, width), layer(width, 4 * width)
    norm = nn.LayerNorm(width, elementwise_affine=False, device=device)
    last = nn.LayerNorm(width, elementwise_affine=not quantised, device=device, dtype=dtype)
    table = torch.zeros(TOKENS, width // shape.heads // 2, device=device)

    delta: Delta = None
    x_TD = zeros(TOKENS, width)
    for _ in range(2):  # what a layer gets depends on what the one before has left
        x_TD, h_TD = ops.add_norm_for(qkv, x_TD, delta, norm)
        ops.linear_rotated(h_TD, qkv, shape.heads, (table, table))
        x_TD, delta = ops.linear_onto(x_TD, zeros(TOKENS, width), out)
        x_TD, h_TD = ops.add_norm_for(fc1, x_TD, delta, norm)
        x_TD, delta = ops.linear_onto(x_TD, ops.linear_gelu(h_TD, fc1, quantised), fc2)
    _, y_TD = ops.add_norm(x_TD, delta, last)
    if quantised:  # the way back from a rotated residual stream
        ops.linear(y_TD, layer(width, width, quantised=False))


def _multiply(x_TD: Tensor) -> None:
    """A matrix product, whose library takes a moment at its first call; it warns in a thread that has done nothing."""
    torch.mm(x_TD.clone(), x_TD.T)
