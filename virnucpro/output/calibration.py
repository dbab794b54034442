"""Calibration: from the scores of chunks to the probability that what they are of is a virus.

Axes: C chunks; N contigs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from virnucpro.output.verdicts import ChunkVerdict

LEAST = 1e-6  # a score is no nearer to 0 and 1: of one chunk no more can be known


def evidence(verdict: ChunkVerdict) -> float:
    """Log-odds of a chunk's score, which is the middle of the greatest and the least score of virus of its frames."""
    score = min(max((verdict.delta + 1) / 2, LEAST), 1 - LEAST)
    return math.log(score / (1 - score))


@dataclass(frozen=True)
class Calibration:
    """Log-odds of virus, where both classes are equally frequent, from the mean evidence m of n chunks:
    (slope + growth log2 n) m + intercept. Chunks of a contig are alike, so growth is far below that of n witnesses.
    """

    slope: float
    growth: float
    intercept: float

    @classmethod
    def of(cls, document: dict[str, Any]) -> Calibration | None:
        """The one that a classifier's card has; None if it has none."""
        entry = document.get("calibration")
        return cls(**{name: float(entry[name]) for name in ("slope", "growth", "intercept")}) if entry else None

    def log_odds(self, mean_N: np.ndarray, chunks_N: np.ndarray) -> np.ndarray:
        """Log-odds of contigs, float64 (N,), from the mean evidence and the number of their chunks."""
        log_odds_N: np.ndarray = (self.slope + self.growth * np.log2(chunks_N)) * mean_N + self.intercept
        return log_odds_N

    def probability(self, verdicts: Sequence[ChunkVerdict]) -> float:
        """Probability of virus for a contig of these chunks, where both classes are equally frequent."""
        mean = sum(map(evidence, verdicts)) / len(verdicts)
        return probability(float(self.log_odds(np.array([mean]), np.array([len(verdicts)]))[0]))


def probability(log_odds: float) -> float:
    """The logistic function, which never overflows."""
    return 0.5 * (1 + math.tanh(log_odds / 2))


def at_prevalence(probability_N: np.ndarray, prevalence: float) -> np.ndarray:
    """Turn probabilities at equal classes into those where so many in one are viruses (Bayes): float64 (N,)."""
    viral_N, other_N = probability_N * prevalence, (1 - probability_N) * (1 - prevalence)
    turned_N: np.ndarray = viral_N / (viral_N + other_N)
    return turned_N


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
