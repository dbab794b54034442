"""Verdicts: frame scores gathered into a call a chunk, and chunk calls into a call a contig.

The contig call has the arithmetic and the column names of the Broad Institute's viral-ngs
(`classify_contigs` in its virnucpro helpers), which reads these tables downstream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENT, OPPOSING, AMBIGUOUS = 0.8, 0.3, 0.7  # scores of a chunk
CALLED, HIGH_CONFIDENCE = 0.3, 0.6  # |weighted delta| of a contig
FEW_CHUNKS = 5
SUPPORT = 0.1  # share of confident chunks among the unambiguous


@dataclass(frozen=True, slots=True)
class FrameScore:
    """Scores of one frame, or the reason why there are none."""

    name: str
    others: float = float("nan")
    virus: float = float("nan")
    failure: str | None = None

    @property
    def label(self) -> str:
        """The class with the larger score; "others" on a tie, as argmax has it."""
        return "virus" if self.virus > self.others else "others"


@dataclass(frozen=True, slots=True)
class ChunkVerdict:
    """The maxima of each score over a chunk's frames."""

    name: str
    others: float
    virus: float

    @property
    def is_virus(self) -> bool:
        """A tie is a virus, as in the published tool."""
        return self.virus >= self.others

    @property
    def delta(self) -> float:
        return self.virus - self.others


def chunk_verdict(name: str, frames: Sequence[FrameScore]) -> ChunkVerdict:
    """The verdict on a chunk from its frames' scores (at least one)."""
    return ChunkVerdict(name, max(frame.others for frame in frames), max(frame.virus for frame in frames))


@dataclass(frozen=True, slots=True)
class ContigCall:
    """One row of contigs.tsv; the fields are its columns."""

    ID: str
    call: str
    tier: str
    weighted_delta: float
    n_chunks: int
    n_confident_viral: int
    n_confident_nonviral: int
    n_ambiguous: int
    viral_proportion: float
    nonviral_proportion: float


def contig_call(name: str, chunks: list[ChunkVerdict]) -> ContigCall:
    """Call a contig from its chunks (at least one).

    A chunk's delta is virus - others; its weight is sqrt(|delta|), so that undecided chunks count
    little. The weighted mean beyond +-0.3 is a call, beyond +-0.6 one of high confidence, provided
    that at least one chunk, and a tenth of the unambiguous ones, is confident by itself. Under 5 chunks
    it is low at most, or to be reviewed where that does not hold.
    """
    weights = [abs(chunk.delta) ** 0.5 for chunk in chunks]
    weighted = [chunk.delta * weight for chunk, weight in zip(chunks, weights, strict=True)]
    delta = sum(weighted) / sum(weights) if sum(weights) > 0 else 0.0  # no weight at all: every delta is 0
    viral = sum(chunk.virus > CONFIDENT and chunk.others < OPPOSING for chunk in chunks)
    nonviral = sum(chunk.others > CONFIDENT and chunk.virus < OPPOSING for chunk in chunks)
    ambiguous = sum(chunk.virus > AMBIGUOUS and chunk.others > AMBIGUOUS for chunk in chunks)
    clear = len(chunks) - ambiguous
    viral_share, nonviral_share = (viral / clear, nonviral / clear) if clear else (0.0, 0.0)
    if delta > CALLED:
        call, supported = "Viral", viral >= 1 and viral_share >= SUPPORT
    elif delta < -CALLED:
        call, supported = "Non-viral", nonviral >= 1 and nonviral_share >= SUPPORT
    else:
        call, supported = "Ambiguous", False
    tier = _tier(call, supported, abs(delta), len(chunks))
    counts = len(chunks), viral, nonviral, ambiguous
    return ContigCall(name, call, tier, round(delta, 3), *counts, round(viral_share, 3), round(nonviral_share, 3))


def _tier(call: str, supported: bool, strength: float, chunks: int) -> str:
    """Confidence of a contig's call."""
    few = chunks < FEW_CHUNKS
    if call == "Ambiguous" or (few and not supported):
        return "review"
    if few or not supported:
        return "low_confidence"
    return "high_confidence" if strength > HIGH_CONFIDENCE else "moderate_confidence"
