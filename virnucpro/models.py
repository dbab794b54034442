"""Models: which weight files a run uses, and what they say before any of them is put to work."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from virnucpro.checkpoints import check_tensors
from virnucpro.classifier import Classifier, check_fit, load_classifier
from virnucpro.dnabert import load_tokenizer, make_dnabert, read_dnabert
from virnucpro.esm2 import check_size, make_esm2, read_esm2
from virnucpro.settings import Settings
from virnucpro.weights import WeightPaths, find_weights

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Models:
    """Weight files that are whole and fit each other; the classifier is small and is loaded."""

    weights: WeightPaths
    chunk_size: int  # bp; 0 for a protein input
    classifier: Classifier | None
    synthetic: bool


def check_models(settings: Settings, kind: str) -> Models:
    """Find the weights and check that they fit each other, without loading the large ones.

    Args:
        settings: Names the models and where to look.
        kind: "nucleotide" or "protein"; the latter needs ESM-2 alone.
    Raises:
        BadRequest: Missing, broken or unfitting weights.
    """
    weights = find_weights(settings.weights_dir, settings.esm_model, settings.model_type, settings.model_path, kind)
    esm_shape, esm_state = read_esm2(weights.esm)
    check_size(esm_shape, settings.esm_model, weights.esm)
    check_tensors(make_esm2(esm_shape), esm_state, weights.esm)
    if kind == "protein":
        log.warning("The input is protein: features are written, no verdicts.")
        return Models(weights, 0, None, _said(esm_shape.synthetic, "features"))
    dnabert_shape, dnabert_state = read_dnabert(weights.dnabert)
    check_tensors(make_dnabert(dnabert_shape), dnabert_state, weights.dnabert)
    load_tokenizer(weights.dnabert)
    classifier = load_classifier(weights.classifier)
    chunk_size = check_fit(
        classifier, weights.classifier, settings.chunk_size, esm_shape.width, dnabert_shape.width, settings.esm_model
    )
    synthetic = esm_shape.synthetic or dnabert_shape.synthetic or classifier.synthetic
    return Models(weights, chunk_size, classifier, _said(synthetic, "verdicts"))


def _said(synthetic: bool, results: str) -> bool:
    if synthetic:
        log.warning("These weights are synthetic (random): the %s mean nothing.", results)
    return synthetic
