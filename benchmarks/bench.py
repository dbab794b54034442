"""Bench: everything that `make bench` does, on whatever machine this is.

    python -m benchmarks.bench

Makes the tags, measures HEAD and then v1.0 on this machine, compares, checks, publishes.
Exit codes: 0 done, and the committed results uphold the claim; otherwise that of the step that failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks import gpu

BASELINE, CANDIDATE, COMMITTED = "v1.0", "HEAD", "nvidia-h200"
ROOT = Path(__file__).parent.parent
SITE = Path(".asv", "html")


def step(title: str, *command: str) -> None:
    """Run a command of ours or of asv; end with its exit code if that is not 0."""
    print(f"\n== {title}\n$ {' '.join(command)}", flush=True)
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT)
    if done.returncode:
        print(f"\n{title}: ended with exit code {done.returncode}.", file=sys.stderr)
        sys.exit(done.returncode)


def this_machine() -> str:
    """asv's name for it."""
    from asv.machine import Machine

    return Machine.get_unique_machine_name()


def main() -> None:
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    machine = this_machine()
    # A CPU says nothing about the claim: its ratio is shown, not judged.
    claim = ["--workload", "gpu-10k"] if gpu.visible() else ["--workload", "cpu-small", "--min-ratio", "0"]
    step("Tags of the releases", "benchmarks.releases")
    step("This machine", "asv", "machine", "--yes")
    step("Measure, the newest first", "asv", "run", "--show-stderr", f"{CANDIDATE} {BASELINE} --no-walk")
    step("Compare", "asv", "compare", "--machine", machine, BASELINE, CANDIDATE)
    for title, name, options in (
        ("Speed-up on this machine", machine, claim),
        ("Speed-up on the H200 (committed results)", COMMITTED, ["--strict"]),
    ):
        json = f".asv/speedup_comparison-{name}.json"
        step(title, "benchmarks.check_speedup", "--machine", name, "--json", json, *options)
    step("Publish", "asv", "publish")
    print(f"\nThe site is in {SITE}. To look at it: make preview")


if __name__ == "__main__":
    main()
