"""Manifest: what a run directory records, enough to tell whether a run can be gone on with."""

from __future__ import annotations

from virnucpro import __version__
from virnucpro.devices import Placement
from virnucpro.errors import BadRequest
from virnucpro.models import Models
from virnucpro.settings import Settings
from virnucpro.translation import InputDigest


def describe_request(settings: Settings, kind: str, models: Models, placement: Placement) -> dict:
    """What is known before the input is read."""
    return {
        "virnucpro": __version__,
        "synthetic_weights": models.synthetic,
        "settings": {
            "input_type": kind,
            "chunk_size": models.chunk_size,
            "esm_model": settings.esm_model,
            "precision": placement.precision,
            "batch_residues": placement.batch_residues(settings.batch_tokens),
            "rename_duplicates": settings.rename_duplicates,
        },
        "weights": models.weights.identity(),
    }


def describe_input(digest: InputDigest) -> dict:
    """What is known of the input once it is read."""
    return {"input": digest.describe()}


def check_same(earlier: dict, now: dict, place: object) -> None:
    """Refuse to go on with a run of other weights, settings or input.

    Args:
        earlier: The manifest found. now: All or part of what this run would record.
        place: The run directory, for the message.
    Raises:
        BadRequest: Names what differs.
    """
    for group, values in now.items():
        was = earlier.get(group)
        if was == values:
            continue
        if isinstance(was, dict) and isinstance(values, dict):
            name = next(name for name in [*values, *was] if was.get(name) != values.get(name))
            group, was, values = f"{group}: {name}", was.get(name), values.get(name)
        raise BadRequest(
            f"{place} holds a run with other {group} ({was} then, {values} now). "
            "Repeat that run's options to resume it, or start over with --force."
        )
