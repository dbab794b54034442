"""Held out: simple predictors judged on the same chunks as a classifier, each chunk by one that never saw its source.

Axes: N chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from virnucpro.evaluation.baselines import BASELINES

FOLDS = 5
MOST = 20_000  # chunks; of more, whole sources are drawn


def baseline_scores(
    dna: Sequence[str], virus_N: np.ndarray, sources: Sequence[str], done: Callable[[int], None] = lambda count: None
) -> dict[str, np.ndarray]:
    """Score chunks by each baseline, cross-validated over sources: float64 (N,), NaN for what was not drawn.

    Args:
        dna: Of the chunks. virus_N: bool. done: Told when a baseline is through.
    Returns:
        By the name of the baseline; nothing where a class has fewer sources than there are folds.
    """
    _, source_N = np.unique(np.asarray(sources), return_inverse=True)
    if min(len({*source_N[virus_N == virus].tolist()}) for virus in (False, True)) < FOLDS:
        return {}
    drawn_N = _drawn(source_N)
    chosen, viral = [dna[place] for place in drawn_N], virus_N[drawn_N]
    folds = list(StratifiedGroupKFold(FOLDS).split(chosen, viral, source_N[drawn_N]))
    scores: dict[str, np.ndarray] = {}
    for name, baseline in BASELINES.items():
        scores[name] = np.full(len(dna), np.nan)
        for train, test in folds:
            told = baseline([chosen[place] for place in train], viral[train], [chosen[place] for place in test])
            scores[name][drawn_N[test]] = told
        done(1)
    return scores


def _drawn(source_N: np.ndarray) -> np.ndarray:
    """Places of the chunks of as many sources as come to `MOST`, ascending; the same ones every time."""
    counts = np.bincount(source_N)
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(counts))
    kept = order[np.cumsum(counts[order]) <= MOST]
    return np.flatnonzero(np.isin(source_N, kept)) if len(source_N) > MOST else np.arange(len(source_N))
