"""Calibrate: how much a classifier's scores are worth, told by sources that it was not trained on.

Axes: S frames, N runs of chunks, 2 classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from virnucpro.models.calibration import Calibration

LEAST_RUNS = 20  # of each class, of a length, to count
_WIDEST = 20.0  # temperatures from 1/20 to 20


def temperature(logits_S2: np.ndarray, virus_S: np.ndarray, weights_2: np.ndarray) -> float:
    """Find what logits are divided by so that the cross-entropy is least (Guo and others 2017).

    Args:
        logits_S2: float64, of frames of the validation part.
        weights_2: Of both classes, as in training.
    """
    weight_S = weights_2[virus_S.astype(int)]
    margin_S = (logits_S2[:, 1] - logits_S2[:, 0]) * np.where(virus_S, 1, -1)

    def loss(log_temperature: float) -> float:
        return float((weight_S * np.logaddexp(0, -margin_S / np.exp(log_temperature))).sum() / weight_S.sum())

    bound = np.log(_WIDEST)
    found = minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


@dataclass(frozen=True)
class Runs:
    """Runs of consecutive chunks of a record, as if they were contigs.

    mean_N: the mean evidence. chunks_N: how many there are. virus_N: bool.
    """

    mean_N: np.ndarray
    chunks_N: np.ndarray
    virus_N: np.ndarray


def runs_of(evidence: Sequence[np.ndarray], virus: Sequence[bool]) -> Runs:
    """Cut records into runs of 1, 2, 4, 8, ... chunks, side by side; what is left over at the end is left out.

    Args:
        evidence: Of the chunks of each record, in order. virus: Of each record.
    """
    rows = list[tuple[float, int, bool]]()
    for evidence_C, is_virus in zip(evidence, virus, strict=True):
        length = 1
        while length <= len(evidence_C):
            whole = len(evidence_C) // length * length
            rows += [(mean, length, is_virus) for mean in evidence_C[:whole].reshape(-1, length).mean(axis=1)]
            length *= 2
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    return Runs(np.array(columns[0], float), np.array(columns[1], int), np.array(columns[2], bool))


def calibration(runs: Runs) -> Calibration:
    """Fit a calibration by logistic regression; classes, and lengths of which there are enough runs, weigh the same.

    Targets are a little nearer to the middle than 0 and 1, by how many there are (Platt 1999), so that what is told
    apart without an error is not told for certain.
    """
    weight_N, target_N = np.zeros(len(runs.virus_N)), np.zeros(len(runs.virus_N))
    for length in np.unique(runs.chunks_N):
        cells = [(runs.chunks_N == length) & (runs.virus_N == virus) for virus in (False, True)]
        counts = [int(cell.sum()) for cell in cells]
        if min(counts) < (LEAST_RUNS if length > 1 else 1):
            continue
        for cell, count, target in zip(cells, counts, (1 / (counts[0] + 2), (counts[1] + 1) / (counts[1] + 2))):
            weight_N[cell], target_N[cell] = 1 / count, target
    used_N = weight_N > 0
    mean_N, chunks_N = runs.mean_N[used_N], runs.chunks_N[used_N]
    weight_N, target_N = weight_N[used_N] / weight_N.sum(), target_N[used_N]
    features_N3 = np.stack([mean_N, np.log2(chunks_N) * mean_N, np.ones(len(mean_N))], axis=1)

    def loss(parameters_3: np.ndarray) -> tuple[float, np.ndarray]:
        log_odds_N = features_N3 @ parameters_3
        error_N = 0.5 * (1 + np.tanh(log_odds_N / 2)) - target_N
        losses_N = np.logaddexp(0, log_odds_N) - target_N * log_odds_N
        return float(weight_N @ losses_N), (weight_N * error_N) @ features_N3

    # More evidence of the same kind never counts against it, nor does a longer contig count less.
    bounds = [(0.0, None), (0.0, None if len(np.unique(chunks_N)) > 1 else 0.0), (None, None)]
    found = minimize(loss, np.array([1.0, 0.0, 0.0]), jac=True, bounds=bounds, method="L-BFGS-B")
    return Calibration(*map(float, found.x))
