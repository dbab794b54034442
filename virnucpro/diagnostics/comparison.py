"""Comparison: how near two computations of the same sequences are.

Axes: S sequences, D width of a feature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from virnucpro.engine import audit_sample


def cosines(one_SD: np.ndarray, other_SD: np.ndarray) -> np.ndarray:
    """Cosine of each pair of rows: float64 (S,). Rows that are not finite, and rows of zeros, give NaN."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return audit_sample.cosines(one_SD.astype(np.float64), other_SD.astype(np.float64))


def relative_errors(one_SD: np.ndarray, exact_SD: np.ndarray) -> np.ndarray:
    """Length of each row's difference by that of the exact one: float64 (S,); not finite where they are not."""
    one_SD, exact_SD = one_SD.astype(np.float64), exact_SD.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        errors_S: np.ndarray = np.linalg.norm(one_SD - exact_SD, axis=1) / np.linalg.norm(exact_SD, axis=1)
    return errors_S


@dataclass(frozen=True)
class LayerCosts:
    """What 8-bit products cost: by how much the mean relative error of features falls where some stay in 16 bits.

    sequences: that the means are of. layers: all products of one layer, the first first. products: one kind of product
    in all layers.
    """

    sequences: int
    error: float  # the mean itself
    layers: list[float]
    products: dict[str, float]


@dataclass(frozen=True)
class Agreement:
    """Two computations of S sequences, in the precision in question and in the reference's, which comes second.

    cosines, errors: of the features of each model, float64 (S,); errors as `relative_errors` has them.
    scores_S2, reference_S2: others and virus; None for proteins. chunks_S: to which chunk a frame belongs, consecutive
    numbers from 0. failures: why a sequence has no features. layer_costs: of 8-bit products alone.
    """

    names: Sequence[str]
    cosines: dict[str, np.ndarray]
    failures: dict[int, str]
    scores_S2: np.ndarray | None = None
    reference_S2: np.ndarray | None = None
    chunks_S: np.ndarray | None = None
    errors: dict[str, np.ndarray] = field(default_factory=dict)
    layer_costs: LayerCosts | None = None

    def summary(self) -> dict[str, Any]:
        """The figures that a decision rests on; a sequence that failed agrees with nothing."""
        summary: dict[str, Any] = {"sequences": len(self.names), "failed": len(self.failures)}
        for model, values_S in self.cosines.items():
            summary[f"{model}_cosine"] = _figures(values_S, least=np.min, median=np.median)
        for model, values_S in self.errors.items():
            summary[f"{model}_error"] = _figures(values_S, mean=np.mean, largest=np.max)
        if self.layer_costs:
            summary["layer_costs"] = asdict(self.layer_costs)
        if self.scores_S2 is not None:
            summary["score_difference"] = _figures(self.score_differences(), largest=np.max, mean=np.mean)
            summary["frame_labels_agree"] = share(self.frame_labels_agree())
            chunk_labels_agree = self.chunk_labels_agree()
            summary["chunks"] = len(chunk_labels_agree)
            summary["chunk_labels_agree"] = share(chunk_labels_agree)
        return summary

    def score_differences(self) -> np.ndarray:
        """|virus - virus of the reference|: (S,)."""
        return np.abs(self.scores_S2[:, 1] - self.reference_S2[:, 1])

    def frame_labels_agree(self) -> np.ndarray:
        """Whether a frame gets the same label: bool (S,)."""
        finite_S = np.isfinite(self.scores_S2).all(axis=1) & np.isfinite(self.reference_S2).all(axis=1)
        return finite_S & (self.scores_S2.argmax(axis=1) == self.reference_S2.argmax(axis=1))

    def chunk_labels_agree(self) -> np.ndarray:
        """Whether a chunk gets the same verdict, from the maxima over its frames: bool (C,)."""
        count = int(self.chunks_S.max(initial=-1)) + 1
        best = []
        for scores_S2 in (self.scores_S2, self.reference_S2):
            best_C2 = np.full((count, 2), -np.inf)
            np.maximum.at(best_C2, self.chunks_S, scores_S2)  # NaN stays NaN
            best.append(best_C2)
        finite_C = np.isfinite(best[0]).all(axis=1) & np.isfinite(best[1]).all(axis=1)
        viral = [best_C2[:, 1] >= best_C2[:, 0] for best_C2 in best]
        return finite_C & (viral[0] == viral[1])


def _figures(values_S: np.ndarray, **statistics: Callable[[np.ndarray], np.floating]) -> dict[str, float | None]:
    """Statistics of the finite values; None where there are none."""
    finite = values_S[np.isfinite(values_S)]
    return {name: float(statistic(finite)) if len(finite) else None for name, statistic in statistics.items()}


def share(which: np.ndarray) -> float:
    """Tell the share of True; 1 of nothing."""
    return float(which.mean()) if len(which) else 1.0
