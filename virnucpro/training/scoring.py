"""Scoring: what a classifier says of the frames, chunks and records of a dataset, as a run would say it.

Axes: S frames, C chunks; N units.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import torch

from virnucpro.evaluation.records_table import CLASSES, PARTS, TEST
from virnucpro.evaluation.run_results import CALLS, NO_OPEN_FRAME
from virnucpro.evaluation.units import Units
from virnucpro.models.calibration import Calibration
from virnucpro.models.classifier import MLPClassifier, scores
from virnucpro.output.verdicts import ChunkVerdict, chunk_verdicts, contig_call
from virnucpro.reading.frames import FRAME_SUFFIXES
from virnucpro.training.dataset import Dataset
from virnucpro.training.fit import block_size


class ScoredChunk(NamedTuple):
    """A chunk of a dataset. verdict: None without an open frame. frames: scores of virus by FRAME_SUFFIXES."""

    chunk: int  # its place in the dataset
    record: int
    verdict: ChunkVerdict | None
    frames: dict[str, float]


def frame_scores(model: MLPClassifier, dataset: Dataset, rows_S: np.ndarray) -> np.ndarray:
    """Scores of some frames, float64 (S, 2), rounded as the tables of a run show them."""
    size = block_size(dataset.features_SF)
    blocks = [rows_S[first : first + size] for first in range(0, len(rows_S), size)]
    scored = [scores(model, torch.from_numpy(np.asarray(dataset.features_SF[block]))).numpy() for block in blocks]
    scores_S2 = np.concatenate(scored) if scored else np.empty((0, 2), np.float32)
    return np.array([float(str(score)) for score in scores_S2.ravel()]).reshape(-1, 2)


def scored_chunks(model: MLPClassifier, dataset: Dataset, part: str) -> list[ScoredChunk]:
    """Score all chunks of a part, in order of the input."""
    rows_S = dataset.rows(part)
    scores_S2, chunk_S = frame_scores(model, dataset, rows_S), dataset.chunk_S[rows_S]
    chosen = np.flatnonzero(dataset.chunks_in(part))
    names = {int(chunk): dataset.chunk_name(int(chunk)) for chunk in chosen}
    place_of = {chunk: place for place, chunk in enumerate(names)}
    place_S = np.array([place_of[chunk] for chunk in chunk_S.tolist()], np.int64)
    verdicts = chunk_verdicts(list(names.values()), place_S, scores_S2) if len(rows_S) else {}
    frames: dict[int, dict[str, float]] = {}
    suffixes = [FRAME_SUFFIXES[frame] for frame in dataset.frame_S[rows_S].tolist()]
    for chunk, suffix, score in zip(chunk_S.tolist(), suffixes, scores_S2[:, 1].tolist(), strict=True):
        frames.setdefault(chunk, {})[suffix] = score
    return [
        ScoredChunk(chunk, int(dataset.record_C[chunk]), verdicts.get(place), frames.get(chunk, {}))
        for place, chunk in enumerate(names)
    ]


def by_record(chunks: list[ScoredChunk]) -> Iterator[tuple[int, list[ScoredChunk]]]:
    """Group chunks by their record."""
    for record, group in groupby(chunks, key=attrgetter("record")):
        yield record, list(group)


def units(dataset: Dataset, chunks: list[ScoredChunk], calibration: Calibration) -> dict[str, Units]:
    """Judge frames by their scores, chunks and contigs by their probabilities at equal classes."""
    lengths_C, frames, per_chunk, contigs = dataset.length_C.tolist(), list[_Row](), list[_Row](), list[_Row]()
    for record, group in by_record(chunks):
        verdicts = [each.verdict for each in group if each.verdict]
        for each in group:
            name, length = dataset.chunk_name(each.chunk), lengths_C[each.chunk]
            rows = ((name + suffix, record, score, CLASSES[score > 0.5]) for suffix, score in each.frames.items())
            frames += ((*row, length) for row in rows)
            call = CLASSES[each.verdict.is_virus] if each.verdict else NO_OPEN_FRAME
            per_chunk.append((name, record, _probability([each.verdict], calibration), call, length))
        call = CALLS[contig_call("", verdicts).call] if verdicts else NO_OPEN_FRAME
        last = group[-1].chunk
        length = int(dataset.start_C[last]) + lengths_C[last]
        contigs.append((dataset.labels.names[record], record, _probability(verdicts, calibration), call, length))
    # What has no letters has no chunks, but is a record of the test all the same.
    test_N = dataset.labels.part_N == PARTS.index(TEST)
    without = np.setdiff1d(np.flatnonzero(test_N), dataset.record_C).tolist()
    contigs += [(dataset.labels.names[record], record, math.nan, NO_OPEN_FRAME, 0) for record in without]
    levels = {"frame": frames, "chunk": per_chunk, "contig": contigs}
    return {name: _level(name, rows, dataset) for name, rows in levels.items()}


_Row = tuple[str, int, float, str, int]  # name, record, score, call, length in bp


def _probability(verdicts: Sequence[ChunkVerdict | None], calibration: Calibration) -> float:
    scores = [verdict.score for verdict in verdicts if verdict]
    return calibration.probability(scores) if scores else math.nan


def _level(name: str, rows: list[_Row], dataset: Dataset) -> Units:
    names, records, scores, calls, lengths = zip(*rows, strict=True) if rows else ((),) * 5
    labels = dataset.labels
    sources, groups = ([column[each] for each in records] for column in (labels.sources, labels.groups))
    numbers = labels.virus_N[list(records)], np.array(scores, float), np.array(lengths, np.int64)
    return Units(name, names, numbers[0], numbers[1], calls, sources, groups, numbers[2])


def table(dataset: Dataset, chunks: list[ScoredChunk], calibration: Calibration) -> Iterator[list[str]]:
    """Rows of scores.tsv, its header first: every chunk, with a score or with the reason why it has none."""
    yield [
        "Chunk_ID", "Class", "Source", "Group", "Length", "max_score_0", "max_score_1", "Score", "Frames", "Reason",
    ]  # fmt: skip
    labels = dataset.labels
    for each in chunks:
        what = [CLASSES[int(labels.virus_N[each.record])], labels.sources[each.record], labels.groups[each.record]]
        shown, reason = ["", "", ""], NO_OPEN_FRAME
        if each.verdict:
            numbers = each.verdict.others, each.verdict.virus, calibration.probability([each.verdict.score])
            shown, reason = list(map(str, numbers)), ""
        frames = " ".join(f"{suffix}:{score}" for suffix, score in each.frames.items())
        yield [dataset.chunk_name(each.chunk), *what, str(dataset.length_C[each.chunk]), *shown, frames, reason]
