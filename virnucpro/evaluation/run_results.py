"""Run results: the tables of a finished run, beside what its records are."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from virnucpro.errors import BadInput, BadRequest
from virnucpro.evaluation.records_table import CLASSES
from virnucpro.evaluation.units import Units
from virnucpro.output.tables import CHUNKS_FILE, CONTIGS_FILE, FRAMES_FILE, PROBABILITY, READS_FILE
from virnucpro.reading.chunks import chunk_spans

SCORED, NO_OPEN_FRAME, FAILED = "scored", "no open frame", "failed"  # fates
csv.field_size_limit(sys.maxsize)  # an id may be longer than what csv takes of itself
CALLS = {"Viral": "virus", "Non-viral": "others", "Ambiguous": "Ambiguous"}  # of contigs, in the words of `Units`


class Label(NamedTuple):
    """What a record is."""

    virus: bool
    source: str
    group: str = ""


class _Unit(NamedTuple):
    name: str
    record: str
    score: float
    call: str
    length: int


def read_results(results: Path, labels: Mapping[str, Label], chunk_size: int, prevalence: float) -> dict[str, Units]:
    """Read what a run said of frames, chunks and contigs.

    Args:
        results: The folder with its tables.
        labels: By record; records without one are passed over.
        chunk_size: bp. prevalence: That the run's probabilities are for; they are turned to equal classes.
    Returns:
        Units of the levels "frame", "chunk" and "contig"; a score is a probability where the run has them.
    Raises:
        BadRequest: A table is not there. BadInput: It is not what a run wrote.
    """
    try:
        records = {row["Sequence_ID"]: row for row in _rows(results / READS_FILE) if row["Sequence_ID"] in labels}
        spans = {name: chunk_spans(int(row["Length"]), chunk_size) for name, row in records.items()}
        levels = {
            "frame": list(_frames(results, spans)),
            "chunk": list(_chunks(results, records, spans, prevalence)),
            "contig": list(_contigs(results, records, prevalence)),
        }
    except FileNotFoundError as error:
        raise BadRequest(f"{error.filename} is not there. Name the directory of a finished run.") from error
    except (KeyError, ValueError, IndexError, TypeError, csv.Error) as error:
        raise BadInput(f"{results}: its tables are not as a run writes them ({error}). Run again.") from error
    return {name: _level(name, units, labels) for name, units in levels.items()}


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)


def _frames(results: Path, spans: Mapping[str, list[tuple[int, int]]]) -> Iterator[_Unit]:
    for row in _rows(results / FRAMES_FILE):
        name = row["Sequence_ID"]
        record, _, number = name[:-2].rpartition("_chunk_")
        if record in spans:
            start, end = spans[record][int(number) - 1]
            yield _Unit(name, record, float(row["score2"]), row["Prediction"], end - start)


def _chunks(
    results: Path, records: Mapping[str, dict[str, str]], spans: Mapping[str, list[tuple[int, int]]], prevalence: float
) -> Iterator[_Unit]:
    scored = {row["Modified_ID"]: row for row in _rows(results / CHUNKS_FILE)}
    for record, row in records.items():
        without = FAILED if row["Fate"].startswith(FAILED) else NO_OPEN_FRAME
        for number, (start, end) in enumerate(spans[record], start=1):
            name, score, call = f"{record}_chunk_{number}", math.nan, without
            if (chunk := scored.get(name)) is not None:
                score = (float(chunk["max_score_1"]) - float(chunk["max_score_0"]) + 1) / 2
                score = _equal(float(chunk[PROBABILITY]), prevalence) if PROBABILITY in chunk else score
                call = CLASSES[chunk["Is_Virus"] == "True"]
            yield _Unit(name, record, score, call, end - start)
        if row["Fate"] == SCORED and not any(f"{record}_chunk_{n}" in scored for n in range(1, len(spans[record]) + 1)):
            raise ValueError(f"{CHUNKS_FILE} has no row for {record}")


def _contigs(results: Path, records: Mapping[str, dict[str, str]], prevalence: float) -> Iterator[_Unit]:
    called = {row["ID"]: row for row in _rows(results / CONTIGS_FILE)}
    for record, row in records.items():
        score, call = math.nan, FAILED if row["Fate"].startswith(FAILED) else NO_OPEN_FRAME
        if (contig := called.get(record)) is not None:
            score, call = (float(contig["weighted_delta"]) + 1) / 2, CALLS[contig["call"]]
            score = _equal(float(contig[PROBABILITY]), prevalence) if PROBABILITY in contig else score
        elif row["Fate"] == SCORED:
            raise ValueError(f"{CONTIGS_FILE} has no row for {record}")
        yield _Unit(record, record, score, call, int(row["Length"]))


def _equal(probability: float, prevalence: float) -> float:
    """Turn a probability at a prevalence into the one at equal classes (Bayes)."""
    viral, other = probability / prevalence, (1 - probability) / (1 - prevalence)
    return viral / (viral + other)


def _level(name: str, units: list[_Unit], labels: Mapping[str, Label]) -> Units:
    names, records, scores, calls, lengths = zip(*units, strict=True) if units else ((),) * 5
    said = [labels[record] for record in records]
    virus_N, score_N = np.array([label.virus for label in said], bool), np.array(scores, float)
    sources, groups = [label.source for label in said], [label.group for label in said]
    return Units(name, names, virus_N, score_N, calls, sources, groups, np.array(lengths, np.int64))
