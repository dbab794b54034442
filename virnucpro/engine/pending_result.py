"""Pending result: a window under way on the device, whose numbers the host takes when it needs them.

Axes: S sequences of a window, A of them audited, M models that have an 8-bit likeness.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from virnucpro.config.compute import ComputeConfig
from virnucpro.engine.loader import PackedWindow
from virnucpro.engine.results import WindowResult
from virnucpro.models.catalog import PRECISIONS

Event = torch.cuda.Event


@dataclass(eq=False)
class PendingResult:
    """A window under way on the device."""

    packed: PackedWindow
    config: ComputeConfig
    arrays: dict[str, Tensor]  # scores_S2, finite_S, features by language model; cosines_AM and reference_A2
    failures: dict[int, str]
    timing: tuple[Event | None, ...] = (None, None, None, None)  # of its begin, end and arrival, and of the end before
    unaudited: set[int] = field(default_factory=set)  # places in the sample that did not fit into memory in 16 bits

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
        if self.packed.audit is not None:
            places_A = self.packed.audit.places_A
            # What did not fit into memory tells nothing of 8 bits.
            kept = [n for n, place in enumerate(places_A) if place not in self.failures and n not in self.unaudited]
            result.audited_A, result.cosines_AM = places_A[kept], arrays.pop("cosines_AM")[kept]
            if (reference_A2 := arrays.pop("reference_A2", None)) is not None:
                result.reference_A2 = reference_A2[kept]
        if (finite_S := arrays.pop("finite_S", None)) is not None:
            wider = PRECISIONS[self.config.precision].wider
            advice = f" in {self.config.precision} (try --precision {wider})" if wider else ""
            for place in np.flatnonzero(~finite_S).tolist():
                self.failures.setdefault(place, f"features are not finite{advice}")
        result.scores_S2, result.features = arrays.pop("scores_S2", None), arrays
        return result
