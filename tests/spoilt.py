"""8 bits with a scale that is wrong: in this process, or in worker processes, which import this module."""

from __future__ import annotations

from virnucpro.executors import worker
from virnucpro.models import quantised_esm2
from virnucpro.models.linear import Int8Linear

plain = quantised_esm2.quantised


def spoilt(model, *arguments):
    """The 8-bit likeness of a model, one of its products with scales four times as large as they should be."""
    likeness = plain(model, *arguments)
    layer = likeness.layers[2].fc2
    assert isinstance(layer, Int8Linear)
    layer.scales_O = 4 * layer.scales_O
    return likeness


def spoilt_work_for(*arguments) -> None:
    """A worker's body."""
    quantised_esm2.quantised = spoilt
    worker.work_for(*arguments)
