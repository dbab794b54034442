"""Discovery: of contigs that are called viral, how many are expected not to be. Axes: N contigs."""

from __future__ import annotations

import numpy as np


def false_discovery_rates(probability_N: np.ndarray) -> np.ndarray:
    """For each contig the expected share of others among all that are at least as probable: float64 (N,)."""
    order_N = np.argsort(-probability_N, kind="stable")
    sorted_N = probability_N[order_N]
    means_N = np.cumsum(1 - sorted_N) / np.arange(1, len(sorted_N) + 1)
    # Of equal ones the last tells: they are taken together, or not at all.
    last_N = np.searchsorted(-sorted_N, -sorted_N, side="right") - 1
    rates_N = np.empty_like(means_N)
    rates_N[order_N] = means_N[last_N]
    return rates_N
