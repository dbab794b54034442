"""Is this commit at least 4.5 times as fast as v1.0? What asv measured is read; nothing is run.

    python -m benchmarks.check_speedup [--claim NAME|all]

Judged: the whole command on 10,000 proteins, cold, on one GPU, in pairs of runs in turn, against the best of v1.0's
settings; the lower bound of the ratio's interval has to reach the target. A commit that was not measured is stood for
only by one whose package is the same. `benchmarks.support.conditions` and
`validity` say what has to hold of the runs; `claims` has the other claims, in 8 bits, which are judged alike.

Exit codes, of several claims the worst: 0 PASS; 1 FAIL, AMBIGUOUS (the interval straddles the target), or the figures
or their evidence are not sound; 2 bad request, or there are several machines to choose from, or the JSON file cannot be
written; 77 not measured (1 with --strict). They are the same where whoever reads what is printed has closed the pipe.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":  # Python looks at the root first, and whatever lies there is not the standard library
    sys.path[:] = [each for each in sys.path if os.path.abspath(each) != os.path.dirname(os.path.dirname(__file__))]

import argparse
import json
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from benchmarks.releases import ROOT, BadRelease
from benchmarks.support.claims import CLAIMS, THE_CLAIM, of_workload
from benchmarks.support.git import GitFailed, NoGit, git
from benchmarks.support.output import outlive_readers, printable, whole_file
from benchmarks.support.results import BadResults
from benchmarks.support.tables import ROWS, breakdown, facts, first_steps, reported, table
from benchmarks.support.verdict import IN_WORDS, NOT_MEASURED, PASS, WORKERS, Question, Verdict, judge, machines

ALL = "all"
PASSED, FAILED, BAD_REQUEST, UNAVAILABLE = 0, 1, 2, 77


def on_a_machine(question: Question) -> Verdict:
    """The verdict of the machine that is named, or of this one, or of the only one that can judge.

    Raises:
        ValueError: Several can, and none is this one. What `judge` raises.
    """
    if question.machine:
        return judge(question)
    found = {name: judge(replace(question, machine=name)) for name in machines(question)}
    able = [name for name, verdict in found.items() if verdict.word != NOT_MEASURED]
    if platform.node() in able or len(able) == 1:
        return found[platform.node() if platform.node() in able else able[0]]
    if able:
        raise ValueError(f"Both sides were measured on {', '.join(able)}: choose with --machine.")
    reasons = [reason for verdict in found.values() for reason in verdict.reasons]
    return Verdict(question, reasons=reasons or [f"There are no results in {question.results}; run `asv run` first."])


def show(verdict: Verdict) -> dict:
    """Print it with its tables; what the JSON file says."""
    question = verdict.question
    said = {"verdict": verdict.word, "reason": "\n".join(verdict.reasons), "ratio": verdict.ratio}
    said |= {"interval": verdict.interval, "target": question.target, "machine": question.machine}
    said |= {"claim": question.claim.name, "workload": question.workload}
    said |= {"asked": [vars(asked) for asked in verdict.asked]}
    if not verdict.pairs:
        print(verdict, file=sys.stderr)
        return said
    repo, workload, (before, after) = question.repo, question.workload, verdict.sides
    sides = [facts(side, repo) for side in verdict.sides]
    sides[1]["hours_saved"] = sides[0]["projected_6M_hours"] - sides[1]["projected_6M_hours"]
    env = re.sub(r"[^\w.-]", "?", after.runs[0]["environment"])
    versions = [side["version"] for side in sides]
    steps = breakdown(after.results[0], workload)
    others = reported(before.results[0], after.results[0], workload, versions[0])
    print(printable(f"{workload} on {question.machine}, {env}"), *verdict.asked, sep="\n")
    if git(repo, "status", "--porcelain", "--", "virnucpro", "setup.py"):
        print("virnucpro/ or setup.py has changes that are not committed: they are not judged.")
    print("\n" + table([[words, *(side.get(name) for side in sides)] for name, words in ROWS.items()], ["", *versions]))
    columns = ["pair", f"{question.baseline}, {IN_WORDS[verdict.workers]}, s", f"{question.candidate}, s", "ratio"]
    print(table([[str(number), *pair, pair[0] / pair[1]] for number, pair in enumerate(verdict.pairs, 1)], columns))
    if verdict.accuracy:
        columns = ["labelled chunks, on", f"AUROC of {versions[0]}", f"of {versions[1]}", "labels of float32, %"]
        print(table([each.row() for each in verdict.accuracy], columns))
    print(verdict, *verdict.reasons, "", sep="\n")
    if any(isinstance(seconds, float) for _, seconds, _ in steps):
        print(table(steps, ["step by step (v1.0: padded bf16)", "s per 10K", "s less"]))
    print(table(others, ["reported, not judged", "s", f"{versions[1]}, s", "ratio"]))
    if verdict.word != PASS:
        commits = [asked.measured[0][:8] for asked in verdict.asked]
        print("First steps:", *first_steps(ROOT / "docs" / "validation.md"), sep="\n")
        print("  The commits between: asv run {0}..{1}; asv compare {0} {1}".format(*commits))
    return said | {
        "env": env, "workers": verdict.workers, "pairs": verdict.pairs, "baseline": sides[0],
        "candidate": sides[1], "breakdown": steps, "reported": others,
        "accuracy": [each.row() for each in verdict.accuracy],
    }  # fmt: skip


def answer(question: Question, strict: bool) -> tuple[int, dict]:
    """Judge and print: the exit code, and what the JSON file says."""
    try:
        verdict = on_a_machine(question)
        said = show(verdict)
        return {PASS: PASSED, NOT_MEASURED: FAILED if strict else UNAVAILABLE}.get(verdict.word, FAILED), said
    except (GitFailed, BadResults, BadRelease, NoGit, ValueError, OSError) as error:
        kind = OSError if isinstance(error, OSError) else type(error)
        word, code = {
            GitFailed: (NOT_MEASURED, FAILED if strict else UNAVAILABLE),
            NoGit: ("BAD REQUEST", BAD_REQUEST),
            ValueError: ("BAD REQUEST", BAD_REQUEST),
            OSError: ("BAD REQUEST", BAD_REQUEST),  # the folder of results cannot be looked into
        }.get(kind, ("FAIL", FAILED))
        print(f"{word}: {error}", file=sys.stderr)
        return code, {"verdict": word, "reason": str(error), "ratio": None, "target": question.target}


def main(argv: Sequence[str] | None = None, repo: Path = ROOT) -> int:
    """Judge; the exit codes are above. Whatever the verdict, the JSON file says it, too."""
    parser = argparse.ArgumentParser(description="Is a commit as much faster than another as is claimed?")
    parser.add_argument("--baseline", default="v1.0", metavar="COMMIT", help="compared with this; default: %(default)s")
    parser.add_argument("--candidate", default="HEAD", metavar="COMMIT", help="judged; default: %(default)s")
    parser.add_argument("--claim", default=THE_CLAIM.name, choices=[*CLAIMS, ALL], help="default: %(default)s")
    parser.add_argument("--min-ratio", type=float, metavar="X", help="times as fast to be; default: what is claimed")
    parser.add_argument("--machine", default="", help="asv's name of it; default: this one, or the only one that can")
    parser.add_argument("--workload", default="gpu-10k", choices=WORKERS, help="default: %(default)s")
    parser.add_argument("--results", type=Path, default=repo / "results", metavar="DIR", help="default: results")
    parser.add_argument("--json", type=Path, default="speedup_comparison.json", help="written; default: %(default)s")
    parser.add_argument("--strict", action="store_true", help="what is not measured is a failure")
    args = parser.parse_args(argv)
    if find_spec("tabulate") is None:
        parser.error("it prints tables with tabulate, which is not installed: run `pip install tabulate`.")
    if args.min_ratio is not None and not 0 < args.min_ratio < float("inf"):
        parser.error(f"--min-ratio is {args.min_ratio}; it has to be more than 0.")
    if args.min_ratio is not None and args.claim == ALL:
        parser.error("--min-ratio is of one claim: name it with --claim.")
    claims = [claim for claim in of_workload(args.workload) if args.claim in (claim.name, ALL)]
    if not claims:
        parser.error(f"--claim {args.claim} is of no run of {args.workload}.")
    asked = (args.machine, args.workload, args.baseline, args.candidate)
    codes, answers = [], {}
    for claim in claims:
        target = args.min_ratio or claim.at_least
        if claim != THE_CLAIM or args.claim == ALL:
            print(f"== {claim.name}: {claim.benchmark}, {target:g} times as fast as {args.baseline}", flush=True)
        code, answers[claim.name] = answer(Question(repo, args.results, *asked, target, claim), args.strict)
        codes.append(code)
    said = next(iter(answers.values()))  # of all claims the first, which `virnucpro report` shows, and all by name
    said = said | {"claims": answers} if args.claim == ALL else said
    code = next((each for each in (BAD_REQUEST, FAILED, UNAVAILABLE) if each in codes), PASSED)
    return code if written(said, args.json) else BAD_REQUEST


def written(said: dict, path: Path) -> bool:
    """Write the JSON file, whole or not at all; a device or a pipe gets it, too. If it cannot be, say so."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sys.stdout.flush()  # --json may name it: the tables come first
        with whole_file(path) as file:
            file.write(json.dumps(said, indent=2) + "\n")
    except BrokenPipeError:
        pass  # whoever reads the pipe has enough
    except OSError as error:
        print(f"BAD REQUEST: --json {path} cannot be written ({error.strerror}). Name another file.", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    outlive_readers()
    sys.exit(main())
