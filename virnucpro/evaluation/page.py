"""Page: an evaluation as a document (metrics.json), as text for the terminal, and as HTML with pictures."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from virnucpro._version import __version__
from virnucpro.errors import BadInput
from virnucpro.evaluation.bootstrap import RESAMPLES
from virnucpro.evaluation.metrics import metrics
from virnucpro.evaluation.sections import ITSELF, number, percent, plural, sections, with_interval
from virnucpro.evaluation.tables import by_group, by_length, confusion, reliability
from virnucpro.evaluation.thresholds import at_prevalence, curves, thresholds
from virnucpro.evaluation.units import Units

PREVALENCE = 0.05
WIDEST = 1000  # letters of a line of text: no table is wrapped
Scores = Mapping[str, np.ndarray]  # of each baseline, (N,)


def document(
    units_by_level: Mapping[str, Units],
    prevalence: float = PREVALENCE,
    about: Mapping[str, str] | None = None,
    baselines: Mapping[str, Scores] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge the units of each level, as what metrics.json holds.

    Args:
        prevalence: Share of viruses for which precision is told. about: What to show of what was judged, first its
            name as "subject". baselines: By level and name the scores of simple predictors, of the same units; they are
            judged by those that the classifier scored. resamples, seed: As of `metrics`.
    Raises:
        BadRequest: The prevalence is not between 0 and 1.
        BadInput: A baseline has other units.
    """
    levels = {}
    for name, units in units_by_level.items():
        scores = (baselines or {}).get(name, {})
        levels[name] = {
            "metrics": metrics(units, resamples, seed),
            "confusion": confusion(units),
            "groups": by_group(units),
            "lengths": by_length(units),
            "at_prevalence": at_prevalence(units, prevalence),
            "thresholds": thresholds(units, prevalence),
            "reliability": reliability(units),
            "curves": curves(units),
            "baselines": {each: _baseline(units, each, score_N, resamples, seed) for each, score_N in scores.items()},
        }
    draws = {"resamples": resamples, "seed": seed}
    return {"virnucpro": __version__, "about": dict(about or {}), "prevalence": prevalence, **draws, "levels": levels}


def _baseline(units: Units, name: str, score_N: np.ndarray, resamples: int, seed: int) -> dict[str, Any]:
    if len(score_N) != len(units):
        raise BadInput(f"{name} has {len(score_N)} scores of {len(units)} {plural(units.level)}. Score all of them.")
    same = replace(units, score_N=np.where(units.scored(), score_N, np.nan))
    return {"metrics": metrics(same, resamples, seed), "curves": curves(same)}


def caution(document: dict[str, Any]) -> str:
    """Say what is left of the figures where viruses are rare."""
    named = [(plural(name), number(level["at_prevalence"]["precision"])) for name, level in document["levels"].items()]
    shares = [f"{value} of {name}" if len(named) > 1 else value for name, value in named]
    share = percent(document["prevalence"])
    rare = f"with {share} viral records the precision at a threshold of 0.5 is {', '.join(shares)}."
    judged = [level["metrics"] for level in document["levels"].values()][-1]
    here = judged["virus"] / max(judged["virus"] + judged["others"], 1)
    if here <= document["prevalence"]:
        return rare[0].upper() + rare[1:]
    # Two digits: 1,435 of 2,867 are 50 %.
    return f"Where {percent(float(f'{here:.2g}'))} are viral, as here, figures look better than in a metagenome: {rare}"


def text(document: dict[str, Any]) -> str:
    """For the terminal."""
    from rich.console import Console
    from rich.table import Table

    about = {name: value for name, value in document["about"].items() if name != "subject"}
    of = f" of {document['about']['subject']}" if "subject" in document["about"] else ""
    written = io.StringIO()
    console = Console(
        file=written, width=WIDEST, color_system=None, markup=False, highlight=False, emoji=False, force_terminal=False
    )
    console.print(f"virnucpro {document['virnucpro']} evaluation{of}")
    for name, value in about.items():
        console.print(f"  {name:<22} {value}")
    for section in sections(document):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for place, column in enumerate(section.columns):
            table.add_column(column, justify="right" if place else "left")
        for row in section.rows:
            table.add_row(*row)
        console.print(f"\n{section.heading}")
        console.print(table)
    console.print(f"\n{caution(document)}")
    return "".join(f"{line.rstrip()}\n" for line in written.getvalue().splitlines())


def draw(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Draw the curves of all levels and of their baselines: headings and SVG."""
    from virnucpro.reporting import curves as pictures  # imports matplotlib

    levels = document["levels"]
    drawn = []
    for kind, heading, picture in (
        ("roc", "Recall and false positives", pictures.roc),
        ("precision_recall", "Precision and recall", pictures.precision_recall),
    ):
        if series := {plural(name): points for name, level in levels.items() if (points := level["curves"][kind])}:
            drawn.append((heading, picture(series)))
    if bins := {plural(name): level["reliability"] for name, level in levels.items() if level["metrics"]["scored"]}:
        drawn.append(("Scores and shares", pictures.reliability(bins)))
    for name, level in levels.items():
        beside = {each: points for each, row in level["baselines"].items() if (points := row["curves"]["roc"])}
        if beside:
            series = {ITSELF: level["curves"]["roc"], **beside}
            drawn.append((f"{plural(name).capitalize()} beside simple predictors", pictures.roc(series)))
    return drawn


def render_page(document: dict[str, Any], drawn: list[tuple[str, str]]) -> str:
    """Make the page of a document and of pictures, headings and SVG: no script, nothing fetched."""
    from virnucpro.reporting.html import render

    about = dict(document["about"])
    return render(
        "evaluation_page.html",
        subject=about.pop("subject", ""),
        verdicts=list(_verdicts(document)),
        caution=caution(document),
        about=list(about.items()),
        sections=list(sections(document)),
        pictures=drawn,
    )


def _verdicts(document: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield each level, its AUROC and accuracy, and of how many units they are."""
    for name, level in document["levels"].items():
        judged = level["metrics"]
        figures = f"AUROC {with_interval(judged['auroc'])}, accuracy {with_interval(judged['accuracy'])}"
        kinds = f"{judged['virus']:,} of virus and {judged['others']:,} of others, from {judged['sources']:,} sources"
        yield plural(name).capitalize(), figures, f"{judged['scored']:,} with a score: {kinds}"
