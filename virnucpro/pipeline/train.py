"""One training, from labelled sequences to a classifier.

reads -> labels -> features, by the engine -> fit -> calibration -> the test, once -> files
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from virnucpro._version import __version__
from virnucpro.config.compute import compute_config
from virnucpro.config.placement import place
from virnucpro.errors import BadRequest
from virnucpro.evaluation.records_table import CLASSES, Entry, read_records_table
from virnucpro.models.catalog import PRECISIONS
from virnucpro.models.classifier_card import ClassifierCard
from virnucpro.models.language_models import LANGUAGE_MODELS, spelled
from virnucpro.models.locate import find_weights
from virnucpro.output.embeddings_file import EMBEDDINGS_FILE
from virnucpro.pipeline.compute import Run, compute
from virnucpro.pipeline.manifest import Manifest, describe
from virnucpro.pipeline.messages import InputWarnings, say_what_was_read
from virnucpro.pipeline.run import finalize_telemetry, write_features
from virnucpro.pipeline.run_directory import RunDirectory
from virnucpro.reading.input_files import InputFiles
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.survey import opened
from virnucpro.system.files import sha256_of
from virnucpro.telemetry.recorder import TelemetryLogger
from virnucpro.training.frame_counts import check_frames
from virnucpro.training.labels import Labels, label
from virnucpro.training.settings import TrainingSettings
from virnucpro.weights.digests import WeightDigests

log = logging.getLogger(__name__)
TABLES = ("metrics.json", "scores.tsv", "split.tsv", "model_card.md", "report.html")
FEATURES_FILE = "features.npy"  # of all frames, beside the finished windows


@dataclass
class TrainingSummary:
    """What a training came to."""

    model: Path
    results: Path  # the folder with metrics.json and what belongs to it
    metrics: dict[str, Any] | None = None  # as metrics.json; None where it was done before
    failed: int = 0  # sequences without features: no classifier was trained


def train(settings: TrainingSettings, started: Callable[[Run], None] = lambda run: None) -> TrainingSummary:
    """Train a classifier and write its files.

    Args:
        started: Told about the run of the engine when it begins, as of `pipeline.run.run`.
    Raises:
        BadInput: The sequences, or what the table of sources says of them, cannot be used. BadRequest: The request
            cannot be met. Interrupted: It was stopped; finished features are kept.
    """
    output, asked = settings.output, settings.run
    directory = RunDirectory(
        output.parent, output.stem, asked.runtime.checkpoint_dir, results="training", output=output
    )
    files = InputFiles((*settings.viral, *settings.others), rename_duplicates=False)
    files.look_ahead()
    entries = read_records_table(settings.sources, "--sources", "source") if settings.sources else None
    with directory.opened(asked.resume, asked.force) as earlier, ExitStack() as stack:
        if earlier is not None and "training" not in earlier:
            raise BadRequest(f"{directory.manifest_file} is of a run of predict. Choose another --output.")
        if output.exists() and earlier is None:
            raise BadRequest(f"{output} exists, and no training here has written it. Choose another --output.")
        telemetry = TelemetryLogger(directory.root, directory.stem)
        telemetry.begin_stage("reading the input")
        stack.enter_context(files.spooled(directory.root, directory.copy_prefix))
        if files.kind == InputKind.PROTEIN:
            raise BadRequest("The sequences are protein, and a classifier is trained on DNA. Give DNA.")
        weights = find_weights(asked.weights_dir, asked.esm_model, "", None, files.kind, asked.features)
        digests = stack.enter_context(WeightDigests(weights))
        placement = place(asked.gpus, asked.parallel, asked.workers_per_gpu)
        say_what_was_read(files.survey)
        labels = _labels(settings, files, entries)
        config = compute_config(asked, files.kind, weights, placement)
        if PRECISIONS[config.precision].quantised:
            raise BadRequest(
                f"A classifier is trained on features in 16 or 32 bits. Leave --precision {config.precision} out."
            )
        config = replace(config, keep_features=True)
        decisive = describe(asked, config, files.survey) | {"training": _described(settings, labels)}
        decisive["settings"]["features"] = spelled(asked.features or ())
        if asked.resume and earlier is not None and earlier["status"] != "complete":
            earlier["training"] = decisive["training"]  # features do not depend on how they are fitted
        manifest = Manifest(directory, earlier, asked.resume)
        this_run = Run(asked, directory, files, config, placement, manifest, telemetry, digests)
        manifest.settle(decisive)
        if asked.resume and earlier is not None:
            this_run.resume()
            if manifest.fates is not None and _whole(settings, directory, earlier):
                directory.remove_windows()
                log.info("Nothing to do: the training of %s is complete.", output)
                return TrainingSummary(output, directory.results)
        started(this_run)
        compute(this_run)
        return _finish(settings, this_run, labels)


def _labels(settings: TrainingSettings, files: InputFiles, entries: dict[str, Entry] | None) -> Labels:
    edge, kind = len(settings.viral), files.kind
    viral = opened(files.paths[:edge], files.shown[:edge], kind)
    others = opened(files.paths[edge:], files.shown[edge:], kind)
    chunk_size = settings.run.chunk_size
    assert chunk_size is not None, "a training without a chunk size"
    labels = label(viral, others, entries, settings.split, chunk_size)
    check_frames(opened(files.paths, files.shown, kind), labels, chunk_size, settings.frames)
    for part, counts in labels.counts().items():
        log.info("%s: %s.", part.capitalize(), ", ".join(
            f"{each['records']:,} records of {each['sources']:,} sources of {name}" for name, each in counts.items()
        ))  # fmt: skip
    if shared := int(labels.shared_C.sum()):
        log.warning(
            "%d chunks of training and validation have the sequence of a chunk of another class or part: they are left "
            "out.", shared,
        )  # fmt: skip
    if labels.conflicting:
        log.warning(
            "%d chunks of the test have the sequence of a chunk of the other class: not all can be right.",
            labels.conflicting,
        )
    return labels


def _whole(settings: TrainingSettings, directory: RunDirectory, manifest: dict[str, Any]) -> bool:
    """Whether all files of a complete training are there, and the classifier is the one that it wrote."""
    expected = [*TABLES, *([EMBEDDINGS_FILE] if settings.run.save_embeddings else [])]
    there = settings.output.is_file() and all((directory.results / name).is_file() for name in expected)
    return there and sha256_of(settings.output) == manifest.get("model_sha256")


def _described(settings: TrainingSettings, labels: Labels) -> dict[str, Any]:
    """What decides about a classifier beside the features."""
    return {
        "test": settings.split.test,
        "validation": settings.split.validation,
        "seed": settings.split.seed,
        "frames": settings.frames,
        "recipe": settings.recipe,
        "licence": settings.licence,
        "note": settings.note,
        "labels": labels.digest(),  # the last, for what differs before it changes it, too
    }


def _finish(settings: TrainingSettings, run: Run, labels: Labels) -> TrainingSummary:
    """Train on the finished windows, judge, and write all files; the manifest comes last."""
    from virnucpro.pipeline.training_files import write_training  # imports torch and scikit-learn
    from virnucpro.training.dataset import gather

    directory, output = run.directory, settings.output
    failed = InputWarnings.of(run.store.finished(with_features=False)).failed
    if failed:
        some = f"{failed} sequence{'s' * (failed != 1)}"
        log.error("Partial features: %s failed, so nothing was trained. Repeat with --resume.", some)
    else:
        features, chunk_size = settings.run.features, settings.run.chunk_size
        assert features is not None and chunk_size is not None
        path = directory.windows / FEATURES_FILE
        dataset = gather(run.store.finished, labels, chunk_size, features, path)
        directory.results.mkdir(exist_ok=True)
        if settings.run.save_embeddings:
            write_features(run)
        judged = write_training(settings, run, dataset, card_of(settings, run), origin_of(settings, run))
    performance = finalize_telemetry(run)
    del performance["per_rank"]
    if not failed:
        run.manifest.record(model_sha256=sha256_of(output))
    fates = {"failed": failed} if failed else {}
    run.write("partial" if failed else "complete", fates=fates, performance=performance)
    if failed:
        return TrainingSummary(output, directory.results, failed=failed)
    directory.remove_windows()
    log.info("Classifier: %s. What it is worth: %s", output, directory.results / "report.html")
    return TrainingSummary(output, directory.results, judged)


def card_of(settings: TrainingSettings, run: Run) -> ClassifierCard:
    """The card of the classifier to come."""
    features, paths, esm_model = settings.run.features or (), run.config.weights.models, run.config.esm_model
    widths = {name: LANGUAGE_MODELS[name].code.size(paths[name], esm_model).width for name in features}
    return ClassifierCard(
        features,
        settings.run.chunk_size,
        esm_model if "esm2" in features else None,
        widths,
        run.digests.model_sha256(),
        synthetic=bool(run.manifest["synthetic_weights"]),
    )


def origin_of(settings: TrainingSettings, run: Run) -> dict[str, Any]:
    """What the features are of, and what computed them: nothing that changes when the same is done again."""
    backends = run.manifest["backends"] or {}
    sha256, viral = run.fingerprint.result(), len(settings.viral)
    return {
        "virnucpro": __version__,
        "inputs": [
            {"name": Path(shown).name, "sha256": sha256[shown], "class": CLASSES[place < viral]}
            for place, shown in enumerate(run.files.shown)
        ],
        "precision": run.config.precision,
        "computed_on": {name: backends.get(name, "") for name in ("device", "torch")},
    }
