"""Start-up: weights are checked before any is put to work, and kernels compiled while they are loading."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor

from virnucpro.config.compute import ComputeConfig, WeightsInfo
from virnucpro.errors import BadRequest
from virnucpro.models.attention import BACKENDS, unusable
from virnucpro.models.catalog import AUTO, CPU_PRECISION, PRECISIONS, Precision
from virnucpro.models.classifier import check_fit, load_classifier
from virnucpro.models.kernels import LENGTHS, TOKENS, forms
from virnucpro.models.language_models import LANGUAGE_MODELS, Shape
from virnucpro.models.linear import torch_type
from virnucpro.models.ops import Ops, Plain, cannot_compile, choose_ops
from virnucpro.models.pack import Pack
from virnucpro.reading.input_kind import InputKind

log = logging.getLogger(__name__)
Wait = Callable[[], object]
THREADS = 4  # that compile


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
    if weights.classifier is None:
        assert config.chunk_size is not None, "nobody says how long chunks are"
        return WeightsInfo(config.chunk_size, synthetic)
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
    if device.type == "cpu":
        log.warning("8-bit products on the CPU are for checking: they are slower than --precision %s.", CPU_PRECISION)
    elif (capability := torch.cuda.get_device_capability(device)) < (8, 0):
        raise BadRequest(
            f"--precision {precision.name} cannot run on {device}: its compute capability is "
            f"{capability[0]}.{capability[1]}, and 8.0 (Ampere) is needed. Leave --precision out."
        )


def check_kernels(precision: Precision, device: torch.device) -> None:
    """Check that the kernels can be compiled without which a precision is not.

    Raises:
        BadRequest: They cannot.
    """
    if precision.quantised and device.type == "cuda" and (reason := cannot_compile(device)):
        raise BadRequest(
            f"--precision {precision.name} cannot run on {device}: Triton cannot compile here ({reason}). Install a C "
            "compiler (gcc) and Python's headers, or leave --precision out."
        )


def warm_up(
    config: ComputeConfig, device: torch.device, compiled: Wait = lambda: None
) -> tuple[Ops, str, tuple[str, ...]]:
    """Choose the steps of a layer and compile them, and the attention that may be used, for the models' widths.

    Args:
        compiled: Waits for whoever compiles ahead.
    Returns:
        The steps, what to tell the user about them, and the attention backends that turned out not to compile.
    Raises:
        BadRequest: As `check_kernels`.
    """
    precision = PRECISIONS[config.precision]
    if config.plain:
        return Plain(), "PyTorch's own steps", ()
    if device.type == "cuda":
        cannot_compile(device)  # now, as Triton takes half a second to begin; and once, or threads would each try
    compiled()
    check_kernels(precision, device)
    rows = [(LANGUAGE_MODELS[name], path) for name, path in config.weights.models.items()]
    models = [(row.code.size(path, config.esm_model), row.rotary) for row, path in rows if not row.weightless]
    if not models:
        return Plain(), "no layers", ()
    widest = max(shape.width for shape, _ in models)
    if not precision.reduced:
        return *choose_ops(device, precision, widest), ()
    backends = [row.name for row in BACKENDS.values() if row.compiles and config.attention in (AUTO, row.name)]
    failed: list[str] = []

    def zeros(dtype: str, *sizes: int) -> Tensor:
        return torch.zeros(sizes, device=device, dtype=torch_type(dtype))

    def attend(name: str, shape: Shape, slopes_H: Tensor | None) -> None:
        try:
            if unusable(name, device, precision, shape.head_widths) is None:
                for tokens in LENGTHS:
                    edges = torch.tensor([0, tokens], device=device, dtype=torch.int32)
                    x_THK = zeros(precision.activations, tokens, shape.heads, shape.width // shape.heads)
                    BACKENDS[name].load()(x_THK, x_THK, x_THK, Pack(edges, edges, (tokens,)), slopes_H)
        except Exception as error:  # Triton raises all kinds
            log.debug("The attention kernel", exc_info=error)
            failed.append(name)

    def do(step: Callable[[], object]) -> None:
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext(), torch.inference_mode():
            zeros("float32", 1).cpu()  # a thread has no context before it asks the device for something
            step()

    with ThreadPoolExecutor(THREADS) as pool:  # a compiler lets Python go on for some of its time
        chosen = pool.submit(choose_ops, device, precision, widest)
        steps: list[Callable[[], object]] = []
        for shape, rotary in models:
            slopes_H = None if rotary else torch.ones(shape.heads, device=device)
            steps += [partial(attend, name, shape, slopes_H) for name in backends if shape.heads]
            steps.append(partial(_multiply, zeros(precision.activations, TOKENS, shape.width)))
        under_way = [pool.submit(do, step) for step in steps]
        ops, description = chosen.result()
        for shape, rotary in models:
            launches = [launch for form in forms(precision) for launch in ops.launches(shape, rotary, form, zeros)]
            under_way += [pool.submit(do, launch.run) for launch in launches]
        for step in under_way:
            step.result()
    return ops, description, tuple(failed)


def _multiply(x_TD: Tensor) -> None:
    """A matrix product, whose library takes a moment at its first call; it warns in a thread that has done nothing."""
    torch.mm(x_TD.clone(), x_TD.T)
