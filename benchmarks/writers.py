"""Writers: what one core takes from finished windows to result files; the numbers are random, and no model is asked.

python -m benchmarks.writers      # stage by stage
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import history
from benchmarks.measured import Measured
from benchmarks.support.package_api import write

SEQUENCES = 40_960
WINDOW = 2048  # sequences, as on a GPU
CHUNKS = {"reads": 1, "contigs": 6, "proteins": 1}  # of a record
WIDTH = 2560  # of ESM-2 3B's features, which are written for proteins


class Writers(Measured):
    """Processor seconds for 10,000 frames or proteins, with checkpoints and the results of a run; no GPU is needed."""

    params = list(CHUNKS)
    param_names = ["input"]
    figures = {"seconds_per_10k": "processor s per 10,000 sequences"}

    def measure(self, kind: str) -> dict[str, float | None]:
        history.require_writers()
        seconds = least(kind)
        return {"seconds_per_10k": 1e4 * sum(seconds.values()) / SEQUENCES}


def least(kind: str, sequences: int = SEQUENCES, times: int = 3) -> dict[str, float]:
    """Write the results of so many sequences some times; return the processor seconds of each stage, the least of each.

    Args:
        kind: A key of `CHUNKS`.
    """
    input_type = "protein" if kind == "proteins" else "nucleotide"
    found = []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            found.append(write(Path(folder), finished(kind, sequences), input_type))
    return {stage: min(seconds[stage] for seconds in found) for stage in found[0]}


def finished(kind: str, sequences: int) -> Iterator[dict[str, Any]]:
    """Yield windows as the fields of `FinishedWindow`: seeded, records of `CHUNKS` chunks with one open frame each."""
    rng, chunks = np.random.default_rng(42), CHUNKS[kind]
    for index, first in enumerate(range(0, sequences, WINDOW)):
        count = min(WINDOW, sequences - first)
        pieces = -(-count // chunks)
        chunks_R = np.full(pieces, chunks)
        chunks_R[-1] -= pieces * chunks - count
        virus_S = rng.random(count, np.float32)
        protein = kind == "proteins"
        yield {
            "index": index,
            "names": [f"{kind}_{index:05d}_{place:05d}" for place in range(pieces)],
            "lengths_R": 500 * chunks_R,
            "firsts_R": np.zeros(pieces, np.int64),
            "chunks_R": chunks_R,
            "open_C": (1 << rng.integers(0, 1 if protein else 6, count)).astype(np.uint8),
            "cut": 0,
            "unknown": 0,
            "failures": {},
            "scores_S2": None if protein else np.stack([1 - virus_S, virus_S], axis=1),
            "features": {"esm2": rng.random((count, WIDTH), np.float32)} if protein else {},
        }


def main() -> None:
    for kind in CHUNKS:
        seconds = least(kind)
        print(f"{kind}: {SEQUENCES:,} sequences")
        for name, took in (seconds | {"all": sum(seconds.values())}).items():
            print(f"  {name:18} {1e6 * took / SEQUENCES:8.1f} us each  {SEQUENCES / max(took, 1e-9):12,.0f} a second")


if __name__ == "__main__":
    main()
