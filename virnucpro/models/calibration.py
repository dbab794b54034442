"""Calibration: from what a classifier says of chunks to the probability that what they are of is a virus."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LEAST = 1e-6  # a score is no nearer to 0 and 1: of one chunk no more can be known


def evidence(score: float) -> float:
    """Log-odds of a chunk's score: of the middle between the greatest and the least score of virus of its frames."""
    score = min(max(score, LEAST), 1 - LEAST)
    return math.log(score / (1 - score))


def probability(log_odds: float) -> float:
    """The logistic function, which never overflows."""
    return 0.5 * (1 + math.tanh(log_odds / 2))


@dataclass(frozen=True)
class Calibration:
    """Log-odds of virus, where both classes are equally frequent, from the mean evidence m of n chunks:
    (slope + growth log2 n) m + intercept. Chunks of a contig are alike, so growth is far below that of n witnesses; of
    more than `longest` chunks nothing was known, and they count as so many.
    """

    slope: float
    growth: float
    intercept: float
    longest: int = 1

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Calibration | None:
        """The one that the document of a classifier has; None if it has none.

        Raises:
            ValueError, TypeError, KeyError: It has something else in its place.
        """
        if "calibration" not in document:
            return None
        numbers = {name: float(document["calibration"][name]) for name in ("slope", "growth", "intercept")}
        longest = int(document["calibration"]["longest"])
        if not all(map(math.isfinite, numbers.values())) or longest < 1:
            raise ValueError("a calibration that is not finite, or of contigs without a chunk")
        return cls(**numbers, longest=longest)

    def probability(self, scores: Sequence[float], prevalence: float = 0.5) -> float:
        """Probability of virus for a contig, where so many in one are viruses.

        Args:
            scores: Of its chunks, at least one.
        """
        mean = sum(map(evidence, scores)) / len(scores)
        log_odds = (self.slope + self.growth * math.log2(min(len(scores), self.longest))) * mean + self.intercept
        return probability(log_odds + math.log(prevalence / (1 - prevalence)))
