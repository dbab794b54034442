"""Tables: the result files, written in one pass over the scored frames.

Tables are tab separated, without quotes; numbers are the shortest text that gives the float32 back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import astuple, dataclass, field, fields
from itertools import groupby
from pathlib import Path

from virnucpro.engine.results import FinishedWindow
from virnucpro.output.embeddings_file import EMBEDDINGS_FILE
from virnucpro.output.verdicts import ContigCall, FrameScore, chunk_verdict, contig_call
from virnucpro.reading.chunks import read_name
from virnucpro.reading.frames import chunk_name
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.proteins import MAX_RESIDUES
from virnucpro.system.files import whole_file

FRAMES_FILE = "prediction_results.txt"
CHUNKS_FILE = "prediction_results_highestscore.csv"  # tab separated all the same: readers expect both
CONTIGS_FILE = "contigs.tsv"
READS_FILE = "sequences.tsv"


@dataclass
class Counts:
    """What the verdict files hold. calls: contigs by call."""

    frames: int = 0
    chunks: int = 0
    viral_chunks: int = 0
    calls: dict[str, int] = field(default_factory=dict)

    @property
    def contigs(self) -> int:
        return sum(self.calls.values())


def has_results(folder: Path, kind: InputKind, with_features: bool) -> bool:
    """Whether all result files of a run are there."""
    expected = (FRAMES_FILE, CHUNKS_FILE, CONTIGS_FILE, READS_FILE) if kind == InputKind.NUCLEOTIDE else (READS_FILE,)
    if with_features:
        expected = (*expected, EMBEDDINGS_FILE)
    return all((folder / name).is_file() for name in expected)


def scored(windows: Iterable[FinishedWindow]) -> Iterator[FrameScore]:
    """The score of every open frame, or the reason why it has none, in order of the input."""
    for window in windows:
        for place, name in enumerate(window.sequence_names(InputKind.NUCLEOTIDE)):
            if place in window.failures:
                yield FrameScore(name, failure=window.failures[place])
            else:
                # through the shortest text of the float32, the number that the tables show
                others, virus = (float(str(score)) for score in window.scores_S2[place])  # type: ignore[index]
                yield FrameScore(name, others, virus)


def _row(*values: object) -> str:
    return "\t".join(map(str, values)) + "\n"


def write_verdicts(folder: Path, frames: Iterable[FrameScore], failures: dict[str, str]) -> Counts:
    """Write the frame, chunk and contig tables.

    A chunk with a failed frame gets no verdict, and a read with such a chunk no contig call: they would
    rest on part of the evidence.

    Args:
        frames: In order of the input; those of a chunk, and of a read, follow each other.
        failures: Filled with the reason for each read that has a failed frame.
    """
    counts = Counts()
    with ExitStack() as stack:
        frame_file, chunk_file, contig_file = (
            stack.enter_context(whole_file(folder / name)) for name in (FRAMES_FILE, CHUNKS_FILE, CONTIGS_FILE)
        )
        frame_file.write(_row("Sequence_ID", "Prediction", "score1", "score2"))
        chunk_file.write(_row("Modified_ID", "Is_Virus", "max_score_0", "max_score_1"))
        contig_file.write(_row(*(column.name for column in fields(ContigCall))))

        def rows_of_frames() -> Iterator[FrameScore]:
            for frame in frames:
                if frame.failure is None:
                    counts.frames += 1
                    frame_file.write(_row(frame.name, frame.label, frame.others, frame.virus))
                yield frame

        by_chunk = groupby(rows_of_frames(), key=lambda frame: chunk_name(frame.name))
        chunks = ((name, list(frames)) for name, frames in by_chunk)
        for read, group in groupby(chunks, key=lambda chunk: read_name(chunk[0])):
            verdicts = []
            for name, scores in group:
                failed = [score.failure for score in scores if score.failure is not None]
                if failed:
                    failures[read] = failed[0]
                    continue
                verdict = chunk_verdict(name, scores)
                verdicts.append(verdict)
                chunk_file.write(_row(name, verdict.is_virus, verdict.others, verdict.virus))
                counts.chunks += 1
                counts.viral_chunks += verdict.is_virus
            if read not in failures:
                contig = contig_call(read, verdicts)
                contig_file.write(_row(*astuple(contig)))
                counts.calls[contig.call] = counts.calls.get(contig.call, 0) + 1
    return counts


def write_fates(
    folder: Path, windows: Iterable[FinishedWindow], kind: InputKind, failures: dict[str, str]
) -> dict[str, int]:
    """Write sequences.tsv: every input record and what became of it.

    Args:
        windows: All of the run, in order of the input.
        failures: Reason for each read that could not be fully scored.
    Returns:
        How many reads met each fate (``failed`` without its reasons).
    """
    fates: dict[str, int] = {}
    with whole_file(folder / READS_FILE) as file:
        file.write(_row("Sequence_ID", "Length", "Chunks", "Frames", "Fate"))
        for (name, length), pieces in groupby(_pieces(windows), key=lambda piece: piece[:2]):
            counts = [piece[2:] for piece in pieces]
            chunks, frames = (sum(column) for column in zip(*counts, strict=True))
            fate = _fate(length, frames, kind, failures.get(name))
            file.write(_row(name, length, chunks if kind == InputKind.NUCLEOTIDE else 0, frames, fate))
            counted = fate.split(":")[0]
            fates[counted] = fates.get(counted, 0) + 1
    return fates


def _pieces(windows: Iterable[FinishedWindow]) -> Iterator[tuple[str, int, int, int]]:
    """Name, length, chunks and sequences of every piece of a read; a long read has several, in a row."""
    for window in windows:
        columns = (window.lengths_R, window.chunks_R, window.frames_R())
        yield from zip(window.names, *(column.tolist() for column in columns), strict=True)


def _fate(length: int, frames: int, kind: InputKind, failure: str | None) -> str:
    if failure is not None:
        return f"failed: {failure}"
    if length == 0:
        return "empty"
    if frames == 0:
        return "no open frame"
    if kind == InputKind.NUCLEOTIDE:
        return "scored"
    return "embedded" if length <= MAX_RESIDUES else f"embedded: first {MAX_RESIDUES} residues"
