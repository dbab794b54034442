"""Start-up: how long a user waits before anything is computed; through the command line, at every commit."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import workloads
from benchmarks.commands import run
from benchmarks.measured import Measured
from benchmarks.support import inputs
from benchmarks.support.inputs import Workload

REPEATS = 7


class Help(Measured):
    """`virnucpro --help`, which imports no torch; the median of several."""

    figures = {"seconds": "seconds"}

    def measure(self) -> dict[str, float]:
        command = [sys.executable, "-m", "virnucpro", "--help"]
        seconds = []
        for _ in range(REPEATS + 1):
            begun = time.perf_counter()
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - begun)
        return {"seconds": statistics.median(seconds[1:])}  # the first writes .pyc files


class OneProtein(Measured):
    """The whole command on a single protein: importing, checking, loading the models, and the end."""

    version = "2"  # since then with an empty cache of Triton's
    params = ["gpu-10k", "cpu-small"]
    param_names = ["workload"]
    figures = {"wall_seconds": "seconds"}

    def measure(self, workload: str) -> dict[str, float | None]:
        work = inputs.require(workload)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "one.faa")
            path.write_text(workloads.fasta(workloads.proteins(1)), encoding="ascii")
            return self.timed(work, path, Path(folder))

    def timed(self, work: Workload, path: Path, folder: Path) -> dict[str, float | None]:
        return {"wall_seconds": run(work, path, "default", folder / "out")["seconds"]}


class OneProteinAgain(OneProtein):
    """The same a second time: what the first has compiled and read for later runs is there."""

    version = "1"
    figures = {"loading_seconds": "seconds"}

    def timed(self, work: Workload, path: Path, folder: Path) -> dict[str, float | None]:
        super().timed(work, path, folder)
        seconds = run(work, path, "default", folder / "again")["seconds"]
        return {"wall_seconds": seconds, "loading_seconds": loading_seconds(folder / "again", seconds)}


def loading_seconds(output_dir: Path, wall_seconds: float) -> float | None:
    """Of a command, what is not computing and not writing results: until the models are loaded, and the program's end.

    None for a version that does not tell its stages.
    """
    for manifest in output_dir.glob("*_run.json"):
        sessions = json.loads(manifest.read_text(encoding="utf-8")).get("sessions", [{}])
        if stages := sessions[-1].get("stage_seconds"):
            return wall_seconds - stages["computing"] - stages["writing the results"]
    return None
