"""Thresholds: what each gives, with classes as they are and where viruses are rare.

Precision of a test set tells nothing of a sample with another share of viruses. There it is, by Bayes' rule, with p the
share, t the recall of virus and f the false positive rate: p t / (p t + (1 - p) f).

Axes: N units, T distinct scores.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from virnucpro.errors import BadRequest
from virnucpro.evaluation.units import THRESHOLD, Units

TRIED = (*(round(0.05 * step, 2) for step in range(1, 20)), 0.99)
RATES = (0.01, 0.05)  # of false positives, that somebody may allow
MOST_POINTS = 300  # of a curve


def precision(recall: float | None, false_rate: float | None, prevalence: float) -> float | None:
    """Compute the precision at a share of viruses; None where a rate is not known or nothing is called a virus."""
    if recall is None or false_rate is None:
        return None
    true, false = prevalence * recall, (1 - prevalence) * false_rate
    return true / (true + false) if true + false > 0 else None


def at_prevalence(units: Units, prevalence: float) -> dict[str, Any]:
    """Tell what a classifier is worth where a share of the units are viruses.

    Returns:
        "prevalence"; at the threshold 0.5 "recall", "false_positive_rate" and "precision"; and in "allowed" a row for
        each "allowed" false positive rate: the lowest "threshold" that keeps it, "recall" and the
        "false_positive_rate" there, and "precision", reckoned with the rate that is allowed, for among few others
        a smaller one may be chance. None where it cannot be had; so is a threshold above all scores.
    Raises:
        BadRequest: The share is not between 0 and 1.
    """
    virus_N, score_N = _ranked(units, prevalence)
    recall, false_rate = _rates(virus_N, score_N, THRESHOLD)
    now = {"recall": recall, "false_positive_rate": false_rate, "precision": precision(recall, false_rate, prevalence)}
    rows = []
    if _both(virus_N):
        false_T, true_T, threshold_T = roc_curve(virus_N, score_N, drop_intermediate=False)
    for allowed in RATES:
        row: dict[str, Any] = dict.fromkeys(("threshold", "recall", "false_positive_rate", "precision"))
        if _both(virus_N):
            place = int(np.searchsorted(false_T, allowed, side="right")) - 1
            row = {
                "threshold": float(threshold_T[place]) if place else None,  # the first one is infinite
                "recall": float(true_T[place]),
                "false_positive_rate": float(false_T[place]),
                "precision": precision(float(true_T[place]), allowed, prevalence),
            }
        rows.append({"allowed": allowed, **row})
    return {"prevalence": prevalence, **now, "allowed": rows}


def thresholds(units: Units, prevalence: float) -> list[dict[str, Any]]:
    """Tell what each threshold of TRIED gives.

    Returns:
        Rows "threshold", "recall", "false_positive_rate", "precision" (with classes as they are),
        "precision_at_prevalence" and "false_discovery_rate" there (the share of wrong ones among those called viruses).
        None where it cannot be had.
    Raises:
        BadRequest: The share is not between 0 and 1.
    """
    virus_N, score_N = _ranked(units, prevalence)
    rows = []
    for threshold in TRIED:
        recall, false_rate = _rates(virus_N, score_N, threshold)
        called_N = score_N >= threshold
        there = precision(recall, false_rate, prevalence)
        rows.append(
            {
                "threshold": threshold,
                "recall": recall,
                "false_positive_rate": false_rate,
                "precision": float(virus_N[called_N].mean()) if called_N.any() else None,
                "precision_at_prevalence": there,
                "false_discovery_rate": None if there is None else 1 - there,
            }
        )
    return rows


def curves(units: Units) -> dict[str, list[list[float]] | None]:
    """Give points for pictures: "roc" (false positive rate, recall) and "precision_recall" (recall, precision).

    At most MOST_POINTS each, the first and the last among them; None unless there are both classes.
    """
    scored = units.some(units.scored())
    if not _both(scored.virus_N):
        return {"roc": None, "precision_recall": None}
    false_T, true_T, _ = roc_curve(scored.virus_N, scored.score_N)
    precision_T, recall_T, _ = precision_recall_curve(scored.virus_N, scored.score_N)
    return {"roc": _thin(false_T, true_T), "precision_recall": _thin(recall_T[::-1], precision_T[::-1])}


def _thin(x_T: np.ndarray, y_T: np.ndarray) -> list[list[float]]:
    places = np.linspace(0, len(x_T) - 1, min(len(x_T), MOST_POINTS)).round().astype(int)
    return [[float(x), float(y)] for x, y in zip(x_T[places], y_T[places], strict=True)]


def _ranked(units: Units, prevalence: float) -> tuple[np.ndarray, np.ndarray]:
    """What the scored units are, and their scores."""
    if not 0 < prevalence < 1:
        raise BadRequest(f"prevalence {prevalence}, a share of viruses lies between 0 and 1: try 0.05")
    return units.virus_N[units.scored()], units.score_N[units.scored()]


def _rates(virus_N: np.ndarray, score_N: np.ndarray, threshold: float) -> tuple[float | None, float | None]:
    """Recall of virus and false positive rate: the shares of either class that are called a virus."""
    called = (score_N[class_N] >= threshold for class_N in (virus_N, ~virus_N))
    recall, false_rate = (float(called_N.mean()) if len(called_N) else None for called_N in called)
    return recall, false_rate


def _both(virus_N: np.ndarray) -> bool:
    return bool(virus_N.any() and not virus_N.all())
