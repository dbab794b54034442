"""Model runner: the language models and the classifier on one device; packs in, features and scores out.

Work is queued on the device and never waited for pack by pack: copies to it, packs, and copies back run in three
streams, and the host meets the device once a window, when that window's numbers are needed.

Axes: S sequences of a window, U that differ, D width of a language model, F of all together; A sequences that are
audited, M models that have an 8-bit likeness.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from virnucpro.config.compute import ComputeConfig
from virnucpro.engine.audit_sample import cosines
from virnucpro.engine.loader import AuditPacks, ModelPacks, PackedWindow
from virnucpro.engine.pending_result import Event, PendingResult
from virnucpro.engine.results import WindowResult
from virnucpro.engine.startup import Wait, check_precision, warm_up
from virnucpro.models import attention
from virnucpro.models.catalog import PRECISIONS
from virnucpro.models.classifier import load_classifier, scores
from virnucpro.models.language_models import FEATURE_ORDER, LANGUAGE_MODELS
from virnucpro.models.pack import Pack

log = logging.getLogger(__name__)
Means = Callable[[Tensor, Pack], Tensor]


class ModelRunner:
    """Models on one device.

    Args:
        compiled: Waits for whoever compiles kernels ahead.
    Raises:
        BadWeights: As their loaders. BadRequest: The device cannot do what the config asks for.
    """

    def __init__(self, config: ComputeConfig, device: torch.device, compiled: Wait = lambda: None) -> None:
        self.config, self.device = config, device
        precision = PRECISIONS[config.precision]
        check_precision(precision, device)
        loaded = precision.loaded
        with ThreadPoolExecutor(1) as aside:
            # Compiling takes as long as loading, and both leave most cores idle.
            compiling = aside.submit(warm_up, config, device, compiled)
            code = {name: LANGUAGE_MODELS[name].code for name in config.weights.models}
            paths = config.weights.models
            self.models: dict[str, Any] = {name: code[name].load(paths[name], device, loaded) for name in paths}
            # What a run in 8 bits is audited against.
            self.references = self.models if precision.quantised else {}
            if precision.quantised:
                self.models = {name: LANGUAGE_MODELS[name].quantised(model) for name, model in self.models.items()}
            self._means = {name: module.means for name, module in code.items()}
            self.classifier = None
            if config.weights.classifier is not None:
                self.classifier = load_classifier(config.weights.classifier).model.to(device)
            self.ops, self.fusion, failed = compiling.result()
        widths = [width for model in self.models.values() for width in model.shape.head_widths]
        self.attention = attention.choose(config.attention, device, precision, widths, failed)
        self._attend = attention.BACKENDS[self.attention].load()
        self._streams = None
        if device.type == "cuda":
            self._streams = torch.cuda.Stream(device), torch.cuda.Stream(device)  # to the device, to the host
        self._ended: Event | None = None

    def begin(self) -> None:
        """Begin a run: the time since the last window of another is no idle time."""
        self._ended = None

    def submit(self, packed: PackedWindow) -> PendingResult:
        """Queue a window on the device."""
        *_, pending = self.queue(packed)
        assert pending is not None, "the last of `queue` is the window"
        return pending

    @torch.inference_mode()
    def queue(self, packed: PackedWindow) -> Iterator[PendingResult | None]:
        """Queue a window pack by pack: yields None after each, when the host has a moment, and at last the window."""
        failures: dict[int, str] = {}
        if packed.blank.sequences == 0:
            yield PendingResult(packed, self.config, {}, failures)
            return
        with torch.cuda.device(self.device) if self._streams else nullcontext():
            model_packs, audit_packs = self._copied(packed)
            begun = self._event()
            features: dict[str, Tensor] = {}
            for name, packs in model_packs.items():
                failed: dict[int, str] = {}
                features[name] = yield from self._features(name, self.models[name], packs, failed)
                failures |= _at_places(failed, packed.packs[name].places_S)
            features_SF = _joined(features)
            arrays = {"finite_S": features_SF.isfinite().all(dim=1)}
            if self.classifier is not None:
                arrays["scores_S2"] = self._scores(features_SF)
            if self.config.keep_features:
                arrays |= features
            unaudited: set[int] = set()
            if packed.audit is not None and audit_packs is not None:
                failed = {}
                arrays |= yield from self._audited(audit_packs, features, failed)
                unaudited = {n for packs in packed.audit.packs.values() for n in _at_places(failed, packs.places_S)}
            yield self._returned(packed, arrays, failures, begun, unaudited)

    def failed(self, packed: PackedWindow, reason: str) -> WindowResult:
        """Return the result of a window of which nothing could be computed."""
        count, kept = packed.blank.sequences, self.models if self.config.keep_features else {}
        return replace(
            packed.blank,
            failures=dict.fromkeys(range(count), reason),
            scores_S2=None if self.classifier is None else np.full((count, 2), np.nan, np.float32),
            features={name: np.full((count, model.shape.width), np.nan, np.float32) for name, model in kept.items()},
        )

    def _audited(
        self, audit: AuditPacks[Tensor], features: dict[str, Tensor], failures: dict[int, str]
    ) -> Generator[None, None, dict[str, Tensor]]:
        """Compute the sample with the models that the 8-bit ones were made of; yields after each pack.

        Args:
            features: Of the whole window.
        """
        sample = {name: features_SD.index_select(0, audit.places_A) for name, features_SD in features.items()}
        columns = []
        for name, packs in audit.packs.items():
            eight_bit_AD = sample[name]
            sample[name] = yield from self._features(name, self.references[name], packs, failures)
            columns.append(cosines(eight_bit_AD.double(), sample[name].double()))
        arrays = {"cosines_AM": torch.stack(columns, dim=1)}
        if self.classifier is not None:
            arrays["reference_A2"] = self._scores(_joined(sample))
        return arrays

    def _scores(self, features_SF: Tensor) -> Tensor:
        return scores(self.classifier, features_SF, 1 if self.config.deterministic else None)

    def _features(
        self, name: str, model: Any, packs: ModelPacks[Tensor], failures: dict[int, str]
    ) -> Generator[None, None, Tensor]:
        """Compute the means of all sequences (S, D), those that differ once; yields after each pack.

        Args:
            failures: Filled with the reason for each that fails, by its number among those that differ.
        """
        means = self._means[name]
        features_UD = torch.empty(packs.distinct, model.shape.width, device=self.device)
        token = sequence = edge = 0
        for lengths in packs.lengths:
            tokens, count = sum(lengths), len(lengths)
            pack = Pack(packs.token_ids_T[token : token + tokens], packs.cu_seqlens[edge : edge + count + 1], lengths)
            self._run(model, means, pack, packs.order_U[sequence : sequence + count], features_UD, failures)
            token, sequence, edge = token + tokens, sequence + count, edge + count + 1
            yield
        return features_UD if packs.places_S is None else features_UD.index_select(0, packs.places_S)

    def _run(
        self, model: nn.Module, means: Means, pack: Pack, order_N: Tensor, features_UD: Tensor, failures: dict[int, str]
    ) -> None:
        """Run a pack; where memory does not suffice for it, its halves."""
        try:
            features_UD.index_copy_(0, order_N, means(model(pack, self._attend, self.ops), pack))
            return
        except torch.OutOfMemoryError:
            if len(pack.lengths) == 1:
                features_UD[order_N] = torch.nan
                failures[int(order_N)] = f"too little GPU memory for a sequence of {pack.lengths[0]} tokens"
                return
        # Outside the except clause, so that the failed attempt's tensors are no longer held by it.
        log.warning("Out of GPU memory on a pack of %d tokens: going on with its halves.", len(pack.token_ids_T))
        torch.cuda.empty_cache()
        half = len(pack.lengths) // 2
        for part, order in zip(pack.split(half), (order_N[:half], order_N[half:]), strict=True):
            self._run(model, means, part, order, features_UD, failures)

    def _copied(self, packed: PackedWindow) -> tuple[dict[str, ModelPacks[Tensor]], AuditPacks[Tensor] | None]:
        """Copy the packs to the device, while it still computes the window before."""

        def mapped(
            function: Callable[[np.ndarray], Tensor],
        ) -> tuple[dict[str, ModelPacks[Tensor]], AuditPacks[Tensor] | None]:
            audit = packed.audit and packed.audit.mapped(function)
            return {name: packs.mapped(function) for name, packs in packed.packs.items()}, audit

        if self._streams is None:
            return mapped(torch.from_numpy)
        compute, copy = torch.cuda.current_stream(), self._streams[0]

        def to_device(array: np.ndarray) -> Tensor:
            # From page-locked memory, or the copy would wait.
            tensor = torch.from_numpy(array).pin_memory().to(self.device, non_blocking=True)
            tensor.record_stream(compute)
            return tensor

        with torch.cuda.stream(copy):
            copies = mapped(to_device)
        compute.wait_stream(copy)
        return copies

    def _returned(
        self, packed: PackedWindow, arrays: dict[str, Tensor], failures: dict[int, str], begun: Event | None,
        unaudited: set[int],
    ) -> PendingResult:  # fmt: skip
        """Start the copies to the host, which the next window's packs need not wait for."""
        if self._streams is None:
            return PendingResult(packed, self.config, arrays, failures, unaudited=unaudited)
        compute, copy = torch.cuda.current_stream(), self._streams[1]
        ended = self._event()
        copy.wait_stream(compute)
        with torch.cuda.stream(copy):
            copies = {
                name: torch.empty(array.shape, dtype=array.dtype, pin_memory=True) for name, array in arrays.items()
            }
            for name, array in arrays.items():
                copies[name].copy_(array, non_blocking=True)
                array.record_stream(copy)
        arrived = torch.cuda.Event()
        arrived.record(copy)
        timing, self._ended = (begun, ended, arrived, self._ended), ended
        return PendingResult(packed, self.config, copies, failures, timing, unaudited)

    def _event(self) -> Event | None:
        """Mark a point in the device's work, with its time."""
        if self._streams is None:
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def _joined(features: dict[str, Tensor]) -> Tensor:
    return torch.cat([features[name] for name in FEATURE_ORDER if name in features], dim=1)


def _at_places(failures: dict[int, str], places_S: np.ndarray | None) -> dict[int, str]:
    """Failures of sequences that differ, by their numbers, as failures of all their copies, by places in the window."""
    if places_S is None:
        return failures
    return {
        place: reason for number, reason in failures.items() for place in np.flatnonzero(places_S == number).tolist()
    }
