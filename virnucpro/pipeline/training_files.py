"""Training files: a classifier is fitted, judged, and written with all that belongs to it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from virnucpro.evaluation import page
from virnucpro.evaluation.records_table import CLASSES, PARTS, TEST, TRAIN, VALIDATION
from virnucpro.evaluation.units import Units
from virnucpro.models.calibration import Calibration, evidence
from virnucpro.models.classifier import MLPClassifier
from virnucpro.models.classifier_card import ClassifierCard, metadata_of
from virnucpro.models.language_models import spelled
from virnucpro.pipeline.compute import Run
from virnucpro.reporting.progress import counting
from virnucpro.system.files import whole_file
from virnucpro.training.calibrate import calibration, runs_of, temperature
from virnucpro.training.dataset import Dataset
from virnucpro.training.document import model_card, thresholds, training_document
from virnucpro.training.fit import Fitted, Frames, fit, one_thread
from virnucpro.training.recipes import RECIPES
from virnucpro.training.scoring import ScoredChunk, by_record, scored_chunks, table, units
from virnucpro.training.settings import TrainingSettings

log = logging.getLogger(__name__)


@one_thread()
def write_training(
    settings: TrainingSettings, run: Run, dataset: Dataset, card: ClassifierCard, origin: dict[str, Any]
) -> dict[str, Any]:
    """Fit a classifier on the dataset, write it, and judge what was written by the test part.

    Args:
        card: Of the classifier. origin: What its features are of, for its document.
    Returns:
        What metrics.json holds.
    """
    run.telemetry.begin_stage("training")
    train, validation = (_frames(dataset, part, settings.frames) for part in (TRAIN, VALIDATION))
    fitted = _fitted(settings, train, validation, torch.device(run.placement.workers[0]))
    weights_2 = (train.class_weights() if RECIPES[settings.recipe].balanced else torch.ones(2)).double().numpy()
    divisor = _fold_temperature(fitted.model, validation, weights_2)
    calibrated, floor = _calibrated(fitted.model, dataset)
    card = replace(card, calibration=calibrated)
    document = training_document(
        settings, dataset.labels, fitted, {TRAIN: len(train), VALIDATION: len(validation)}, divisor,
        thresholds={"of": "chunks, by probability at equal classes", "false_positive_rates": floor}, **origin,
    )  # fmt: skip
    run.telemetry.begin_stage("judging")
    chunks = scored_chunks(fitted.model, dataset, TEST)
    judged = _judged(settings, units(dataset, chunks, calibrated))
    document |= {"metrics": {name: level["metrics"] for name, level in judged["levels"].items()}}
    metadata = metadata_of(card, document)
    _write_files(settings, run.directory.results, dataset, chunks, calibrated, fitted, judged, metadata)
    with whole_file(settings.output, "wb") as file:
        file.write(safetensors.torch.save(fitted.model.state_dict(), metadata))
    return judged


def _frames(dataset: Dataset, part: str, frames: str) -> Frames:
    rows_S = dataset.rows(part, frames if part == TRAIN else "open")
    return Frames(dataset.features_SF, rows_S, dataset.virus_S[rows_S])


def _fitted(settings: TrainingSettings, train: Frames, validation: Frames, device: torch.device) -> Fitted:
    recipe = RECIPES[settings.recipe]
    counts = np.bincount(train.virus_S.astype(int), minlength=2)
    log.info(
        "Training on %d frames of %s and %d of %s; %d choose the epoch.",
        counts[1], CLASSES[1], counts[0], CLASSES[0], len(validation),
    )  # fmt: skip
    with counting(recipe.epochs, settings.run.show_progress, "Epochs") as advance:
        fitted = fit(train, validation, recipe, settings.split.seed, device, lambda *_: advance(1))
    log.info(
        "Epoch %d of %d is the best: loss %.3f in training, %.3f in validation.",
        fitted.best, len(fitted.losses), *fitted.losses[fitted.best - 1],
    )  # fmt: skip
    return fitted


@torch.inference_mode()
def _fold_temperature(model: MLPClassifier, validation: Frames, weights_2: np.ndarray) -> float:
    """Have the last layer divide its logits by the temperature, which is returned."""
    logits = [model(features_BF).double().numpy() for features_BF, _ in validation.blocks()]
    divisor = temperature(np.concatenate(logits), validation.virus_S, weights_2)
    for parameter in (model.output_layer.weight, model.output_layer.bias):
        parameter.copy_(parameter.double() / divisor)
    return divisor


def _calibrated(model: MLPClassifier, dataset: Dataset) -> tuple[Calibration, dict[str, float]]:
    """The calibration of chunks and contigs by the validation part, and thresholds by the same."""
    virus_N = dataset.labels.virus_N
    records = [
        (record, [each.verdict.score for each in group if each.verdict])
        for record, group in by_record(scored_chunks(model, dataset, VALIDATION))
    ]
    virus = [bool(virus_N[record]) for record, _ in records]
    sources = [dataset.labels.sources[record] for record, _ in records]
    runs = runs_of([np.array([*map(evidence, scores)]) for _, scores in records], virus, sources)
    calibrated = calibration(runs)
    probability_C = np.array([calibrated.probability([score]) for _, scores in records for score in scores])
    return calibrated, thresholds(probability_C, np.repeat(virus, [len(scores) for _, scores in records]))


def _judged(settings: TrainingSettings, by_level: dict[str, Units]) -> dict[str, Any]:
    about = {
        "subject": settings.output.name,
        "features": spelled(settings.run.features or ()),
        "chunks": f"{settings.run.chunk_size} bp",
        "recipe": f"{settings.recipe}, seed {settings.split.seed}",
        "judged by": f"the {TEST} part, which was read once",
    }
    return page.document(by_level, about=about)


def _write_files(
    settings: TrainingSettings, folder: Path, dataset: Dataset, chunks: list[ScoredChunk], calibrated: Calibration,
    fitted: Fitted, judged: dict[str, Any], metadata: dict[str, str],
) -> None:  # fmt: skip
    from virnucpro.reporting import curves  # imports matplotlib

    (text,) = metadata.values()
    document = json.loads(text)
    with whole_file(folder / "metrics.json") as file:
        json.dump(judged, file, indent=2)
        file.write("\n")
    _write_table(folder / "scores.tsv", table(dataset, chunks, calibrated))
    _write_table(folder / "split.tsv", _split(dataset))
    with whole_file(folder / "model_card.md") as file:
        file.write(model_card(settings.output.name, document, judged))
    train, validation = ([pair[place] for pair in fitted.losses] for place in (0, 1))
    drawn = [*page.draw(judged), ("Loss", curves.losses(train, validation, fitted.best))]
    with whole_file(folder / "report.html") as file:
        file.write(page.render_page(judged, drawn))


def _write_table(path: Path, rows: Iterable[list[str]]) -> None:
    with whole_file(path) as file:
        file.writelines("\t".join(row) + "\n" for row in rows)


def _split(dataset: Dataset) -> Iterable[list[str]]:
    """Rows of split.tsv: which part every record is in."""
    labels = dataset.labels
    yield ["Record", "Class", "Source", "Group", "Part"]
    rows = zip(labels.names, labels.virus_N, labels.sources, labels.groups, labels.part_N, strict=True)
    for name, virus, source, group, part in rows:
        yield [name, CLASSES[int(virus)], source, group, PARTS[part]]
