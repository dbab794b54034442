"""Verdicts: frame scores gathered into a call a chunk, and chunk calls into a call a contig.

The contig call has the arithmetic and the column names of the Broad Institute's viral-ngs
(`classify_contigs` in its virnucpro helpers), which reads these tables downstream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

CONFIDENT, OPPOSING, AMBIGUOUS = 0.8, 0.3, 0.7  # scores of a chunk
CALLED, HIGH_CONFIDENCE = 0.3, 0.6  # |weighted delta| of a contig
FEW_CHUNKS = 5
SUPPORT = 0.1  # share of confident chunks among the unambiguous


class ChunkVerdict(NamedTuple):
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

    @property
    def score(self) -> float:
        """From 0 to 1: the middle between the greatest and the least score of virus of its frames."""
        return (self.delta + 1) / 2


class ContigCall(NamedTuple):
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


def chunk_verdicts(names: Sequence[str], chunk_S: np.ndarray, scores_S2: np.ndarray) -> dict[int, ChunkVerdict]:
    """Gather the scores of frames into the verdicts on their chunks, by the chunk's place.

    Args:
        names: Of all chunks, whether they have frames or not.
        chunk_S: Place in `names` of each frame's chunk, ascending.
        scores_S2: Of each frame: others and virus.
    """
    firsts = np.flatnonzero(np.diff(chunk_S, prepend=-1))
    maxima = np.maximum.reduceat(scores_S2, firsts).tolist()
    return {
        chunk: ChunkVerdict(names[chunk], *scores)
        for chunk, scores in zip(chunk_S[firsts].tolist(), maxima, strict=True)
    }


def contig_call(name: str, chunks: Sequence[ChunkVerdict]) -> ContigCall:
    """Call a contig from its chunks (at least one).

    A chunk's delta is virus - others; its weight is sqrt(|delta|), so that undecided chunks count
    little. The weighted mean beyond +-0.3 is a call, beyond +-0.6 one of high confidence, provided
    that at least one chunk, and a tenth of the unambiguous ones, is confident by itself. Under 5 chunks
    it is low at most, or to be reviewed where that does not hold.
    """
    weights, weighted = list[float](), list[float]()
    viral = nonviral = ambiguous = 0
    for chunk in chunks:  # one loop, for there may be as many contigs as reads
        delta, others, virus = chunk.delta, chunk.others, chunk.virus
        weights.append(abs(delta) ** 0.5)
        weighted.append(delta * weights[-1])
        viral += virus > CONFIDENT and others < OPPOSING
        nonviral += others > CONFIDENT and virus < OPPOSING
        ambiguous += virus > AMBIGUOUS and others > AMBIGUOUS
    weight = sum(weights)
    delta = sum(weighted) / weight if weight > 0 else 0.0  # no weight at all: every delta is 0
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
