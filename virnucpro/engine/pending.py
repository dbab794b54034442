"""Pending result: a window under way on a device, whose numbers the host takes when it needs them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from virnucpro.config.compute import ComputeConfig
from virnucpro.engine.loader import PackedWindow
from virnucpro.engine.results import WindowResult
from virnucpro.models.catalog import PRECISIONS

Event = torch.cuda.Event
Timing = tuple[Event | None, Event | None, Event | None, Event | None]


@dataclass(eq=False)
class PendingResult:
    """A window under way on the device."""

    prepared: PackedWindow
    recipe: ComputeConfig
    arrays: dict[str, Tensor]  # scores_S2, finite_S, and features by language model
    failures: dict[int, str]
    timing: Timing = (None, None, None, None)  # events of its begin, its end, its arrival, and the end before

    def ready(self) -> bool:
        """Whether `outcome` would not have to wait."""
        try:
            return (arrived := self.timing[2]) is None or arrived.query()
        except RuntimeError:  # of work queued earlier; `outcome` will raise it where it is dealt with
            return True

    def outcome(self) -> WindowResult:
        """Wait for the device and take the numbers."""
        window, (begun, ended, arrived, earlier) = self.prepared, self.timing
        outcome = window.blank
        if packs := window.packs.get("esm2"):
            outcome.tokens, outcome.packs = packs.tokens, len(packs.lengths)
            # A sequence over the budget has a pack of its own size.
            outcome.capacity = sum(max(self.recipe.token_budget, sum(lengths)) for lengths in packs.lengths)
        if arrived is not None:
            arrived.synchronize()
            outcome.seconds = begun.elapsed_time(ended) / 1000
            if earlier is not None:
                outcome.idle_seconds = max(0.0, earlier.elapsed_time(begun) / 1000)
        arrays: dict[str, Any] = {name: array.numpy() for name, array in self.arrays.items()}
        if (finite_S := arrays.pop("finite_S", None)) is not None:
            for place in np.flatnonzero(~finite_S).tolist():
                self.failures.setdefault(place, self._not_finite())
        scores_S2 = arrays.pop("scores_S2", None)
        return replace(outcome, failures=self.failures, scores_S2=scores_S2, features=arrays)

    def _not_finite(self) -> str:
        """Why a sequence failed whose features are not finite."""
        wider = PRECISIONS[self.recipe.precision].wider
        advice = f" in {self.recipe.precision} (try --precision {wider})" if wider else ""
        return f"features are not finite{advice}"
