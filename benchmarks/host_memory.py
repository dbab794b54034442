"""Host memory: does it stay the same however large the input is?

    python -m benchmarks.host_memory --sequences 100000 1000000

Embeds short random proteins with an ESM-2 of 2 layers x 48, so that what the host does is nearly all there is to do;
each size in a process of its own, on the CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
LENGTHS = (10, 30)  # residues
MODEL, SHAPE = "esm2_t6_8M_UR50D", (2, 48, 4)  # the name of a known size; layers, width, heads of this one


def write_proteins(path: Path, count: int, seed: int = 0) -> None:
    rng = random.Random(seed)
    with open(path, "w", encoding="ascii") as file:
        for number in range(count):
            file.write(f">p{number}\n{''.join(rng.choices(RESIDUES, k=rng.randint(*LENGTHS)))}\n")


def embed(proteins: Path, folder: Path) -> None:
    """Embed a file in this process, and print what that took as JSON."""
    from benchmarks.synthetic_weights import write_fair_esm
    from virnucpro.config.settings import Settings
    from virnucpro.models import catalog
    from virnucpro.pipeline.run import run

    catalog.ESM2_SIZES[MODEL] = SHAPE
    write_fair_esm(folder / f"{MODEL}.pt", *SHAPE)
    begun = time.perf_counter()
    settings = {"weights_dir": folder, "esm_model": MODEL, "input_type": "protein", "show_progress": False}
    summary = run(Settings((str(proteins),), folder / "out", **settings))
    seconds = time.perf_counter() - begun
    own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({"fates": summary.fates, "seconds": seconds, "MiB": own / 1024, "children MiB": children / 1024}))


def measure(count: int) -> dict:
    """The figures of a run over so many proteins."""
    with tempfile.TemporaryDirectory() as folder:
        proteins = Path(folder) / "proteins.faa"
        write_proteins(proteins, count)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.host_memory", "--embed", proteins],
            env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure peak host memory by the size of the input.")
    parser.add_argument("--sequences", type=int, nargs="+", default=[100_000, 1_000_000], metavar="N")
    parser.add_argument("--embed", type=Path, help=argparse.SUPPRESS)  # the process that is measured
    arguments = parser.parse_args()
    if arguments.embed:
        embed(arguments.embed, arguments.embed.parent)
        return
    print(f"{'sequences':>10} {'seconds':>8} {'peak MiB':>9} {'children MiB':>13} {'of the first':>13}")
    first = None
    for count in arguments.sequences:
        found = measure(count)
        assert found["fates"] == {"embedded": count}, found["fates"]
        first = first or found["MiB"]
        figures = found["seconds"], found["MiB"], found["children MiB"], found["MiB"] / first
        print("{:10,d} {:8.1f} {:9.1f} {:13.1f} {:13.3f}".format(count, *figures), flush=True)


if __name__ == "__main__":
    main()
