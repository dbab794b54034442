"""Bench: everything that `make bench` does, on whatever machine this is.

    python -m benchmarks.bench

Makes the tags, measures HEAD and then v1.0 on this machine, what is judged in as many pairs as that takes, and the rest
once; compares, checks, publishes. On a CPU the small workload has to be three times as fast as v1.0, which a busy
machine still holds. The committed results of a GPU are judged as they are: between releases HEAD need not be measured
there, which is said, and the newest commit that was has to pass. Of the other claims, in 8 bits, one that was not
measured yet is no failure between releases, either. Shows what a person reads: progress, the comparison,
the verdicts; all that the steps print is in .asv/bench.log.
Exit codes: 0 done, and the results uphold the claims; 1 the log cannot be written; 130 interrupted; otherwise that of
the first step that failed. The steps after it run all the same: one failed benchmark keeps nobody from the rest.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from benchmarks.check_speedup import UNAVAILABLE
from benchmarks.releases import BadRelease
from benchmarks.support import inputs
from benchmarks.support.claims import THE_CLAIM, of_workload
from benchmarks.support.digest import Digest, comparison, everything, nothing, progress, verdict
from benchmarks.support.git import GitFailed, NoGit, git, surroundings
from benchmarks.support.nearest import nearest
from benchmarks.support.output import outlive_readers
from benchmarks.support.results import BadResults
from benchmarks.support.verdict import LEAST_PAIRS, Question

BASELINE, CANDIDATE, COMMITTED = "v1.0", "HEAD", "nvidia-h100"
ON_A_CPU = "3.0"  # times as fast as v1.0
ROOT = Path(__file__).parent.parent
SITE, LOG = Path(".asv", "html"), Path(".asv", "bench.log")
ELSEWHERE = f"Speed-up on {COMMITTED} (committed results)"
NOT_YET = f"HEAD on {COMMITTED}, where it was not measured yet"
ANOTHER = "Claim "  # a title begins so
SILENCE = 60  # s, after which it says that it is still at work
LAST = 25  # lines of a step that failed, of those that were not shown


def step(title: str, digest: Digest, command: list[str], log: IO[str]) -> int:
    """Run a command of ours or of asv: all that it prints to the log, its digest to the screen; its exit code."""
    log.write(f"\n== {title}\n$ {' '.join(command)}\n")
    print(f"\n== {title}", flush=True)
    begun, lines, last = time.monotonic(), queue.SimpleQueue(), deque(maxlen=LAST)
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        encoding="utf-8", errors="replace",
    )  # fmt: skip

    def read() -> None:
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    try:
        while (line := _next(lines, begun)) is not None:
            log.write(line)
            log.flush()
            shown = list(digest(line.rstrip()))
            for each in shown:
                print(each, flush=True)
            if not shown:
                last.append(line.rstrip())
    finally:
        if sys.exc_info()[0]:
            process.terminate()
        code = process.wait()
    if code:
        lines = " Its last lines:" * bool(last)
        print(f"\n{title}: ended with exit code {code}.{lines}", *last, sep="\n    ", file=sys.stderr, flush=True)
    return code


def _next(lines: queue.SimpleQueue[str | None], begun: float) -> str | None:
    """The next line, None at the end; says now and then that it waits for it."""
    while True:
        try:
            return lines.get(timeout=SILENCE)
        except queue.Empty:
            minutes, seconds = divmod(int(time.monotonic() - begun), 60)
            print(f"{minutes:3}:{seconds:02}  still at work", flush=True)


def environment() -> dict[str, str]:
    """Programs of this Python first; English, since asv reads what git says; each line as soon as it is printed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return surroundings() | {"PATH": path, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


def this_machine() -> str:
    """asv's name for it."""
    from asv.machine import Machine

    return Machine.get_unique_machine_name()


def warn_of_changes() -> None:
    """asv builds what is committed."""
    try:
        changes = git(ROOT, "status", "--short", "--", "virnucpro", "setup.py")
    except (GitFailed, NoGit):
        return  # the first step says so
    if changes:
        print(f"bench: the last commit is measured, and these changes to it are not:\n{changes}", file=sys.stderr)


def is_release() -> bool:
    """Whether this version is a release, which has to be measured, or a commit between releases."""
    text = (ROOT / "virnucpro" / "_version.py").read_text(encoding="utf-8")
    return "dev" not in text.split('__version__ = "')[1].split('"')[0]


def steps() -> list[tuple[str, Digest, list[str]]]:
    """Title, digest and command of each."""
    machine, workload = this_machine(), inputs.chosen()
    least = ["--min-ratio", ON_A_CPU] if workload == "cpu-small" else []

    def here(name: str, *more: str) -> list[str]:
        words = ["benchmarks.check_speedup", "--machine", machine, "--json", f".asv/speedup-{name}.json"]
        return [*words, "--workload", workload, *more]

    run = ["asv", "run", "--show-stderr", f"{CANDIDATE} {BASELINE} --no-walk"]
    mine = f"--bench={inputs.of_this_machine()}"
    others = [each for each in of_workload(workload) if each != THE_CLAIM]
    names = {name: None for each in (THE_CLAIM, *others) for name in (each.benchmark, each.against)}
    these = rf"({'|'.join(names)})\."
    judged, rest = [*run, f"{mine}{these}"], [*run, f"{mine}(?!{these})"]
    return [
        ("Tags of the releases", everything, ["benchmarks.releases"]),
        ("This machine, as asv registers it", nothing, ["asv", "machine", "--yes"]),
        *((f"Measure what is judged, pair {pair}", progress(), judged) for pair in range(1, LEAST_PAIRS[workload] + 1)),
        ("Measure the rest, the newest first", progress(), rest),
        ("Compare", comparison, ["asv", "compare", "--machine", machine, BASELINE, CANDIDATE]),
        ("Speed-up on this machine", verdict(), here(machine, *least)),
        *(
            (f"{ANOTHER}{name} on this machine", verdict(), here(f"{machine}-{name}", "--claim", name))
            for name in (each.name for each in others)
        ),
        *of_committed_results(),
        *of_other_claims(),
        ("Publish", nothing, ["asv", "publish"]),
    ]


def of_committed_results() -> Iterator[tuple[str, Digest, list[str]]]:
    """Between releases HEAD need not be measured there; the newest commit that is has to pass then."""
    check = ["benchmarks.check_speedup", "--strict", "--machine", COMMITTED]
    with suppress(BadRelease, BadResults, GitFailed, NoGit):  # which the checker says, and fails
        measured = nearest(Question(ROOT, ROOT / "results", COMMITTED))
        if measured not in (None, CANDIDATE) and not is_release():
            yield NOT_YET, verdict(), [*check, "--json", f".asv/speedup-{COMMITTED}-head.json"]
            check += ["--candidate", measured[:8]]
    yield ELSEWHERE, verdict(), [*check, "--json", f".asv/speedup-{COMMITTED}.json"]


def of_other_claims() -> Iterator[tuple[str, Digest, list[str]]]:
    """Likewise; what was not measured yet is a failure at a release alone."""
    for claim in of_workload("gpu-10k"):
        if claim == THE_CLAIM:
            continue
        check = ["benchmarks.check_speedup", "--claim", claim.name, "--machine", COMMITTED]
        check += ["--json", f".asv/speedup-{COMMITTED}-{claim.name}.json"]
        with suppress(BadRelease, BadResults, GitFailed, NoGit):
            measured = nearest(Question(ROOT, ROOT / "results", COMMITTED, target=claim.at_least, claim=claim))
            if measured not in (None, CANDIDATE) and not is_release():
                check += ["--candidate", measured[:8]]
        yield f"{ANOTHER}{claim.name} on {COMMITTED}", verdict(), [*check, *(["--strict"] if is_release() else [])]


def fails(title: str, code: int) -> bool:
    """Whether a step's exit code is that of the whole."""
    return code != 0 and title != NOT_YET and not (title.startswith(ANOTHER) and code == UNAVAILABLE)


def main() -> int:
    """Run all steps; the exit codes are above."""
    warn_of_changes()
    try:
        (ROOT / LOG).parent.mkdir(parents=True, exist_ok=True)
        with open(ROOT / LOG, "w", encoding="utf-8", errors="replace") as log:
            print(f"In full, while it works and afterwards: {LOG}", flush=True)
            todo = steps()
            codes = [step(*each, log) for each in todo]
    except KeyboardInterrupt:
        print(f"\nbench: interrupted. What was printed is in {LOG}.", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"bench: {error.filename or LOG} cannot be written: {error.strerror}.", file=sys.stderr)
        return 1
    code = next((code for (title, *_), code in zip(todo, codes) if fails(title, code)), 0)
    print(f"\nThe site is in {SITE}. To look at it: make preview\nIn full: {LOG}")
    print("Done." if code == 0 else f"Failed with exit code {code}: see above.")
    return code


if __name__ == "__main__":
    outlive_readers()
    sys.exit(main())
