"""Frame counts: whether there are enough to train on and to judge by, told before a feature is computed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from virnucpro.errors import BadInput
from virnucpro.evaluation.records_table import CLASSES, PARTS, TRAIN
from virnucpro.reading.chunks import chunk_spans
from virnucpro.reading.frames import Translation
from virnucpro.reading.reads import Read
from virnucpro.training.labels import Labels

LEAST_FRAMES = 100  # that train
CODON = 3


def is_coding(start: int | np.ndarray, frame: int | np.ndarray) -> bool | np.ndarray:
    """Whether a frame reads a record as it begins.

    Args:
        start: Of the frame's chunk in the record, bp. frame: Its place in FRAME_SUFFIXES.
    """
    return (frame < CODON) & ((start + frame) % CODON == 0)


def check_frames(reads: Iterable[Read], labels: Labels, chunk_size: int, frames: str) -> None:
    """Refuse what nothing can be learned from, or judged by; what is enough is not counted on.

    Args:
        reads: All records, in the order of the labels. chunk_size: bp. frames: "open" or "coding", which train.
    Raises:
        BadInput: Too few frames that train, or none of a class in a part.
    """
    count_P2 = np.zeros((len(PARTS), len(CLASSES)), int)
    train, chunk = PARTS.index(TRAIN), 0
    for number, read in enumerate(reads):
        part, virus = int(labels.part_N[number]), int(labels.virus_N[number])
        spans = chunk_spans(len(read.sequence), chunk_size)
        shared = labels.shared_C[chunk : chunk + len(spans)].tolist()
        chunk += len(spans)
        if count_P2[part, virus] >= (LEAST_FRAMES if part == train else 1):
            continue
        translation = Translation(read.sequence)
        coding = frames == "coding" and part == train
        count_P2[part, virus] += sum(
            not coding or bool(is_coding(start, frame))
            for (start, end), left_out in zip(spans, shared, strict=True)
            if not left_out
            for frame, *_ in translation.open_frames(start, end)
        )
        if count_P2.all() and count_P2[train].sum() >= LEAST_FRAMES:
            return
    if (count := count_P2[train].sum()) < LEAST_FRAMES:
        advice = ", or --frames open" if frames == "coding" else ""
        raise BadInput(
            f"{count} {frames} frames are there to train with, and {LEAST_FRAMES} are needed. Give more sequences"
            f"{advice}."
        )
    part, virus = np.argwhere(count_P2 == 0)[0]
    raise BadInput(f"no frame of the class {CLASSES[virus]!r} is in the part {PARTS[part]}. Give more sequences.")
