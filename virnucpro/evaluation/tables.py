"""Tables: what was said of the units of each class, group, length and score.

Axes: N units.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from virnucpro.evaluation.bootstrap import BINS, EDGES, bin_of
from virnucpro.evaluation.records_table import CLASSES
from virnucpro.evaluation.units import CALLS, THRESHOLD, Units

ROWS = tuple(reversed(CLASSES))
LENGTHS = (300, 500, 1000, 3000, 10000)  # bp, where the next bin begins


def confusion(units: Units) -> dict[str, dict[str, int]]:
    """Count what was said of either class: rows ROWS, columns virus, others and whatever else was said, by CALLS."""
    columns = [call for call in CALLS if call in ROWS or call in units.calls]
    pairs = Counter(zip(units.virus_N.tolist(), units.calls, strict=True))
    return {row: {call: pairs[row == "virus", call] for call in columns} for row in ROWS}


def by_group(units: Units) -> list[dict[str, Any]]:
    """Judge the units of each group, in alphabetical order; nothing where nobody names one.

    Returns:
        Rows "group" (last, "", those of which nobody says), "units", "virus", "scored", and of these "accuracy" by the
        threshold, "recall" (the share whose call is right), "auroc" and "mean_score". A group of one class is ranked
        against all units of the other, any other group by itself. What cannot be had is None.
    """
    names = sorted({*units.groups} - {""})
    group_N = np.array(units.groups, dtype=np.str_)
    rows = []
    for name in [*names, *([""] if names and "" in units.groups else [])]:
        some_N = group_N == name
        classes = {*units.virus_N[some_N].tolist()}
        against_N = some_N if len(classes) > 1 else some_N | ~np.isin(units.virus_N, [*classes])
        rows.append({"group": name, **_row(units.some(some_N), units.some(against_N))})
    return rows


def by_length(units: Units) -> list[dict[str, Any]]:
    """Judge the units of each bin of lengths that has any, the shortest first.

    Returns:
        Rows "length", e.g. "300-499" bp, and what `by_group` gives; "auroc" is within the bin.
    """
    ends = zip(("", *map(str, LENGTHS)), (*LENGTHS, None), strict=True)
    names = [f"{first}-{end - 1}" if first and end else f">={first}" if first else f"<{end}" for first, end in ends]
    bin_N = np.digitize(units.length_N, LENGTHS)
    parts = ((name, units.some(bin_N == place)) for place, name in enumerate(names))
    return [{"length": name, **_row(part, part)} for name, part in parts if len(part)]


def _row(units: Units, ranked: Units) -> dict[str, Any]:
    """Figures of some units, of which AUROC is among others."""
    scored, ranked = units.some(units.scored()), ranked.some(ranked.scored())
    both = len({*ranked.virus_N.tolist()}) == 2
    said_N = np.array(scored.calls, dtype=np.str_)
    right_N = said_N == np.where(scored.virus_N, *ROWS)
    return {
        "units": len(units),
        "virus": int(units.virus_N.sum()),
        "scored": len(scored),
        "accuracy": _mean((scored.score_N >= THRESHOLD) == scored.virus_N),
        "recall": _mean(right_N),
        "auroc": float(roc_auc_score(ranked.virus_N, ranked.score_N)) if both else None,
        "mean_score": _mean(scored.score_N),
    }


def reliability(units: Units) -> list[dict[str, Any]]:
    """Compare scores with what is so: of each bin its edges "low" and "high", "count", "mean_score", share of "virus".

    A perfect classifier of its own doubts has the last two equal; they are None for an empty bin.
    """
    units = units.some(units.scored())
    bin_N, rows = bin_of(units.score_N), []
    for place in range(BINS):
        some = units.some(bin_N == place)
        low, high = (round(float(edge), 3) for edge in EDGES[place : place + 2])
        means = {"mean_score": _mean(some.score_N), "virus": _mean(some.virus_N)}
        rows.append({"low": low, "high": high, "count": len(some), **means})
    return rows


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
