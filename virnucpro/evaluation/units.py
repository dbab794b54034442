"""Units: what a classifier is judged by: labelled frames, chunks or contigs, and what was said of them.

Axes: N units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from virnucpro.errors import BadInput

CALLS = ("virus", "others", "Ambiguous", "no open frame", "failed")
THRESHOLD = 0.5  # of the score of virus; a tie is a virus


@dataclass(frozen=True)
class Units:
    """The N labelled units of one level: frames, chunks or contigs.

    Raises:
        BadInput: Columns differ in length, a score is not between 0 and 1, or a call is none of CALLS.
    """

    level: str
    names: Sequence[str]
    virus_N: np.ndarray  # bool: what they are
    score_N: np.ndarray  # float64, 0 others .. 1 virus; NaN where there is no verdict
    calls: Sequence[str]  # what was said: one of CALLS
    sources: Sequence[str]  # what they come from, e.g. a genome
    groups: Sequence[str]  # for tables, e.g. "phage"; "" where nobody says
    length_N: np.ndarray  # int64 bp

    def __post_init__(self) -> None:
        columns = (self.virus_N, self.score_N, self.calls, self.sources, self.groups, self.length_N)
        counts = {len(self.names), *map(len, columns)}
        if len(counts) > 1:
            raise BadInput(f"{self.level}: columns of {sorted(counts)} rows, all must have one a unit. Mend the table.")
        if len(beyond := np.flatnonzero((self.score_N < 0) | (self.score_N > 1))):
            odd = f"{self.names[beyond[0]]} has the score {self.score_N[beyond[0]]}"
            raise BadInput(f"{self.level}: {odd}, scores of virus lie from 0 to 1. Mend the table.")
        if strange := sorted({*self.calls} - {*CALLS}):
            raise BadInput(f"{self.level}: call {strange[0]!r}, known are {', '.join(CALLS)}. Mend the table.")

    def __len__(self) -> int:
        return len(self.names)

    def scored(self) -> np.ndarray:
        """Whether a unit has a score: bool (N,)."""
        scored_N: np.ndarray = np.isfinite(self.score_N)
        return scored_N

    def some(self, mask_N: np.ndarray) -> Units:
        """Select those that a mask names, bool (N,)."""
        places = np.flatnonzero(mask_N).tolist()
        texts = ([column[place] for place in places] for column in (self.names, self.calls, self.sources, self.groups))
        names, calls, sources, groups = texts
        numbers = self.virus_N[places], self.score_N[places], self.length_N[places]
        return Units(self.level, names, numbers[0], numbers[1], calls, sources, groups, numbers[2])
