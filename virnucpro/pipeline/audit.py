"""Audit: what a sample computed in 16 bits too says of 8 bits, and whether their results are good enough.

Axes: A sequences of a window that are audited, M models that have an 8-bit likeness.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from virnucpro.diagnostics.comparison import Agreement
from virnucpro.engine.audit_sample import LEAST
from virnucpro.engine.results import FinishedWindow

# With real weights (8M) the cosine to FP16 is 0.9999 on average, and of peptides of 20 residues 0.9987, the least being
# 0.973; scales that are wrong by 4, in one product of 23, make 0.72 to 0.79 of it (docs/howto/precision.md).
LEAST_MEAN_COSINE = 0.995
LEAST_COSINE = 0.9
# Labels change where a score lies next to 0.5, whatever rounds it: one in a hundred may. By the luck of the draw a
# sample has more of them: three standard deviations more are not held against it.
LABELS_SHARE, DEVIATIONS = 0.01, 3.0


@dataclass(frozen=True)
class Audit:
    """Sums over windows, which add up. What is not finite counts as a cosine of -1, or as a changed label."""

    sequences: int = 0
    cosines: int = 0  # as many as sequences, for each model
    cosine_sum: float = 0.0
    least_cosine: float = 1.0
    score_difference: float = 0.0  # the largest, of scores for virus
    labels: int = 0  # none of proteins
    labels_changed: int = 0

    @classmethod
    def of(cls, window: FinishedWindow) -> Audit:
        """Sum up one window."""
        if window.audited_A is None or window.cosines_AM is None or not len(window.audited_A):
            return cls()
        cosines_AM = np.nan_to_num(window.cosines_AM, nan=-1.0)
        sums = cls(len(cosines_AM), cosines_AM.size, float(cosines_AM.sum()), float(cosines_AM.min()))
        if window.scores_S2 is None or window.reference_A2 is None:
            return sums
        names = [str(place) for place in window.audited_A]
        both = Agreement(names, {}, {}, window.scores_S2[window.audited_A], window.reference_A2)
        differences_A, same_A = both.score_differences(), both.frame_labels_agree()
        largest = float(differences_A.max(initial=0.0, where=np.isfinite(differences_A)))
        return cls(
            sums.sequences, sums.cosines, sums.cosine_sum, sums.least_cosine, largest, len(same_A), int((~same_A).sum())
        )

    def __add__(self, later: Audit) -> Audit:
        return Audit(
            self.sequences + later.sequences,
            self.cosines + later.cosines,
            self.cosine_sum + later.cosine_sum,
            min(self.least_cosine, later.least_cosine),
            max(self.score_difference, later.score_difference),
            self.labels + later.labels,
            self.labels_changed + later.labels_changed,
        )

    @property
    def mean_cosine(self) -> float:
        return self.cosine_sum / self.cosines if self.cosines else 1.0

    @property
    def labels_allowed(self) -> int:
        """The most labels that may change: more do in less than 0.4 % of samples, where one in a hundred does."""
        expected = LABELS_SHARE * self.labels
        return math.ceil(expected + DEVIATIONS * math.sqrt(expected * (1 - LABELS_SHARE)))

    @property
    def missed(self) -> list[str]:
        """Say in words what is beyond its bound; nothing if the audit is passed."""
        missed = []
        if self.mean_cosine < LEAST_MEAN_COSINE:
            missed.append(f"mean cosine {self.mean_cosine:.4f}, required {LEAST_MEAN_COSINE}")
        if self.least_cosine < LEAST_COSINE:
            missed.append(f"least cosine {self.least_cosine:.4f}, required {LEAST_COSINE}")
        if self.labels_changed > self.labels_allowed:
            missed.append(f"{self.labels_changed} of {self.labels} labels changed, allowed {self.labels_allowed}")
        return missed

    def __str__(self) -> str:
        text = f"cosines {self.mean_cosine:.4f} on average and {self.least_cosine:.4f} at least"
        if self.labels:
            text += (
                f", scores within {self.score_difference:.4f}, {self.labels_changed} of {self.labels} labels changed"
            )
        return text

    def entry(self, precision: str, reference: str, results: str) -> dict[str, Any]:
        """Lay out what the manifest and the telemetry tell.

        Args:
            precision, reference: That were compared.
            results: In which the results are.
        """
        return {
            "precision": precision,
            "reference": reference,
            "results": results,
            "sequences": self.sequences,
            "mean_cosine": self.mean_cosine if self.sequences else None,
            "least_cosine": self.least_cosine if self.sequences else None,
            "score_difference": self.score_difference if self.labels else None,
            "labels": self.labels,
            "labels_changed": self.labels_changed,
            "bounds": {
                "mean_cosine": LEAST_MEAN_COSINE,
                "least_cosine": LEAST_COSINE,
                "labels_changed": self.labels_allowed,
            },
            "missed": self.missed,
            "failed": bool(self.missed),
        }


class RunningAudit:
    """The audit of a run that falls back: judged window by window in order of the input, whoever finishes first.

    Args:
        finished: Windows of the run that is resumed, in any order.
    """

    def __init__(self, finished: Iterable[FinishedWindow]) -> None:
        self.audit = Audit()  # of the windows up to the first that is not finished, or up to the failure
        self.failed = False
        self._ahead: dict[int, Audit] = {}
        self._next = 0
        for window in finished:
            self.add(window)

    def add(self, window: FinishedWindow) -> bool:
        """Take in a finished window; tell whether the audit has failed, for which it takes `LEAST` sequences."""
        self._ahead[window.index] = Audit.of(window)
        while not self.failed and self._next in self._ahead:
            self.audit += self._ahead.pop(self._next)
            self._next += 1
            self.failed = self.audit.sequences >= LEAST and bool(self.audit.missed)
        return self.failed
