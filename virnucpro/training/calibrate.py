"""Calibrate: how much a classifier's scores are worth, told by sources that it was not trained on.

Axes: S frames, N runs of chunks, 2 classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from virnucpro.models.calibration import Calibration

LEAST_SOURCES = 20  # of each class, that have contigs of a length, for it to count
_WIDEST = 20.0  # temperatures from 1/20 to 20


def temperature(logits_S2: np.ndarray, virus_S: np.ndarray, weights_2: np.ndarray) -> float:
    """Find what logits are divided by so that the cross-entropy is least (Guo and others 2017).

    Args:
        logits_S2: float64, of frames of the validation part.
        weights_2: Of both classes, as in training.
    """
    weight_S = weights_2[virus_S.astype(int)]
    margin_S, target_S = logits_S2[:, 1] - logits_S2[:, 0], targets(virus_S)

    def loss(log_temperature: float) -> float:
        log_odds_S = margin_S / np.exp(log_temperature)
        losses_S = np.logaddexp(0, log_odds_S) - target_S * log_odds_S
        return float((weight_S * losses_S).sum() / weight_S.sum())

    bound = np.log(_WIDEST)
    found = minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def targets(virus_N: np.ndarray) -> np.ndarray:
    """What is to be told of each: a little nearer to the middle than 0 and 1, by how many there are (Platt 1999), so
    that what is told apart without an error is not told for certain. float64 (N,)."""
    viral = int(virus_N.sum())
    targets_N: np.ndarray = np.where(virus_N, (viral + 1) / (viral + 2), 1 / (len(virus_N) - viral + 2))
    return targets_N


@dataclass(frozen=True)
class Runs:
    """Runs of consecutive chunks of a record, as if they were contigs.

    mean_N: the mean evidence. chunks_N: how many there are. virus_N: bool. source_N: int64, by number.
    """

    mean_N: np.ndarray
    chunks_N: np.ndarray
    virus_N: np.ndarray
    source_N: np.ndarray


def runs_of(evidence: Sequence[np.ndarray], virus: Sequence[bool], sources: Sequence[str]) -> Runs:
    """Cut records into runs of 1, 2, 4, 8, ... chunks, side by side; what is left over at the end is left out.

    Args:
        evidence: Of the chunks of each record, in order. virus, sources: Of each record.
    """
    rows = list[tuple[float, int, bool, int]]()
    _, numbers = np.unique(np.array(sources, dtype=np.str_), return_inverse=True)
    for evidence_C, is_virus, source in zip(evidence, virus, numbers.tolist(), strict=True):
        length = 1
        while length <= len(evidence_C):
            whole = len(evidence_C) // length * length
            rows += [(mean, length, is_virus, source) for mean in evidence_C[:whole].reshape(-1, length).mean(axis=1)]
            length *= 2
    columns = list(zip(*rows, strict=True)) or [()] * 4
    kinds = float, int, bool, int
    return Runs(*(np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)))


def calibration(runs: Runs) -> Calibration:
    """Fit a calibration by logistic regression, with `targets`.

    Classes weigh the same, so do lengths that enough sources have, and within these so do sources. Of longer contigs
    nothing is known, and they get what the longest of these do.
    """
    weight_N, target_N = np.zeros(len(runs.virus_N)), np.zeros(len(runs.virus_N))
    for length in np.unique(runs.chunks_N):
        cells = [(runs.chunks_N == length) & (runs.virus_N == virus) for virus in (False, True)]
        if min(len({*runs.source_N[cell].tolist()}) for cell in cells) < (LEAST_SOURCES if length > 1 else 1):
            continue
        target_N[cells[0] | cells[1]] = targets(runs.virus_N[cells[0] | cells[1]])
        for cell in cells:
            _, place_N, counts = np.unique(runs.source_N[cell], return_inverse=True, return_counts=True)
            weight_N[cell] = 1 / counts[place_N] / len(counts)
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
    slope, growth, intercept = map(float, found.x)
    return Calibration(slope, growth, intercept, int(chunks_N.max(initial=1)))
