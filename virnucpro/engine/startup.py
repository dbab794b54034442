"""Start-up: weights are checked before any is put to work, and kernels compiled while they are loading."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor, nn

from virnucpro.config.compute import ComputeConfig, WeightsInfo
from virnucpro.models.attention import BACKENDS, Attend, make, unusable
from virnucpro.models.catalog import AUTO, PRECISIONS
from virnucpro.models.classifier import check_fit, load_classifier
from virnucpro.models.language_models import LANGUAGE_MODELS
from virnucpro.models.linear import torch_type
from virnucpro.models.ops import Ops, Plain, choose_ops
from virnucpro.models.pack import Pack
from virnucpro.reading.input_kind import InputKind

log = logging.getLogger(__name__)
THREADS = 4  # that compile
TOKENS = 80  # more than a tile of the attention kernel, as nearly all packs have


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


def warm_up(config: ComputeConfig, device: torch.device) -> tuple[Ops, str, tuple[str, ...]]:
    """Choose the steps of a layer and compile them, and the attention that may be used, for the models' widths.

    Returns:
        The steps, what to tell the user about them, and the attention backends that turned out not to compile.
    """
    ops, description = (Plain(), "PyTorch's own steps") if config.plain else choose_ops(device)
    precision = PRECISIONS[config.precision]
    if isinstance(ops, Plain) or not precision.reduced:
        return ops, description, ()
    rows = [(LANGUAGE_MODELS[name], path) for name, path in config.weights.models.items()]
    models = [(row.code.size(path, config.esm_model), row.rotary) for row, path in rows]
    backends = [row.name for row in BACKENDS.values() if row.compiles and config.attention in (AUTO, row.name)]
    failed: list[str] = []

    def attend(name: str, x_TD: Tensor, heads: int, rotary: bool) -> None:
        try:
            if unusable(name, device, precision, [x_TD.shape[1] // heads]) is None:
                _attend(make(name, ops), x_TD, heads, rotary)
        except Exception as error:  # Triton raises all kinds
            log.debug("The attention kernel", exc_info=error)
            failed.append(name)

    def compiled(step: Callable[[], object]) -> None:
        with torch.cuda.device(device), torch.inference_mode():
            step()

    steps: list[Callable[[], object]] = []
    dtype = torch_type(precision.activations)
    for shape, rotary in models:
        x_TD = torch.zeros(TOKENS, shape.width, device=device, dtype=dtype)
        norm = nn.LayerNorm(shape.width, device=device, dtype=dtype)
        steps += [partial(attend, name, x_TD.clone(), shape.heads, rotary) for name in backends if shape.heads]
        steps += [partial(ops.add_norm, x_TD.clone(), delta_TD, norm) for delta_TD in (None, x_TD.clone())]
        steps.append(partial(ops.gelu if rotary else ops.gated_gelu, x_TD.clone()))
        steps.append(partial(_multiply, x_TD))
    with ThreadPoolExecutor(THREADS) as pool:  # a compiler lets Python go on for most of its time
        list(pool.map(compiled, steps))
    return ops, description, tuple(failed)


def _multiply(x_TD: Tensor) -> None:
    """A matrix product, whose library takes a moment at its first call; it warns in a thread that has done nothing."""
    torch.mm(x_TD.clone(), x_TD.T)


def _attend(attend: Attend, x_TD: Tensor, heads: int, rotary: bool) -> None:
    """Attend once, as a layer of this width does."""
    size, device = x_TD.shape[1] // heads, x_TD.device
    pack = Pack(x_TD[:, 0], torch.tensor([0, TOKENS], device=device, dtype=torch.int32), (TOKENS,))
    qkv_T3HK = torch.zeros(TOKENS, 3, heads, size, device=device, dtype=x_TD.dtype)
    table = torch.zeros(TOKENS, size // 2, device=device)
    attend(qkv_T3HK, pack, (table, table) if rotary else None, None if rotary else torch.ones(heads, device=device))
