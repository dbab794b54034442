"""Metrics: how well scores tell virus from others, each figure with its 95 % interval.

Axes: N units, B bins of the score.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, average_precision_score, brier_score_loss, recall_score, roc_auc_score

from virnucpro.evaluation.bootstrap import BINS, RESAMPLES, bin_of, intervals
from virnucpro.evaluation.units import THRESHOLD, Units


def metrics(units: Units, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """Judge the units that have a score.

    Args:
        resamples: Of the sources, for the intervals. seed: Of what is drawn; the same gives the same.
    Returns:
        "scored", "virus", "others" and "sources": counts. Under each name of `figures` its "value" and the ends of its
        95 % interval, "low" and "high"; what cannot be had is None.
    """
    units = units.some(units.scored())
    virus = int(units.virus_N.sum())
    counts = {"scored": len(units), "virus": virus, "others": len(units) - virus, "sources": len({*units.sources})}
    ends = intervals(units.virus_N, units.score_N, units.sources, resamples, seed)
    rows = {}
    for name, value in figures(units.virus_N, units.score_N).items():
        low, high = ends[name] or (None, None)
        rows[name] = {"value": value, "low": low, "high": high}
    return {**counts, **rows}


def figures(virus_N: np.ndarray, score_N: np.ndarray, weight_N: np.ndarray | None = None) -> dict[str, float | None]:
    """Compute accuracy, AUROC, average precision, recall of either class, Brier score and calibration error.

    Args:
        virus_N: What the units are, bool. score_N: Of virus, finite. weight_N: How often each counts, once if None.
    Returns:
        None where a figure has no meaning: without units of a class, or without any.
    """
    weight_N = np.ones(len(virus_N)) if weight_N is None else weight_N
    kept_N = weight_N > 0
    virus_N, score_N, weight_N = virus_N[kept_N].astype(int), score_N[kept_N], weight_N[kept_N]
    called_N = (score_N >= THRESHOLD).astype(int)
    some, viruses, others = len(virus_N) > 0, bool(virus_N.any()), not virus_N.all()
    both = viruses and others
    labelled = {"y_true": virus_N, "sample_weight": weight_N}
    return {
        "accuracy": float(accuracy_score(y_pred=called_N, **labelled)) if some else None,
        "auroc": float(roc_auc_score(y_score=score_N, **labelled)) if both else None,
        "auprc": float(average_precision_score(y_score=score_N, **labelled)) if both else None,
        "recall_virus": float(recall_score(y_pred=called_N, pos_label=1, **labelled)) if viruses else None,
        "recall_others": float(recall_score(y_pred=called_N, pos_label=0, **labelled)) if others else None,
        "brier": float(brier_score_loss(y_proba=score_N, pos_label=1, labels=[0, 1], **labelled)) if some else None,
        "ece": calibration_error(virus_N, score_N, weight_N) if some else None,
    }


def calibration_error(virus_N: np.ndarray, score_N: np.ndarray, weight_N: np.ndarray) -> float:
    """Compute the expected calibration error: the mean of |mean score - share of virus| over bins, by their weight.

    A bin's share of the weight times that difference is |sum of weight (score - virus)| by the sum of all weights.
    """
    excess_B = np.bincount(bin_of(score_N), weight_N * (score_N - virus_N), minlength=BINS)
    return float(np.abs(excess_B).sum() / weight_N.sum())
