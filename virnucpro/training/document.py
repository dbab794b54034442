"""Document: what a trained classifier says of itself, in its file and in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from virnucpro.evaluation.records_table import CLASSES, PARTS
from virnucpro.evaluation.sections import FIGURES, number, plural, with_interval
from virnucpro.training.labels import Labels
from virnucpro.training.recipes import RECIPES
from virnucpro.training.settings import TrainingSettings

if TYPE_CHECKING:
    from virnucpro.training.fit import Fitted

ALLOWED = (0.01, 0.05)  # false positive rates that thresholds are given for


def thresholds(score_N: np.ndarray, virus_N: np.ndarray) -> dict[str, float]:
    """Find the least score from which on so few others are called viral, on the validation part; of a rate that so few
    cannot show, nothing.

    Args:
        score_N: Of chunks. virus_N: bool.
    """
    others_N = np.sort(score_N[~virus_N])
    places = {rate: int(np.ceil((1 - rate) * len(others_N))) - 1 for rate in ALLOWED if rate * len(others_N) >= 1}
    return {str(rate): float(np.nextafter(others_N[place], 1)) for rate, place in places.items()}


def training_document(
    settings: TrainingSettings, labels: Labels, fitted: Fitted, frames: dict[str, int], temperature: float,
    **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """Make the document of a classifier, JSON; nothing in it changes from one training to the same again.

    Args:
        frames: That trained, and that chose the epoch. more: Entries from elsewhere.
    """
    losses = dict(zip(("train", "validation"), fitted.losses[fitted.best - 1], strict=True))
    return {
        "recipe": asdict(RECIPES[settings.recipe]),
        "frames": settings.frames,
        "split": {
            **asdict(settings.split),
            "rule": "a source whose sha256, as a fraction, is below test is in the test; else below validation for "
            "that of seed:source; parts of a table of sources come first",
            "records": labels.counts(),
            "left_out_chunks": int(labels.shared_C.sum()),
        },
        "frames_used": frames,
        "epochs": len(fitted.losses),
        "best_epoch": fitted.best,
        "loss": losses,
        "temperature": temperature,
        "licence": settings.licence,
        "note": settings.note,
        **more,
    }


def model_card(name: str, document: dict[str, Any], judged: dict[str, Any]) -> str:
    """Tell people what a classifier is, and what it is worth, as Markdown.

    Args:
        name: Of its file. document: Of the classifier, with features and chunk size. judged: metrics.json.
    """
    return "\n".join(_lines(name, document, judged)) + "\n"


def _lines(name: str, document: dict[str, Any], judged: dict[str, Any]) -> Iterator[str]:
    yield f"# {name}"
    yield ""
    yield (
        f"A classifier of viral against other DNA, in chunks of {document['chunk_size']} bp, by the features "
        f"`{document['features']}`. Trained by virnucpro {document['virnucpro']}, recipe "
        f"`{document['recipe']['name']}`, seed {document['split']['seed']}. Licence: {document['licence']}."
    )
    yield ""
    yield f"    virnucpro predict contigs.fa --output-dir out --model {name}"
    yield ""
    if document["note"]:
        yield document["note"]
        yield ""
    if document.get("synthetic"):
        yield "**The weights of its language models are random: what it says means nothing.**"
        yield ""
    yield "## Data"
    yield ""
    yield "| part | " + " | ".join(f"{each}, records (sources)" for each in reversed(CLASSES)) + " |"
    yield "| --- | --- | --- |"
    for part in PARTS:
        counts = document["split"]["records"][part]
        cells = [f"{counts[each]['records']:,} ({counts[each]['sources']:,})" for each in reversed(CLASSES)]
        yield f"| {part} | {' | '.join(cells)} |"
    yield ""
    yield "No source is in two parts. The figures below are of the test, which was read once, when all was settled."
    yield ""
    yield "## Figures, with 95 % intervals over sources"
    yield ""
    yield "| | " + " | ".join(map(plural, judged["levels"])) + " |"
    yield "| --- |" + " --- |" * len(judged["levels"])
    for key, title in FIGURES.items():
        yield (
            f"| {title} | "
            + " | ".join(with_interval(each["metrics"][key]) for each in judged["levels"].values())
            + " |"
        )
    yield ""
    if groups := judged["levels"]["chunk"]["groups"]:
        yield "| group | chunks | scored | right at 0.5 | AUROC against the other class |"
        yield "| --- | --- | --- | --- | --- |"
        for row in groups:
            name = row["group"].replace("|", "/") or "not told"
            counts = f"{row['units']:,} | {row['scored']:,}"
            yield f"| {name} | {counts} | {number(row['accuracy'])} | {number(row['auroc'])} |"
        yield ""
    rare = judged["levels"]["chunk"]["at_prevalence"]
    yield (
        f"In a metagenome figures are worse than here: where {100 * rare['prevalence']:g} % of the chunks are viral, "
        f"{_share(rare['precision'])} of those called viral at 0.5 are."
    )
    yield ""
    yield "It knows what it was trained on. Viruses and hosts of other kinds than those above were not tried."


def _share(value: float | None) -> str:
    return "an unknown share" if value is None else f"{100 * value:.0f} %"
