"""Sections: the tables that both the page and the terminal show, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

FIGURES = {  # of `metrics`: names that people know
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "accuracy": "accuracy",
    "recall_virus": "recall of virus",
    "recall_others": "recall of others",
    "brier": "Brier score",
    "ece": "calibration error",
}
COUNTS = ("scored", "virus", "others", "sources")
JUDGED = ("units", "virus", "scored", "accuracy", "recall", "auroc", "mean_score")  # of a group or bin
HEADS = {"recall": "called right", "auroc": "AUROC", "mean_score": "mean score"}
RARE = ("precision", "false discovery rate")  # where viruses are
NO_GROUP = "(no group)"
ITSELF = "(this classifier)"  # among baselines


class Section(NamedTuple):
    """A table: what stands above it, the names of its columns, and rows, of which the first text is the row's name."""

    heading: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def number(value: float | None) -> str:
    """Write a share with three digits, a count with none, and "-" for what cannot be had."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def percent(share: float) -> str:
    return f"{100 * share:g} %"


def with_interval(figure: dict[str, float | None]) -> str:
    """Write a figure and its interval, if it has one."""
    if figure["low"] is None:
        return number(figure["value"])
    return f"{number(figure['value'])} ({number(figure['low'])} to {number(figure['high'])})"


def sections(document: dict[str, Any]) -> Iterator[Section]:
    """Yield the tables of a document, those of all levels first."""
    levels = document["levels"]
    rows = [(name, *(number(level["metrics"][name]) for level in levels.values())) for name in COUNTS]
    for key, name in FIGURES.items():
        rows.append((name, *(with_interval(level["metrics"][key]) for level in levels.values())))
    yield Section("Figures of what has a score, with 95 % intervals over sources", ("", *map(plural, levels)), rows)
    for name, level in levels.items():
        yield from _of_level(plural(name).capitalize(), level)


def plural(level: str) -> str:
    return f"{level}s"


def _of_level(name: str, level: dict[str, Any]) -> Iterator[Section]:
    said = level["confusion"]
    rows = [(row, *map(number, counts.values())) for row, counts in said.items()]
    yield Section(f"{name}: what they are, and what was said", ("", *said["virus"]), rows)
    for key, table in (("group", level["groups"]), ("length", level["lengths"])):
        if table:
            head = (f"{key}, bp" if key == "length" else key, *(HEADS.get(column, column) for column in JUDGED))
            named = [(row[key] or NO_GROUP, *(number(row[column]) for column in JUDGED)) for row in table]
            yield Section(f"{name} by {key}", head, named)
    yield _rare(name, level["at_prevalence"])
    share = f"{percent(level['at_prevalence']['prevalence'])} viral"
    head = ("threshold", "recall", "false positive rate", "precision", *(f"{what} at {share}" for what in RARE))
    tried = [(f"{row['threshold']:.2f}", *map(number, [*row.values()][1:])) for row in level["thresholds"]]
    yield Section(f"{name} by threshold", head, tried)
    if level["baselines"]:
        compared = {ITSELF: level["metrics"], **{name: row["metrics"] for name, row in level["baselines"].items()}}
        keys = ("auroc", "auprc", "accuracy", "brier")
        lines = [(each, *(with_interval(row[key]) for key in keys)) for each, row in compared.items()]
        yield Section(f"{name}: beside simple predictors", ("", *(FIGURES[key] for key in keys)), lines)


def _rare(name: str, at: dict[str, Any]) -> Section:
    rows = [("0.500", *(number(at[key]) for key in ("recall", "false_positive_rate", "precision")), "")]
    for row in at["allowed"]:
        keys = ("threshold", "recall", "false_positive_rate", "precision")
        rows.append((*(number(row[key]) for key in keys), percent(row["allowed"])))
    heads = ("threshold", "recall", "false positive rate", "precision", "false positives allowed")
    return Section(f"{name} where {percent(at['prevalence'])} are viruses", heads, rows)
