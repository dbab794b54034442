"""Bench: everything that `make bench` does, on whatever machine this is.

    python -m benchmarks.bench

Makes the tags, measures HEAD and then v1.0 on this machine, compares, checks, publishes.
Exit codes: 0 done, and the results uphold the claim; otherwise that of the first step that failed. The steps after it
run all the same: one failed benchmark keeps nobody from the rest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks import inputs

BASELINE, CANDIDATE, COMMITTED = "v1.0", "HEAD", "nvidia-h200"
ROOT = Path(__file__).parent.parent
SITE = Path(".asv", "html")


def step(title: str, *command: str) -> int:
    """Run a command of ours or of asv, and return its exit code."""
    print(f"\n== {title}\n$ {' '.join(command)}", flush=True)
    code = subprocess.run([sys.executable, "-m", *command], cwd=ROOT).returncode
    if code:
        print(f"\n{title}: ended with exit code {code}.", file=sys.stderr)
    return code


def this_machine() -> str:
    """asv's name for it."""
    from asv.machine import Machine

    return Machine.get_unique_machine_name()


def warn_of_changes() -> None:
    """asv builds what is committed."""
    status = ["git", "-C", str(ROOT), "status", "--short", "--", "virnucpro", "setup.py"]
    if changes := subprocess.run(status, capture_output=True, text=True).stdout:
        print(f"bench: the last commit is measured, and these changes to it are not:\n{changes}", file=sys.stderr)


def main() -> int:
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    warn_of_changes()
    machine, workload = this_machine(), inputs.chosen()
    # A CPU says nothing about the claim: its ratio is shown, not judged.
    claim = ["--workload", workload, *(["--min-ratio", "0"] if workload == "cpu-small" else [])]
    check = "benchmarks.check_speedup"
    steps = [
        ("Tags of the releases", "benchmarks.releases"),
        ("This machine", "asv", "machine", "--yes"),
        ("Measure, the newest first", "asv", "run", "--show-stderr", f"{CANDIDATE} {BASELINE} --no-walk"),
        ("Compare", "asv", "compare", "--machine", machine, BASELINE, CANDIDATE),
        ("Speed-up on this machine", check, "--machine", machine, "--json", f".asv/speedup-{machine}.json", *claim),
        (
            "Speed-up on the H200 (committed results)",
            *(check, "--machine", COMMITTED, "--json", f".asv/speedup-{COMMITTED}.json", "--strict"),
        ),
        ("Publish", "asv", "publish"),
    ]
    codes = [step(*each) for each in steps]
    print(f"\nThe site is in {SITE}. To look at it: make preview")
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main())
