"""Whole command: wall time of `virnucpro predict`, cold, and when its first scores are there.

    python -m benchmarks.whole_command WEIGHTS_DIR data/reads-10k.fa data/proteins-10k.faa

Each input in a process of its own, one after the other, started as a user starts it. It is given a terminal, so that it
draws its progress bar: the bar's first step is the first score.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LOADED = re.compile(r"INFO \S+ \(.*\): \S+, attention ")  # "cuda:0 (NVIDIA H200): FP16, attention triton, ..."
FINISHED = re.compile(r"Records .*?\b([1-9]\d*)/\d+")  # in the bar
GPU_MEMORY = re.compile(r"Peak GPU memory on \S+: (\S+) GB")
EVENTS = {"models loaded s": LOADED, "first score s": FINISHED, "peak GPU GB": GPU_MEMORY, "results s": "Results: "}

# in the manifest
KEPT = {"p95 loader wait ms": "p95_loader_wait_ms", "GPU idle %": "percent_gpu_idle", "NVML %": "mean_gpu_utilization"}


def measure(weights: Path, path: Path, options: list[str]) -> dict[str, float]:
    """Seconds from the start of the program to each of its steps, and peak memory in GB.

    Raises:
        RuntimeError: The program failed.
    """
    found: dict[str, float] = {}
    said = ""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "virnucpro", "predict", str(path), "--output-dir", f"{folder}/out"]
        command += ["--weights-dir", str(weights), *options]
        terminal, its_end = pty.openpty()
        begun = time.perf_counter()
        environment = os.environ | {"COLUMNS": "160", "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(command, stderr=its_end, env=environment)
        os.close(its_end)
        while said_now := _read(terminal):
            now = time.perf_counter() - begun
            said += said_now
            for name, pattern in EVENTS.items():
                if name not in found and (match := re.search(pattern, said)):
                    found[name] = float(match[1]) if name == "peak GPU GB" else now
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        os.close(terminal)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{said}")
        found |= {"wall s": time.perf_counter() - begun, "peak host GB": usage.ru_maxrss / 1e6}
        (manifest,) = Path(folder, "out").glob("*_run.json")
        performance = json.loads(manifest.read_text(encoding="utf-8"))["performance"]
        return found | {name: performance[key] for name, key in KEPT.items() if performance[key] is not None}


def _read(terminal: int) -> str:
    """What the program has written meanwhile; nothing once it has ended."""
    try:
        return os.read(terminal, 65536).decode(errors="replace")
    except OSError:  # how Linux tells the end of a terminal
        return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog="Further options go to the program.")
    parser.add_argument("weights", type=Path, metavar="WEIGHTS_DIR")
    parser.add_argument("input", type=Path, nargs="+", metavar="FASTA")
    given, options = parser.parse_known_args()
    for path in given.input:
        figures = measure(given.weights, path, options)
        print(f"{path.stem:13}", ", ".join(f"{name} {value:.2f}" for name, value in figures.items()), flush=True)


if __name__ == "__main__":
    main()
