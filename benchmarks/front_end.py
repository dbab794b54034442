"""Front end: what one core takes to make sequences ready for the GPU, from FASTA to packs.

    python -m benchmarks.workloads reads-10k data
    python -m benchmarks.front_end data/reads-10k.fa      # stage by stage

Everything runs in this process; in a run the survey comes first, and the rest is shared by the loader processes, but
for reading and windows, which are the main process's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import history, workloads
from benchmarks.measured import Measured
from benchmarks.support import inputs
from benchmarks.support.package_api import prepare

TOKENIZER = Path(__file__).parent / "data" / "dnabert_s"


class FrontEnd(Measured):
    """Seconds of one core for 10,000 proteins or frames; no GPU is needed."""

    version = "2"  # since then DNABERT-S's tokenizer has one core, too, as in a loader process
    params = ["proteins", "reads", "contigs"]
    param_names = ["input"]
    figures = {"seconds_per_10k": "s per 10,000 sequences"}

    def measure(self, kind: str) -> dict[str, float | None]:
        history.require_engine()
        path = str(workloads.write_workload(f"{kind}-10k", inputs.cache() / f"inputs-v{workloads.VERSION}"))
        prepare(path, TOKENIZER)  # the first pass is for the caches
        made = prepare(path, TOKENIZER)
        return {"seconds_per_10k": 1e4 * sum(made.main.values(), sum(made.loader.values())) / made.sequences}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the way from FASTA to packs, by stages.")
    parser.add_argument("fasta", nargs="+")
    arguments = parser.parse_args()
    for path in arguments.fasta:
        prepare(path, TOKENIZER)  # the first pass is for the caches
        made = prepare(path, TOKENIZER)
        print(f"{path}: {made.sequences:,} sequences")
        sums = {"main process": sum(made.main.values()), "loader process": sum(made.loader.values())}
        for name, seconds in (made.main | made.loader | sums).items():
            each = f"{1e6 * seconds / made.sequences:8.1f} us each"
            print(f"  {name:18} {each}  {made.sequences / seconds:12,.0f} a second")


if __name__ == "__main__":
    main()
