"""Models: what the weight files of a run say before any of them is put to work."""

from __future__ import annotations

from virnucpro.classifier import check_fit, load_classifier
from virnucpro.dnabert_weights import read_dnabert
from virnucpro.errors import BadWeights
from virnucpro.esm2_weights import check_size, read_esm2
from virnucpro.recipe import Facts, Recipe
from virnucpro.tokens import load_tokenizer


def check_models(recipe: Recipe) -> Facts:
    """Check that the weights fit each other, without loading the large ones.

    Raises:
        BadRequest: Broken or unfitting weights.
    """
    weights = recipe.weights
    esm_shape, _ = read_esm2(weights.esm)
    check_size(esm_shape, recipe.esm_model, weights.esm)
    if recipe.kind == "protein":
        return Facts(0, esm_shape.synthetic)
    assert weights.dnabert is not None and weights.classifier is not None, "a run of DNA without its models"
    dnabert_shape, _ = read_dnabert(weights.dnabert)
    tokens = load_tokenizer(weights.dnabert).get_vocab_size()
    if tokens != dnabert_shape.vocabulary:
        raise BadWeights(
            f"{weights.dnabert}: tokenizer.json has {tokens} tokens, the model {dnabert_shape.vocabulary}. "
            "Put the files of one model there."
        )
    classifier = load_classifier(weights.classifier)
    chunk_size = check_fit(
        classifier, weights.classifier, recipe.chunk_size, esm_shape.width, dnabert_shape.width, recipe.esm_model
    )
    return Facts(chunk_size, esm_shape.synthetic or dnabert_shape.synthetic or classifier.synthetic)
