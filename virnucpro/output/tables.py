"""Tables: the result files, written in one pass over the scored frames.

Tables are tab separated, without quotes; numbers are the shortest text that gives the float32 back.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import compress, groupby
from operator import itemgetter
from pathlib import Path

import numpy as np

from virnucpro.engine.results import FinishedWindow
from virnucpro.models.calibration import Calibration
from virnucpro.output.discovery import false_discovery_rates
from virnucpro.output.embeddings_file import EMBEDDINGS_FILE
from virnucpro.output.verdicts import ChunkVerdict, ContigCall, chunk_verdicts, contig_call
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.proteins import MAX_RESIDUES
from virnucpro.system.files import whole_file

FRAMES_FILE = "prediction_results.txt"
CHUNKS_FILE = "prediction_results_highestscore.csv"  # tab separated all the same: readers expect both
CONTIGS_FILE = "contigs.tsv"
READS_FILE = "sequences.tsv"
PROBABILITY, FDR, WITHIN = "probability", "fdr", "within_max_fdr"  # columns of calibrated classifiers


@dataclass
class Counts:
    """What the verdict files hold. calls: contigs by call. within: those within the false discovery rate asked for."""

    frames: int = 0
    chunks: int = 0
    viral_chunks: int = 0
    calls: dict[str, int] = field(default_factory=dict)
    within: int | None = None

    @property
    def contigs(self) -> int:
        return sum(self.calls.values())


def has_results(folder: Path, kind: InputKind, with_features: bool) -> bool:
    """Whether all result files of a run are there."""
    expected = (FRAMES_FILE, CHUNKS_FILE, CONTIGS_FILE, READS_FILE) if kind == InputKind.NUCLEOTIDE else (READS_FILE,)
    if with_features:
        expected = (*expected, EMBEDDINGS_FILE)
    return all((folder / name).is_file() for name in expected)


def _row(*values: object) -> str:
    return "\t".join(map(str, values)) + "\n"


def write_verdicts(
    folder: Path,
    windows: Iterable[FinishedWindow],
    failures: dict[str, str],
    calibration: Calibration | None = None,
    prevalence: float | None = None,
    max_fdr: float | None = None,
) -> Counts:
    """Write the frame, chunk and contig tables.

    A chunk with a failed frame gets no verdict, and a read with such a chunk no contig call: they would
    rest on part of the evidence.

    Args:
        windows: All of the run, in order of the input.
        failures: Filled with the reason for each read that has a failed frame.
        calibration: Of the classifier; adds probabilities to the tables of chunks and contigs.
        prevalence: Share of viruses that is expected; None for probabilities at equal classes. With one, contigs have
            an expected false discovery rate, and with `max_fdr` whether they are within it.
    """
    counts, probabilities = Counts(), array("d")

    def probability(verdicts: list[ChunkVerdict]) -> tuple[float, ...]:
        """One column more, or none."""
        return (
            ()
            if calibration is None
            else (calibration.probability([each.score for each in verdicts], prevalence or 0.5),)
        )

    with ExitStack() as stack:
        frame_file, chunk_file, contig_file = (
            stack.enter_context(whole_file(folder / name)) for name in (FRAMES_FILE, CHUNKS_FILE, CONTIGS_FILE)
        )
        frame_file.write(_row("Sequence_ID", "Prediction", "score1", "score2"))
        more = () if calibration is None else (PROBABILITY,)
        chunk_file.write(_row("Modified_ID", "Is_Virus", "max_score_0", "max_score_1", *more))
        contig_file.write(_row(*ContigCall._fields, *more))

        def pieces() -> Iterator[tuple[str, list[ChunkVerdict]]]:
            """Write the rows of frames and chunks; yield the verdicts on each piece of a read meanwhile."""
            for window in windows:
                frames, verdicts = _scored(window, failures)
                frame_file.write("".join(frames))
                rows = [_row(each.name, each.is_virus, *each[1:], *probability([each])) for each in verdicts.values()]
                chunk_file.write("".join(rows))
                counts.frames += len(frames)
                counts.chunks += len(verdicts)
                counts.viral_chunks += sum([each.is_virus for each in verdicts.values()])
                end = 0
                for read, chunks in zip(window.names, window.chunks_R.tolist(), strict=True):
                    begin, end = end, end + chunks
                    yield read, [verdicts[chunk] for chunk in range(begin, end) if chunk in verdicts]

        for read, group in groupby(pieces(), key=itemgetter(0)):  # a long read has several, in a row
            verdicts = [verdict for _, some in group for verdict in some]
            if verdicts and read not in failures:
                contig, extra = contig_call(read, verdicts), probability(verdicts)
                probabilities.extend(extra)
                contig_file.write(_row(*contig, *extra))
                counts.calls[contig.call] = counts.calls.get(contig.call, 0) + 1
    if prevalence is not None:
        counts.within = _add_rates(folder / CONTIGS_FILE, np.array(probabilities), max_fdr)
    return counts


def _add_rates(path: Path, probability_N: np.ndarray, max_fdr: float | None) -> int | None:
    """Add the expected false discovery rate of each contig, which all contigs decide; return how many are within."""
    rates = false_discovery_rates(probability_N).tolist()
    with open(path, encoding="utf-8", newline="") as table, whole_file(path) as file:
        head = next(table).rstrip("\n")
        file.write(_row(head, FDR) if max_fdr is None else _row(head, FDR, WITHIN))
        for line, rate in zip(table, rates, strict=True):
            within = () if max_fdr is None else (rate <= max_fdr,)
            file.write(_row(line.rstrip("\n"), f"{rate:.6g}", *within))
    return None if max_fdr is None else sum(rate <= max_fdr for rate in rates)


def _scored(window: FinishedWindow, failures: dict[str, str]) -> tuple[list[str], dict[int, ChunkVerdict]]:
    """Return the rows of frames with scores, and by place the verdicts on chunks without failures; fill `failures`."""
    chunk_S, _ = window.open_frames()
    good_S = np.ones(len(chunk_S), bool)
    good_S[list(window.failures)] = False
    reasons: dict[int, str] = {}  # of a chunk, its first
    for place, reason in sorted(window.failures.items()):
        reasons.setdefault(int(chunk_S[place]), reason)
    piece_C = np.repeat(np.arange(len(window.names)), window.chunks_R)
    failures |= {window.names[piece_C[chunk]]: reason for chunk, reason in reasons.items()}
    if not good_S.any():
        return [], {}
    assert window.scores_S2 is not None, "a frame has neither scores nor a failure"
    scores_S2 = window.scores_S2[good_S]
    texts = list(map(str, scores_S2.ravel()))  # the shortest that give the float32 back
    labels = np.where(scores_S2[:, 1] > scores_S2[:, 0], "virus", "others").tolist()  # "others" on a tie, as argmax
    names = compress(window.sequence_names(InputKind.NUCLEOTIDE), good_S.tolist())
    rows = list(map(_row, names, labels, texts[::2], texts[1::2]))
    # Verdicts rest on the numbers that the tables show.
    shown_S2 = np.array(list(map(float, texts))).reshape(-1, 2)
    verdicts = chunk_verdicts(window.chunk_names(), chunk_S[good_S], shown_S2)
    return rows, {chunk: verdict for chunk, verdict in verdicts.items() if chunk not in reasons}


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
        for (name, length), pieces in groupby(_pieces(windows), key=itemgetter(0, 1)):
            chunks = frames = 0
            for _, _, more_chunks, more_frames in pieces:
                chunks, frames = chunks + more_chunks, frames + more_frames
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
