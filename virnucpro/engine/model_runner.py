"""Model runner: both language models and the classifier on one device; packs in, features and scores out.

Work is queued on the device and never waited for pack by pack: copies to it, packs, and copies back run in three
streams, and the host meets the device once a window, when that window's numbers are needed.

Axes: S sequences of a window, D width of ESM-2, E of DNABERT-S, F = E + D.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from virnucpro.config.compute import ComputeConfig
from virnucpro.engine.loader import ModelPacks, PackedWindow
from virnucpro.engine.pending import Event, PendingResult
from virnucpro.engine.results import WindowResult
from virnucpro.engine.startup import warm_up
from virnucpro.models import attention
from virnucpro.models.catalog import PRECISIONS
from virnucpro.models.classifier import load_classifier, scores
from virnucpro.models.dnabert_s import dna_means, load_dnabert
from virnucpro.models.esm2 import load_esm2, protein_means
from virnucpro.models.pack import Pack

log = logging.getLogger(__name__)
Means = Callable[[Tensor, Pack], Tensor]


class _DevicePacks(NamedTuple):
    """`loader.ModelPacks` where they are computed."""

    token_ids_T: Tensor
    cu_seqlens: Tensor
    order_S: Tensor
    lengths: tuple[tuple[int, ...], ...]


class ModelRunner:
    """Models on one device.

    Raises:
        BadWeights: As their loaders. BadRequest: The device cannot do what the recipe says.
    """

    def __init__(self, recipe: ComputeConfig, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        precision = PRECISIONS[recipe.precision]
        with ThreadPoolExecutor(1) as aside:
            # Compiling takes as long as loading, and both leave most cores idle.
            compiling = aside.submit(warm_up, recipe, device)
            self.esm2 = load_esm2(recipe.weights.esm, device, precision)
            self.dnabert = self.classifier = None
            if recipe.weights.dnabert is not None:
                self.dnabert = load_dnabert(recipe.weights.dnabert, device, precision)
                self.classifier = load_classifier(recipe.weights.classifier).model.to(device)
            self.ops, self.fusion, failed = compiling.result()
        models = [model for model in (self.esm2, self.dnabert) if model is not None]
        widths = [model.shape.width // model.shape.heads for model in models]
        self.attention = attention.choose(recipe.attention, device, precision, widths, failed)
        self._attend = attention.make(self.attention, self.ops)
        self._streams = None
        if device.type == "cuda":
            self._streams = torch.cuda.Stream(device), torch.cuda.Stream(device)  # to the device, to the host
        self._ended: Event | None = None

    def submit(self, prepared: PackedWindow) -> PendingResult:
        """Queue a window on the device."""
        *_, pending = self.queue(prepared)
        assert pending is not None, "the last of `queue` is the window"
        return pending

    @torch.inference_mode()
    def queue(self, prepared: PackedWindow) -> Iterator[PendingResult | None]:
        """Queue a window pack by pack: yields None after each, when the host has a moment, and at last the window."""
        failures: dict[int, str] = {}
        if prepared.sequences == 0:
            yield PendingResult(prepared, self.recipe, {}, failures)
            return
        with torch.cuda.device(self.device) if self._streams else nullcontext():
            esm2_packs, dnabert_packs = self._copied(prepared)
            begun = self._event()
            arrays = {}
            if self.dnabert is not None:
                # First, for its kernels are so short that the device nearly keeps up with the host: at the end of a
                # window it would run dry while the next one is fetched. Those of ESM-2 keep it busy for half a second.
                arrays["dnabert_SE"] = self._blank(self.dnabert, prepared.sequences)
                yield from self._features(self.dnabert, dna_means, dnabert_packs, arrays["dnabert_SE"], failures)
            arrays["esm2_SD"] = self._blank(self.esm2, prepared.sequences)
            yield from self._features(self.esm2, protein_means, esm2_packs, arrays["esm2_SD"], failures)
            features_SF = torch.cat(list(arrays.values()), dim=1)
            if self.dnabert is not None:
                arrays["scores_S2"] = scores(self.classifier, features_SF, 1 if self.recipe.deterministic else None)
            arrays["finite_S"] = features_SF.isfinite().all(dim=1)
            if not self.recipe.keep_features:
                arrays = {name: array for name, array in arrays.items() if name in ("scores_S2", "finite_S")}
            yield self._returned(prepared, arrays, failures, begun)

    def failed(self, prepared: PackedWindow, reason: str) -> WindowResult:
        """The outcome of a window of which nothing could be computed."""
        count = prepared.sequences
        outcome = WindowResult(prepared.index, prepared.only, prepared.open_C, count, prepared.cut, prepared.unknown)
        outcome.failures = dict.fromkeys(range(count), reason)
        widths = {}
        if self.dnabert is not None:
            widths["scores_S2"] = 2
        if self.recipe.keep_features:
            widths["esm2_SD"] = self.esm2.shape.width
            if self.dnabert is not None:
                widths["dnabert_SE"] = self.dnabert.shape.width
        blank: dict[str, Any] = {name: np.full((count, width), np.nan, np.float32) for name, width in widths.items()}
        return replace(outcome, **blank)

    def _blank(self, model: nn.Module, sequences: int) -> Tensor:
        """Room for the features of so many sequences: float32 (S, width)."""
        return torch.empty(sequences, model.shape.width, device=self.device)

    def _features(
        self, model: nn.Module, means: Means, packs: _DevicePacks, features_SD: Tensor, failures: dict[int, str]
    ) -> Iterator[None]:
        """Put the means of all sequences of a window into features_SD, in its order; yields after each pack."""
        token = sequence = edge = 0
        for lengths in packs.lengths:
            pack = Pack(
                packs.token_ids_T[token : token + sum(lengths)],
                packs.cu_seqlens[edge : edge + len(lengths) + 1],
                lengths,
            )
            self._run(model, means, pack, packs.order_S[sequence : sequence + len(lengths)], features_SD, failures)
            token, sequence, edge = token + sum(lengths), sequence + len(lengths), edge + len(lengths) + 1
            yield

    def _run(
        self, model: nn.Module, means: Means, pack: Pack, order_N: Tensor, features_SD: Tensor, failures: dict[int, str]
    ) -> None:
        """Run a pack; where memory does not suffice for it, its halves."""
        try:
            features_SD.index_copy_(0, order_N, means(model(pack, self._attend, self.ops), pack))
            return
        except torch.OutOfMemoryError:
            if len(pack.lengths) == 1:
                features_SD[order_N] = torch.nan
                failures[int(order_N)] = f"too little GPU memory for a sequence of {pack.lengths[0]} tokens"
                return
        # Outside the except clause, so that the failed attempt's tensors are no longer held by it.
        log.warning("Out of GPU memory on a pack of %d tokens: going on with its halves.", len(pack.token_ids_T))
        torch.cuda.empty_cache()
        half = len(pack.lengths) // 2
        for part, order in zip(pack.split(half), (order_N[:half], order_N[half:]), strict=True):
            self._run(model, means, part, order, features_SD, failures)

    def _copied(self, prepared: PackedWindow) -> tuple[_DevicePacks | None, _DevicePacks | None]:
        """The packs on the device; copied while it still computes the window before."""
        if self._streams is None:
            return _mapped(prepared.esm2, torch.from_numpy), _mapped(prepared.dnabert, torch.from_numpy)
        compute, copy = torch.cuda.current_stream(), self._streams[0]

        def to_device(array: np.ndarray) -> Tensor:
            # From page-locked memory, or the copy would wait.
            there = torch.from_numpy(array).pin_memory().to(self.device, non_blocking=True)
            there.record_stream(compute)
            return there

        with torch.cuda.stream(copy):
            there = _mapped(prepared.esm2, to_device), _mapped(prepared.dnabert, to_device)
        compute.wait_stream(copy)
        return there

    def _returned(
        self, prepared: PackedWindow, arrays: dict[str, Tensor], failures: dict[int, str], begun: Event | None
    ) -> PendingResult:
        """Start the copies to the host, which the next window's packs need not wait for."""
        if self._streams is None:
            return PendingResult(prepared, self.recipe, arrays, failures)
        compute, copy = torch.cuda.current_stream(), self._streams[1]
        ended = self._event()
        copy.wait_stream(compute)
        with torch.cuda.stream(copy):
            there = {
                name: torch.empty(array.shape, dtype=array.dtype, pin_memory=True) for name, array in arrays.items()
            }
            for name, array in arrays.items():
                there[name].copy_(array, non_blocking=True)
                array.record_stream(copy)
        arrived = torch.cuda.Event()
        arrived.record(copy)
        timing, self._ended = (begun, ended, arrived, self._ended), ended
        return PendingResult(prepared, self.recipe, there, failures, timing)

    def _event(self) -> Event | None:
        """A point in the device's work, with its time."""
        if self._streams is None:
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def _mapped(packs: ModelPacks | None, to_device: Callable[[np.ndarray], Tensor]) -> _DevicePacks | None:
    if packs is None:
        return None
    return _DevicePacks(
        to_device(packs.token_ids_T), to_device(packs.cu_seqlens), to_device(packs.order_S), packs.lengths
    )
