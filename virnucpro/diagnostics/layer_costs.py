"""Layer costs: how much nearer to float32 features come where some of the 8-bit products stay in 16 bits.

All else stays quantised as it is: the model is not made anew, products of a layer just change places with those of the
same layer in 16 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch
from torch import Tensor

from virnucpro.diagnostics.comparison import LayerCosts, relative_errors
from virnucpro.engine.loader import PackedWindow
from virnucpro.engine.model_runner import ModelRunner
from virnucpro.models.catalog import ESM2_SIZES
from virnucpro.models.esm2 import Esm2, Layer
from virnucpro.models.quantised_esm2 import PRODUCTS, rotated_layer, rotation
from virnucpro.reading.windows import Piece

MOST = 64  # chunks or proteins that are computed again for each layer
Kept = Sequence[tuple[int, str]]  # products in 16 bits, as (layer, product)


def some(pieces: Sequence[Piece]) -> slice:
    """Choose at most `MOST`, evenly spread."""
    return slice(None, None, -(-len(pieces) // MOST) or None)


def passes(esm_model: str) -> list[Kept]:
    """List what stays in 16 bits in each pass: nothing, then each layer, then each kind of product in all layers."""
    layers = range(ESM2_SIZES[esm_model][0])
    by_layer = [[(number, name) for name in PRODUCTS] for number in layers]
    return [[], *by_layer, *([(number, name) for number in layers] for name in PRODUCTS)]


@torch.inference_mode()
def features(runner: ModelRunner, windows: Sequence[PackedWindow], done: Callable[[], None]) -> list[np.ndarray]:
    """Compute ESM-2's features of all S sequences in each of the `passes`: float32 (S, D); no pass without sequences.

    Args:
        runner: Of 8-bit products.
        done: Called after each pass.
    """
    if not (windows := [window for window in windows if window.blank.sequences]):
        return []
    model, likeness = runner.references["esm2"], runner.models["esm2"]
    q_DD = rotation(model.shape.width).to(model.embedding.weight)
    features = []
    for kept in passes(runner.config.esm_model):
        with keeping(kept, likeness, model, q_DD):
            results = [runner.submit(window).result() for window in windows]
        features.append(np.concatenate([result.features["esm2"] for result in results]))
        done()
    return features


@contextmanager
def keeping(kept: Kept, likeness: Esm2, model: Esm2, q_DD: Tensor) -> Iterator[None]:
    """Have some products of a model's 8-bit likeness in 16 bits for a while."""
    eight_bit = []
    for number in {number for number, _ in kept}:
        layer, rotated = likeness.layers[number], rotated_layer(cast(Layer, model.layers[number]), q_DD)
        for name in (name for other, name in kept if other == number):
            eight_bit.append((layer, name, getattr(layer, name)))
            setattr(layer, name, getattr(rotated, name))
    try:
        yield
    finally:
        for layer, name, product in eight_bit:
            setattr(layer, name, product)


def costs(features: Sequence[np.ndarray], exact_SD: np.ndarray) -> LayerCosts | None:
    """Compare the features of all `passes` with exact ones, leaving out sequences that failed in one; None of none."""
    errors_PS = np.stack([relative_errors(features_SD, exact_SD) for features_SD in features])
    errors_PS = errors_PS[:, np.isfinite(errors_PS).all(axis=0)]
    if not errors_PS.size:
        return None
    error, *others = errors_PS.mean(axis=1).tolist()
    falls = [error - other for other in others]
    layers = len(falls) - len(PRODUCTS)
    return LayerCosts(errors_PS.shape[1], error, falls[:layers], dict(zip(PRODUCTS, falls[layers:])))
