"""Front end: what one core takes to make sequences ready for the GPU, from FASTA to packs.

    python -m benchmarks.workloads reads-10k data
    python -m benchmarks.front_end data/reads-10k.fa      # stage by stage

Everything runs in this process; in a run the survey comes first, and the rest is shared by the loader processes, but
for reading and windows, which are the main process's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import history, inputs, workloads
from benchmarks.measured import Measured

TOKENIZER = Path(__file__).parent / "data" / "dnabert_s"
CHUNK_SIZE, TOKEN_BUDGET, BUFFER_SIZE = 500, 16_384, 2048  # as on a GPU


def timed(work: Callable[[], object]) -> tuple[object, float]:
    begun = time.perf_counter()
    result = work()
    return result, time.perf_counter() - begun


def measure(path: str) -> tuple[int, dict[str, float]]:
    """Sequences (frames or proteins), and seconds of each stage."""
    from virnucpro.loader import FrontEnd
    from virnucpro.recipe import Recipe
    from virnucpro.sequences import sequences_of
    from virnucpro.survey import reread, survey
    from virnucpro.tokens import dnabert_tokens, esm2_tokens, load_tokenizer
    from virnucpro.weights import WeightPaths
    from virnucpro.windows import windows

    seen, surveyed = timed(lambda: survey([path]))
    made, cut = timed(lambda: list(windows(reread([path], seen), seen.kind, CHUNK_SIZE, BUFFER_SIZE, TOKEN_BUDGET)))
    weights = WeightPaths(Path("unused"), TOKENIZER, None)
    recipe = Recipe(seen.kind, weights, "", CHUNK_SIZE, "fp16", "auto", TOKEN_BUDGET, False)
    front_end = FrontEnd(recipe)
    front_end[made[0]]  # loads the tokenizer
    prepared, whole = timed(lambda: [front_end[window] for window in made])

    found, translated = timed(lambda: [sequences_of(window, seen.kind) for window in made])
    _, esm2 = timed(lambda: [esm2_tokens(each.proteins) for each in found])
    dnabert = 0.0
    if seen.kind == "nucleotide":
        tokenizer = load_tokenizer(TOKENIZER)
        _, dnabert = timed(lambda: [dnabert_tokens(tokenizer, each.dna) for each in found])
    stages = {
        "survey": surveyed,
        "reading, windows": cut,
        "frames" if seen.kind == "nucleotide" else "letters": translated,
        "ESM-2 tokens": esm2,
        "DNABERT-S tokens": dnabert,
        "packs": max(0.0, whole - translated - esm2 - dnabert),
        "main process": surveyed + cut,
        "loader process": whole,
    }
    return sum(each.sequences for each in prepared), stages


class FrontEnd(Measured):
    """Seconds of one core for 10,000 proteins or frames; no GPU is needed."""

    params = ["proteins", "reads", "contigs"]
    param_names = ["input"]

    def measure(self, kind: str) -> dict[str, float | None]:
        history.require_engine()
        path = str(workloads.write_workload(f"{kind}-10k", inputs.cache() / f"inputs-v{workloads.VERSION}"))
        measure(path)  # the first pass is for the caches
        count, stages = measure(path)
        return {"seconds": 1e4 * (stages["main process"] + stages["loader process"]) / count}

    def track_seconds_per_10k(self, kind: str) -> dict:
        return self.figure("seconds")

    track_seconds_per_10k.unit = "s per 10,000 sequences"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the way from FASTA to packs, by stages.")
    parser.add_argument("fasta", nargs="+")
    arguments = parser.parse_args()
    for path in arguments.fasta:
        measure(path)  # the first pass is for the caches
        count, stages = measure(path)
        print(f"{path}: {count:,} sequences")
        for name, seconds in stages.items():
            if seconds:
                print(f"  {name:18} {1e6 * seconds / count:8.1f} us each  {count / seconds:12,.0f} a second")


if __name__ == "__main__":
    main()
