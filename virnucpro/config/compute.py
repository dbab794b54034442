"""Compute configuration: all that decides the numbers, and nothing else; every process of a run is told the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from virnucpro.models.catalog import AUTO, PRECISIONS
from virnucpro.models.locate import WeightPaths
from virnucpro.reading.input_kind import InputKind

if TYPE_CHECKING:
    from virnucpro.config.placement import Placement
    from virnucpro.config.settings import Settings


@dataclass(frozen=True)
class ComputeConfig:
    """How sequences become features and scores."""

    kind: InputKind
    weights: WeightPaths
    esm_model: str
    chunk_size: int | None  # bp that was asked for; None where the classifier decides
    precision: str
    attention: str
    token_budget: int  # most tokens in a pack
    buffer_size: int  # most sequences in a window
    keep_features: bool  # whether the features themselves are wanted, beside the scores
    deterministic: bool = False  # every sequence by itself, so that its bits do not depend on its neighbours
    plain: bool = False  # PyTorch's own steps between matrix products even where fused ones run
    audit: bool = False  # of 8 bits: a sample is computed in the precision that they are made of, too


@dataclass(frozen=True)
class WeightsInfo:
    """What weight files that are whole and fit each other say of themselves."""

    chunk_size: int  # bp; 0 for a protein input
    synthetic: bool


def compute_config(settings: Settings, kind: InputKind, weights: WeightPaths, placement: Placement) -> ComputeConfig:
    """What `settings` leave open is decided by the devices."""
    budget = settings.batch_tokens or settings.runtime.token_budget or placement.token_budget
    precision = placement.precision if settings.precision == AUTO else settings.precision
    return ComputeConfig(
        kind=kind,
        weights=weights,
        esm_model=weights.esm_model,
        chunk_size=settings.chunk_size,
        precision=precision,
        attention=settings.attention,
        token_budget=1 if settings.deterministic else budget,  # every sequence is longer, and so alone
        buffer_size=settings.runtime.buffer_size or placement.buffer_size,
        keep_features=settings.save_embeddings or kind == InputKind.PROTEIN,
        deterministic=settings.deterministic,
        audit=PRECISIONS[precision].quantised,
    )
