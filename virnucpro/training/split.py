"""Split: which part of the sources trains a classifier, which chooses its best epoch, and which judges it.

A source is in one part, with all that comes from it. Which one is decided by its name, so that more sources, or another
seed, move none into or out of the test.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from virnucpro.errors import BadRequest
from virnucpro.evaluation.records_table import TEST, TRAIN, VALIDATION


@dataclass(frozen=True)
class SplitRule:
    """A source whose sha256, read as a fraction of 1, is below `test` is in the test: with 1/4 those that begin with
    0 to 3 in hexadecimal. Of the others, that of ``{seed}:{source}`` decides in the same way about `validation`.

    Raises:
        BadRequest: A share that leaves a part empty.
    """

    test: float = 0.25
    validation: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("test", "validation"):
            if not 0 < (share := getattr(self, name)) < 1:
                raise BadRequest(f"--{name} is {share}, and must be above 0 and below 1: it is a share of the sources.")
        if not 0 <= self.seed < 2**32:
            raise BadRequest(f"--seed is {self.seed}, and must be a whole number from 0 to 4294967295.")

    def part_of(self, source: str) -> str:
        """Tell the part of a source."""
        if fraction(source) < self.test:
            return TEST
        return VALIDATION if fraction(f"{self.seed}:{source}") < self.validation else TRAIN


def fraction(text: str) -> float:
    """The first 52 bits of a text's sha256, as a fraction of 1."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:13], 16) / 16**13
