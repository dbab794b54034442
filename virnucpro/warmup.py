"""Warm-up: the kernels that the first pack will need, compiled while the weights are loading."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor, nn

from virnucpro import fusion
from virnucpro.catalog import AUTO, ESM2_SIZES
from virnucpro.dnabert_weights import read_dnabert
from virnucpro.fusion import Ops
from virnucpro.pack import Pack
from virnucpro.recipe import Recipe

log = logging.getLogger(__name__)
THREADS = 4  # that compile
TOKENS = 80  # more than a tile of the attention kernel, as nearly all packs have


def warm_up(recipe: Recipe, device: torch.device, dtype: torch.dtype) -> tuple[Ops, str, tuple[str, ...]]:
    """Choose the steps between matrix products and compile them for the models' widths.

    Returns:
        The steps, what to tell the user about them, and the attention backends that turned out not to compile.
    """
    ops, told = (fusion.Plain(), "PyTorch's own steps") if recipe.plain else fusion.choose(device)
    if isinstance(ops, fusion.Plain) or dtype == torch.float32:
        return ops, told, ()
    models = [(*ESM2_SIZES[recipe.esm_model][1:], True)]
    if recipe.weights.dnabert is not None:
        shape, _ = read_dnabert(recipe.weights.dnabert)
        models.append((shape.width, shape.heads, False))
    failed: list[str] = []

    def attend(x_TD: Tensor, heads: int, turned: bool) -> None:
        try:
            _attend(x_TD, heads, turned)
        except Exception as error:  # Triton raises all kinds
            log.debug("The attention kernel", exc_info=error)
            failed.append("triton")

    def compiled(step: Callable[[], object]) -> None:
        with torch.cuda.device(device), torch.inference_mode():
            step()

    steps: list[Callable[[], object]] = []
    for width, heads, turned in models:
        x_TD = torch.zeros(TOKENS, width, device=device, dtype=dtype)
        norm = nn.LayerNorm(width, device=device, dtype=dtype)
        if recipe.attention in (AUTO, "triton"):
            steps.append(partial(attend, x_TD.clone(), heads, turned))
        steps += [partial(ops.add_norm, x_TD.clone(), delta_TD, norm) for delta_TD in (None, x_TD.clone())]
        steps.append(partial(ops.gelu if turned else ops.gated_gelu, x_TD.clone()))
        steps.append(partial(_multiply, x_TD))
    with ThreadPoolExecutor(THREADS) as pool:  # a compiler lets Python go on for most of its time
        list(pool.map(compiled, steps))
    return ops, told, tuple(failed)


def _multiply(x_TD: Tensor) -> None:
    """A matrix product, whose library takes a moment at its first call; it warns in a thread that has done nothing."""
    torch.mm(x_TD.clone(), x_TD.T)


def _attend(x_TD: Tensor, heads: int, turned: bool) -> None:
    """One call of the attention kernel, as a layer of this width makes it."""
    from virnucpro.attention_kernel import packed_attention, supports

    size, device = x_TD.shape[1] // heads, x_TD.device
    if supports(size):
        pack = Pack(x_TD[:, 0], torch.tensor([0, TOKENS], device=device, dtype=torch.int32), (TOKENS,))
        qkv_T3HK = torch.zeros(TOKENS, 3, heads, size, device=device, dtype=x_TD.dtype)
        table = torch.zeros(TOKENS, size // 2, device=device)
        packed_attention(
            qkv_T3HK, pack, (table, table) if turned else None, None if turned else torch.ones(heads, device=device)
        )
