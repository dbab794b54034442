"""Bootstrap: how far figures move when other sources might have been drawn.

Units of one source are alike (pieces of one genome), so whole sources are drawn again. A resample is a row of weights,
how often each source is drawn; no unit is copied. What scikit-learn has for one row is computed here for all at once,
for which it takes a minute: figures that are sums by a matrix product, those of ranks from one sort and running sums.

Axes: N units, S sources, R resamples, K sums of a source, B bins of the score, T distinct scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from virnucpro.evaluation.units import THRESHOLD

RESAMPLES = 1000
BINS = 10
EDGES = np.linspace(0, 1, BINS + 1)
ENDS = (2.5, 97.5)  # percentiles: 95 % lie between
AT_ONCE = 2_000_000  # weights of units in memory


def bin_of(score_N: np.ndarray) -> np.ndarray:
    """Tell the bin of each score, as scikit-learn's calibration_curve does (what lies on an edge is below it)."""
    return np.searchsorted(EDGES[1:-1], score_N)


def intervals(
    virus_N: np.ndarray, score_N: np.ndarray, sources: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, tuple[float, float] | None]:
    """Compute the 95 % interval of each of `metrics.figures`, by drawing sources again.

    Sources with units of virus and those without are drawn apart, so that either are in every resample.

    Args:
        virus_N: What the units are, bool. score_N: Of virus, finite.
    Returns:
        None for all where a class, or either kind of sources, comes from a single one: that cannot tell how far others
        would differ. None for a figure that no resample has.
    """
    names, source_N = np.unique(np.array(sources, dtype=np.str_), return_inverse=True)
    holds = [np.isin(np.arange(len(names)), source_N[class_N]) for class_N in (virus_N, ~virus_N)]
    strata = [np.flatnonzero(holds[0]), np.flatnonzero(~holds[0])]
    weight_RS = np.zeros((resamples, len(names)))
    if not len(names) or 1 in (holds[1].sum(), *map(len, strata)):
        return dict.fromkeys(resampled(virus_N, score_N, source_N, weight_RS[:0]))
    generator = np.random.Generator(np.random.PCG64(seed))
    for places in filter(len, strata):
        weight_RS[:, places] = generator.multinomial(len(places), np.full(len(places), 1 / len(places)), resamples)
    return {name: _ends(value_R) for name, value_R in resampled(virus_N, score_N, source_N, weight_RS).items()}


def _ends(value_R: np.ndarray) -> tuple[float, float] | None:
    finite = value_R[np.isfinite(value_R)]
    if not len(finite):
        return None
    low, high = np.percentile(finite, ENDS).tolist()
    return low, high


def resampled(
    virus_N: np.ndarray, score_N: np.ndarray, source_N: np.ndarray, weight_RS: np.ndarray
) -> dict[str, np.ndarray]:
    """Compute `metrics.figures` for every row of weights.

    Args:
        source_N: Of each unit, its place in S. weight_RS: How often each source counts, float64.
    Returns:
        float64 (R,) each; NaN where a figure has no meaning.
    """
    right_N = (score_N >= THRESHOLD) == virus_N
    excess_NB = np.eye(BINS)[bin_of(score_N)] * (score_N - virus_N)[:, None]
    columns = (virus_N, ~virus_N, virus_N & right_N, ~virus_N & right_N, (score_N - virus_N) ** 2)
    sums_SK = np.zeros((weight_RS.shape[1], len(columns) + BINS))
    np.add.at(sums_SK, source_N, np.column_stack([*columns, excess_NB]))
    sums_RK = weight_RS @ sums_SK
    virus_R, others_R, virus_right_R, others_right_R, squares_R = sums_RK.T[: len(columns)]
    count_R = virus_R + others_R
    auroc_R, auprc_R = _ranks(virus_N, score_N, source_N, weight_RS)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "accuracy": (virus_right_R + others_right_R) / count_R,
            "auroc": auroc_R,
            "auprc": auprc_R,
            "recall_virus": virus_right_R / virus_R,
            "recall_others": others_right_R / others_R,
            "brier": squares_R / count_R,
            "ece": np.abs(sums_RK[:, len(columns) :]).sum(axis=1) / count_R,
        }


def _ranks(
    virus_N: np.ndarray, score_N: np.ndarray, source_N: np.ndarray, weight_RS: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and average precision of every row: (R,), (R,); NaN without either class.

    Going down the distinct scores, AUROC is the area under steps from (false, true) to the next, and average precision
    the mean of precision over the viruses that a step adds.
    """
    order_N = np.argsort(-score_N, kind="stable")
    last_T = np.flatnonzero(np.diff(score_N[order_N], append=np.inf))
    rows = max(1, AT_ONCE // max(1, len(score_N)))
    aurocs, auprcs = [np.empty(0)], [np.empty(0)]
    for first in range(0, len(weight_RS), rows):
        weight_RN = weight_RS[first : first + rows, source_N[order_N]]
        true_RT = np.cumsum(weight_RN * virus_N[order_N], axis=1)[:, last_T]
        called_RT = np.cumsum(weight_RN, axis=1)[:, last_T]
        false_RT = called_RT - true_RT
        more_true_RT = np.diff(true_RT, axis=1, prepend=0)
        more_false_RT = np.diff(false_RT, axis=1, prepend=0)
        area_R = (more_false_RT * (true_RT - more_true_RT / 2)).sum(axis=1)
        precision_RT = np.divide(true_RT, called_RT, out=np.zeros_like(true_RT), where=called_RT > 0)
        gained_R = (more_true_RT * precision_RT).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            both_R = true_RT[:, -1] * false_RT[:, -1]
            aurocs.append(area_R / both_R)
            auprcs.append(np.where(both_R > 0, gained_R / true_RT[:, -1], np.nan))
    return np.concatenate(aurocs), np.concatenate(auprcs)
