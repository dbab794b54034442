"""Manifest: what a run directory records, enough to tell whether a run can be gone on with."""

from __future__ import annotations

from typing import Any

from virnucpro._version import __version__
from virnucpro.config.compute import ComputeConfig
from virnucpro.config.settings import Settings
from virnucpro.errors import BadRequest
from virnucpro.models.catalog import AUTO
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.survey import Survey


def describe(settings: Settings, recipe: ComputeConfig, survey: Survey, buffer_size: int) -> dict[str, Any]:
    """What decides the results, as far as it is known before the models are loaded."""
    asked: dict[str, Any] = {} if settings.attention == AUTO else {"attention": settings.attention}
    if recipe.kind == InputKind.NUCLEOTIDE and settings.chunk_size is not None:
        asked["chunk_size"] = settings.chunk_size
    return {
        "virnucpro": __version__,
        "settings": {
            "input_type": recipe.kind,
            "esm_model": recipe.esm_model,
            "precision": recipe.precision,
            "batch_tokens": recipe.token_budget,
            "buffer_size": buffer_size,
            "deterministic": recipe.deterministic,
            "save_embeddings": recipe.keep_features,
            "rename_duplicates": settings.rename_duplicates,
            **asked,
        },
        "input": {"records": survey.records, "sha256": survey.sha256},
    }


def check_same(earlier: dict[str, Any], now: dict[str, Any], place: object) -> None:
    """Refuse to go on with a run of other weights, settings or input.

    Args:
        earlier: The manifest found. now: All or part of what this run would record.
        place: The run directory, for the message.
    Raises:
        BadRequest: Names what differs.
    """
    for group, values in now.items():
        was = earlier.get(group)
        if not isinstance(was, dict) or not isinstance(values, dict):
            _check(group, was, values, place)
            continue
        # Of weights also a file that is gone: without it, another may be read.
        for name in {**values, **was} if group == "weights" else values:
            _check(f"{group}: {name}", was.get(name), values.get(name), place)


def _check(what: str, was: object, now: object, place: object) -> None:
    if was != now and what == "virnucpro":
        raise BadRequest(
            f"{place} holds a run of virnucpro {was}, and this is {now}. Install {was} to go on with it, or start over "
            "with --force."
        )
    if was != now:
        raise BadRequest(
            f"{place} holds a run with other {what} ({was} then, {now} now). "
            "Repeat that run's options to resume it, or start over with --force."
        )
