"""Dataset: the frames of labelled records, with their features, as the engine computed them.

Axes: N records, C chunks, S frames, all in order of the input; F features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from virnucpro.engine.results import FinishedWindow
from virnucpro.evaluation.records_table import PARTS
from virnucpro.reading.chunks import chunk_spans
from virnucpro.system.files import reserve
from virnucpro.training.frame_counts import is_coding
from virnucpro.training.labels import Labels


@dataclass(frozen=True)
class Dataset:
    """What a classifier is trained on, and judged by.

    features_SF: float32, in a file. chunk_S, frame_S: int64, the chunk of each frame, and its place in FRAME_SUFFIXES.
    record_C, number_C, start_C, length_C: int64, the record of each chunk, its number in it from 1, and its span in bp.
    """

    labels: Labels
    features_SF: np.ndarray
    chunk_S: np.ndarray
    frame_S: np.ndarray
    record_C: np.ndarray
    number_C: np.ndarray
    start_C: np.ndarray
    length_C: np.ndarray

    @property
    def virus_S(self) -> np.ndarray:
        virus_S: np.ndarray = self.labels.virus_N[self.record_C[self.chunk_S]]
        return virus_S

    def chunk_name(self, chunk: int) -> str:
        """Name a chunk as a run does."""
        return f"{self.labels.names[self.record_C[chunk]]}_chunk_{self.number_C[chunk]}"

    def chunks_in(self, part: str) -> np.ndarray:
        """Tell which chunks are in a part: bool (C,). What is shared with another part or class is in none."""
        chunks_C: np.ndarray = (self.labels.part_N[self.record_C] == PARTS.index(part)) & ~self.labels.shared_C
        return chunks_C

    def rows(self, part: str, frames: str = "open") -> np.ndarray:
        """List the frames of a part: int64.

        Args:
            frames: "coding" for those that read a record as it begins: records are coding sequences then.
        """
        chosen_S = self.chunks_in(part)[self.chunk_S]
        if frames == "coding":
            chosen_S &= is_coding(self.start_C[self.chunk_S], self.frame_S)
        return np.flatnonzero(chosen_S)


def gather(
    finished: Callable[[bool], Iterable[FinishedWindow]],
    labels: Labels,
    chunk_size: int,
    features: tuple[str, ...],
    path: Path,
) -> Dataset:
    """Gather the finished windows of a run; one at a time is held.

    Args:
        finished: Reads them, all and without failures, with features or without.
        chunk_size: bp. features: In order.
        path: Of a file for the features, as numpy's .npy, which is written over.
    """
    chunks, places = 0, list[tuple[np.ndarray, np.ndarray]]()
    pieces = list[tuple[str, int, int, int]]()
    for window in finished(False):
        chunk_S, frame_S = window.open_frames()
        places.append((chunk_S + chunks, frame_S))
        columns = (window.lengths_R.tolist(), window.firsts_R.tolist(), window.chunks_R.tolist())
        pieces += zip(window.names, *columns, strict=True)
        chunks += len(window.open_C)
    chunk_S, frame_S = (np.concatenate(arrays) for arrays in zip(*places, strict=True))
    table = _chunks(pieces, chunk_size)
    assert len(table[0]) == len(labels.shared_C), "the input changed"
    features_SF, begin = np.empty((0, 0), np.float32), 0
    for window in finished(True):
        if window.sequences:
            rows_SF = np.concatenate([window.features[name] for name in features], axis=1)
            if not begin:
                features_SF = open_memmap(path, "w+", np.float32, (len(chunk_S), rows_SF.shape[1]))
                reserve(path, path.stat().st_size)  # on a full disk, a file in memory ends the program
            features_SF[begin : begin + window.sequences] = rows_SF
            begin += window.sequences
    return Dataset(labels, features_SF, chunk_S, frame_S, *table)


def _chunks(pieces: list[tuple[str, int, int, int]], chunk_size: int) -> tuple[np.ndarray, ...]:
    """Record, number, start and length of every chunk: int64 (C,) each."""
    rows, record = list[tuple[int, int, int, int]](), -1
    for _, length, first, chunks in pieces:
        record += first == 0
        spans = chunk_spans(length, chunk_size)[first : first + chunks]
        rows += [(record, first + number, start, end - start) for number, (start, end) in enumerate(spans, start=1)]
    return tuple(np.array(rows, np.int64).reshape(-1, 4).T)
