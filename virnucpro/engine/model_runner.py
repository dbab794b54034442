"""Model runner: the language models and the classifier on one device; packs in, features and scores out.

Work is queued on the device and never waited for pack by pack: copies to it, packs, and copies back run in three
streams, and the host meets the device once a window, when that window's numbers are needed.

Axes: S sequences of a window, U that differ, D width of a language model, F of all together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from virnucpro.config.compute import ComputeConfig
from virnucpro.engine.loader import ModelPacks, PackedWindow
from virnucpro.engine.results import WindowResult
from virnucpro.engine.startup import check_precision, warm_up
from virnucpro.models import attention
from virnucpro.models.catalog import PRECISIONS
from virnucpro.models.classifier import load_classifier, scores
from virnucpro.models.language_models import FEATURE_ORDER, LANGUAGE_MODELS
from virnucpro.models.pack import Pack

log = logging.getLogger(__name__)
Means = Callable[[Tensor, Pack], Tensor]
Event = torch.cuda.Event


@dataclass(eq=False)
class PendingResult:
    """A window under way on the device, whose numbers the host takes when it needs them."""

    packed: PackedWindow
    config: ComputeConfig
    arrays: dict[str, Tensor]  # scores_S2, finite_S, and features by language model
    failures: dict[int, str]
    timing: tuple[Event | None, ...] = (None, None, None, None)  # of its begin, end and arrival, and of the end before

    def ready(self) -> bool:
        """Tell whether `result` would not have to wait."""
        try:
            return (arrived := self.timing[2]) is None or arrived.query()
        except RuntimeError:  # of work queued earlier; `result` will raise it where it is dealt with
            return True

    def result(self) -> WindowResult:
        """Wait for the device and take the numbers."""
        begun, ended, arrived, earlier = self.timing
        arrays: dict[str, Any] = {name: array.numpy() for name, array in self.arrays.items()}
        result = replace(self.packed.blank, failures=self.failures)
        if packs := self.packed.packs.get("esm2"):
            result.tokens, result.packs = packs.tokens, len(packs.lengths)
            result.copies = result.sequences - packs.distinct
            # A sequence over the budget has a pack of its own size.
            result.capacity = sum(max(self.config.token_budget, sum(lengths)) for lengths in packs.lengths)
        if arrived is not None:
            arrived.synchronize()
            result.seconds = begun.elapsed_time(ended) / 1000
            if earlier is not None:
                result.idle_seconds = max(0.0, earlier.elapsed_time(begun) / 1000)
        if (finite_S := arrays.pop("finite_S", None)) is not None:
            wider = PRECISIONS[self.config.precision].wider
            advice = f" in {self.config.precision} (try --precision {wider})" if wider else ""
            for place in np.flatnonzero(~finite_S).tolist():
                self.failures.setdefault(place, f"features are not finite{advice}")
        result.scores_S2, result.features = arrays.pop("scores_S2", None), arrays
        return result


class ModelRunner:
    """Models on one device.

    Raises:
        BadWeights: As their loaders. BadRequest: The device cannot do what the config asks for.
    """

    def __init__(self, config: ComputeConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        precision = PRECISIONS[config.precision]
        check_precision(precision, device)
        loaded = PRECISIONS[precision.made_of] if precision.quantised else precision
        with ThreadPoolExecutor(1) as aside:
            # Compiling takes as long as loading, and both leave most cores idle.
            compiling = aside.submit(warm_up, config, device)
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
            model_packs = self._copied(packed)
            begun = self._event()
            features = {
                name: torch.empty(packs.distinct, self.models[name].shape.width, device=self.device)
                for name, packs in model_packs.items()
            }
            for name, packs in model_packs.items():
                failed: dict[int, str] = {}
                yield from self._features(name, packs, features[name], failed)
                if packs.places_S is not None:
                    features[name] = features[name].index_select(0, packs.places_S)
                failures |= _at_places(failed, packed.packs[name].places_S)
            features_SF = torch.cat([features[name] for name in FEATURE_ORDER if name in features], dim=1)
            arrays = {"finite_S": features_SF.isfinite().all(dim=1)}
            if self.classifier is not None:
                arrays["scores_S2"] = scores(self.classifier, features_SF, 1 if self.config.deterministic else None)
            if self.config.keep_features:
                arrays |= features
            yield self._returned(packed, arrays, failures, begun)

    def failed(self, packed: PackedWindow, reason: str) -> WindowResult:
        """Return the result of a window of which nothing could be computed."""
        count, kept = packed.blank.sequences, self.models if self.config.keep_features else {}
        return replace(
            packed.blank,
            failures=dict.fromkeys(range(count), reason),
            scores_S2=None if self.classifier is None else np.full((count, 2), np.nan, np.float32),
            features={name: np.full((count, model.shape.width), np.nan, np.float32) for name, model in kept.items()},
        )

    def _features(
        self, name: str, packs: ModelPacks[Tensor], features_UD: Tensor, failures: dict[int, str]
    ) -> Iterator[None]:
        """Put the means of all sequences that differ into features_UD, by their numbers; yields after each pack."""
        model, means = self.models[name], self._means[name]
        token = sequence = edge = 0
        for lengths in packs.lengths:
            tokens, count = sum(lengths), len(lengths)
            pack = Pack(packs.token_ids_T[token : token + tokens], packs.cu_seqlens[edge : edge + count + 1], lengths)
            self._run(model, means, pack, packs.order_U[sequence : sequence + count], features_UD, failures)
            token, sequence, edge = token + tokens, sequence + count, edge + count + 1
            yield

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

    def _copied(self, packed: PackedWindow) -> dict[str, ModelPacks[Tensor]]:
        """Copy the packs to the device, while it still computes the window before."""
        if self._streams is None:
            return {name: packs.mapped(torch.from_numpy) for name, packs in packed.packs.items()}
        compute, copy = torch.cuda.current_stream(), self._streams[0]

        def to_device(array: np.ndarray) -> Tensor:
            # From page-locked memory, or the copy would wait.
            tensor = torch.from_numpy(array).pin_memory().to(self.device, non_blocking=True)
            tensor.record_stream(compute)
            return tensor

        with torch.cuda.stream(copy):
            copies = {name: packs.mapped(to_device) for name, packs in packed.packs.items()}
        compute.wait_stream(copy)
        return copies

    def _returned(
        self, packed: PackedWindow, arrays: dict[str, Tensor], failures: dict[int, str], begun: Event | None
    ) -> PendingResult:
        """Start the copies to the host, which the next window's packs need not wait for."""
        if self._streams is None:
            return PendingResult(packed, self.config, arrays, failures)
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
        return PendingResult(packed, self.config, copies, failures, timing)

    def _event(self) -> Event | None:
        """Mark a point in the device's work, with its time."""
        if self._streams is None:
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def _at_places(failures: dict[int, str], places_S: np.ndarray | None) -> dict[int, str]:
    """Failures of sequences that differ, by their numbers, as failures of all their copies, by places in the window."""
    if places_S is None:
        return failures
    return {
        place: reason for number, reason in failures.items() for place in np.flatnonzero(places_S == number).tolist()
    }
