"""Is this commit at least 4.5 times as fast as v1.0? What asv measured is read; nothing is run.

    python -m benchmarks.check_speedup

Judged: the whole command on 10,000 proteins, cold, on one GPU, with each release's own number of workers. If the
candidate was not measured, its nearest ancestor that was stands for it. Figures of two environments, or of two versions
of the benchmark, are never compared. On a machine without a GPU, `--workload cpu-small --min-ratio 0` shows the ratio
and judges only that there is one.

Exit codes: 0 the target is met; 1 it is not, or a figure is failed or not comparable; 2 bad request, or there are
several machines to choose from, or the JSON file cannot be written; 77 skipped, as the tag or the results of a side are
missing (1 with --strict). They are the same where whoever reads what is printed has closed the pipe.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from benchmarks.ablation import STEPS
from benchmarks.commands import SIX_MILLION
from benchmarks.inputs import WORKLOADS
from benchmarks.peers import PEERS
from benchmarks.releases import DEEPEN, ROOT, BadRelease, GitFailed, NoGit, commit_of, git, is_shallow, release_of
from benchmarks.results import ABSENT, SKIPPED, BadResults, CommitResults, Results, ratio

PASSED, FAILED, BAD_REQUEST, UNAVAILABLE = 0, 1, 2, 77
COMMANDS = {"EmbedProteins": "embed proteins", "PredictReads": "predict reads", "PredictContigs": "predict contigs"}
SECONDS, TARGET = "commands.EmbedProteins.track_wall_seconds", 4.5  # the claim: of what, and times as fast
WATERFALL = list(STEPS)[: list(STEPS).index("packed fp16") + 1]  # to v2.0's way; what follows is beside the path
ROWS = {
    "commit": "commit", "architecture": "architecture", "precision": "precision", "packing": "packing",
    "num_sequences": "sequences", "elapsed_sec": "seconds", "sequences_per_sec": "sequences/s",
    "projected_6M_hours": "hours for 6 M", "hours_saved": "hours saved", "start_temperature": "GPU at start, C",
    "hottest": "GPU hottest, C", "sm_clock": "SM clock, MHz",
}  # fmt: skip


class Stop(Exception):
    """No ratio can be judged: exit code, and why."""


def sides_on(machine: str, results: Results, repo: Path, args: argparse.Namespace) -> list[CommitResults]:
    """Baseline and candidate on a machine, each with what was measured in the candidate's environment.

    Raises:
        Stop: UNAVAILABLE: one of them was not measured there. GitFailed: git does not know it.
    """
    key, revisions = (SECONDS, args.workload, "default"), (args.baseline, args.candidate)
    baseline, candidate = (commit_of(repo, revision) for revision in revisions)
    sides = [results.of(machine, baseline), results.nearest_measured(repo, candidate, machine, *key, after=baseline)]
    for revision, side, back in zip(revisions, sides, ("", f", like all before it up to {args.baseline},")):
        if (status := side.value(*key).status if side else ABSENT) in (ABSENT, SKIPPED):
            where = f" at {side.commit[:8]}" if side else back
            cure = DEEPEN if where == back and is_shallow(repo) else f"run `asv run '{revision}^!'` there"
            raise Stop(UNAVAILABLE, f"{revision} is {status}{where} on {machine} ({args.workload}); {cure}.")
    return [side.within(sides[1].value(*key).env) for side in sides]


def choose(results: Results, repo: Path, args: argparse.Namespace) -> list[CommitResults]:
    """The sides on the machine that is named, or on the only one that has both, or on this one. Raises Stop."""
    able, reasons = {}, []
    for machine in [args.machine] if args.machine else results.machines():
        try:
            able[machine] = sides_on(machine, results, repo, args)
        except Stop as stop:
            reasons.append(stop.args[1])
    if not able:
        raise Stop(UNAVAILABLE, "\n".join(reasons) or f"There are no results in {args.results}; run `asv run` first.")
    if len(able) > 1 and platform.node() not in able:
        raise Stop(BAD_REQUEST, f"Both sides were measured on {', '.join(able)}: choose with --machine.")
    return able.get(platform.node()) or next(iter(able.values()))


def judged_ratio(sides: list[CommitResults], workload: str, env: str) -> float:
    """The ratio that counts. Raises Stop, FAILED, unless it is of two sound, comparable figures."""
    values = [side.value(SECONDS, workload, "default") for side in sides]
    for side, value in zip(sides, values):
        if not value.sound:
            raise Stop(FAILED, f"{side.commit[:8]} is {value.figure} in {env}; seconds were expected: run it again.")
    if (judged := ratio(*values)) is None:
        versions = " and ".join(str(value.version) for value in values)
        raise Stop(FAILED, f"The benchmark has versions {versions}, which do not compare: run both again.")
    return judged


def facts(side: CommitResults, workload: str, repo: Path) -> dict:
    """What speedup_comparison.json says of a side."""
    release, label = release_of(repo, side.commit)
    count, seconds = WORKLOADS[workload].sequences("proteins"), side.value(SECONDS, workload, "default").number
    found = {"version": label, "commit": side.commit}
    found |= {word: getattr(release, word, "unknown") for word in ("architecture", "precision", "packing")}
    found |= {"num_sequences": count, "elapsed_sec": seconds, "sequences_per_sec": count / seconds}
    found["projected_6M_hours"] = SIX_MILLION / count * seconds / 3600
    for name in ("start_temperature", "hottest", "sm_clock"):
        found[name] = side.value(f"commands.EmbedProteins.track_{name}", workload, "default").number
    return found


def breakdown(side: CommitResults, workload: str) -> list[list]:
    """Of the waterfall: step, seconds per 10K, seconds that the step took off."""
    values = [side.value("ablation.Ablation.track_seconds_per_10k", workload, step) for step in WATERFALL]
    taken = [a.number - b.number if a.sound and b.sound else None for a, b in pairwise(values)]
    return [[step, value.figure, took] for step, value, took in zip(WATERFALL, values, [None, *taken])]


def reported(before: CommitResults, after: CommitResults, workload: str, label: str) -> list[list]:
    """Not judged: what with, its seconds, the candidate's seconds, ratio."""
    pairs = []
    for command, words in COMMANDS.items():
        key = f"commands.{command}.track_wall_seconds"
        mine = after.value(key, workload, "default")
        for workers, how in (("default", ""), ("one", ", one worker"))[command == "EmbedProteins" :]:
            pairs.append((f"{words}: {label}{how}", before.value(key, workload, workers), mine))
    steady = after.value("steady.SteadyState.track_seconds_per_10k", workload)
    peers = {peer: after.value("peers.Peers.track_seconds_per_10k", workload, peer) for peer in PEERS}
    pairs += [(f"10K proteins, warm: {peer}", value, steady) for peer, value in peers.items()]
    return [[words, a.figure, b.figure, ratio(a, b)] for words, a, b in pairs]


def table(rows: list[list], headers: Sequence[str]) -> str:
    from tabulate import tabulate

    forms = {float: "{:,.2f}", int: "{:,}", type(None): ""}
    cells = [[forms.get(type(cell), "{}").format(cell) for cell in row] for row in rows]
    return tabulate(cells, headers, disable_numparse=True, colalign=["left", *["right"] * (len(headers) - 1)]) + "\n"


def compare(args: argparse.Namespace, repo: Path) -> dict:
    """Print the tables; what speedup_comparison.json says. Raises Stop and what reading raises."""
    sides = choose(Results.load(args.results), repo, args)
    machine, env, workload = sides[1].machine, sides[1].files[0].env, args.workload
    judged = judged_ratio(sides, workload, env)
    before, after = (facts(side, workload, repo) for side in sides)
    after["hours_saved"] = before["projected_6M_hours"] - after["projected_6M_hours"]
    verdict = "PASS" if judged >= args.min_ratio else "FAIL"
    print(f"{workload} on {machine}, {env}")
    if (asked := commit_of(repo, args.candidate)) != after["commit"]:
        since = git(repo, "rev-list", "--count", f"{after['commit']}..{asked}", "--", "virnucpro")
        print(f"{args.candidate} ({asked[:8]}) was not measured; its nearest ancestor that was: {after['commit'][:8]}")
        print(f"Commits since then that touch the package, whose effect is not in these figures: {since}")
    rows = [[words, before.get(name), after.get(name)] for name, words in ROWS.items()]
    print("\n" + table(rows, ["", before["version"], after["version"]]))
    print(f"Ratio {judged:.3f}, target {args.min_ratio:.3f}: {verdict}\n")
    steps = breakdown(sides[1], workload)
    print(table(steps, ["step by step (v1.0: padded bf16)", "s per 10K", "s less"]))
    others = reported(*sides, workload, before["version"])
    print(table(others, ["reported, not judged", "s", f"{after['version']}, s", "ratio"]))
    if verdict == "FAIL":
        from virnucpro.utils.decisions import REQUIREMENTS, branch  # which old commits lack, and asv imports this there

        print("First steps:", *branch(REQUIREMENTS["speedup"]), sep="\n")
        print("  The commits between: asv run {0}..{1}; asv compare {0} {1}".format(*(s.commit[:8] for s in sides)))
    return {
        "verdict": verdict, "ratio": judged, "target": args.min_ratio, "machine": machine, "env": env,
        "workload": workload, "baseline": before, "candidate": after, "breakdown": steps, "reported": others,
    }  # fmt: skip


def main(argv: Sequence[str] | None = None, repo: Path = ROOT) -> int:
    """Judge; the exit codes are above. Whatever the verdict, the JSON file says it, too."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--baseline", default="v1.0", metavar="COMMIT", help="compared with this; default: %(default)s")
    parser.add_argument("--candidate", default="HEAD", metavar="COMMIT", help="judged; default: %(default)s")
    parser.add_argument("--min-ratio", type=float, default=TARGET, help="times as fast to be; default: %(default)s")
    parser.add_argument("--machine", help="asv's name of it; default: this one, or the only one with both sides")
    parser.add_argument("--workload", default="gpu-10k", choices=WORKLOADS, help="default: %(default)s")
    parser.add_argument("--results", type=Path, default=repo / "results", metavar="DIR", help="default: results")
    parser.add_argument("--json", type=Path, default="speedup_comparison.json", help="written; default: %(default)s")
    parser.add_argument("--strict", action="store_true", help="what is missing is a failure")
    args = parser.parse_args(argv)
    if not 0 <= args.min_ratio < float("inf"):
        parser.error(f"--min-ratio is {args.min_ratio}; it has to be 0 or more.")
    try:
        said = compare(args, repo)
        code = PASSED if said["verdict"] == "PASS" else FAILED
    except (Stop, GitFailed, BadResults, BadRelease, NoGit) as error:
        codes = {GitFailed: UNAVAILABLE, NoGit: BAD_REQUEST}
        code = error.args[0] if isinstance(error, Stop) else codes.get(type(error), FAILED)
        code = FAILED if code == UNAVAILABLE and args.strict else code
        words = {FAILED: "FAIL", BAD_REQUEST: "BAD REQUEST", UNAVAILABLE: "SKIPPED"}
        said = {"verdict": words[code], "reason": str(error.args[-1]), "ratio": None, "target": args.min_ratio}
        print(f"{said['verdict']}: {said['reason']}", file=sys.stderr)
    return code if written(said, args.json) else BAD_REQUEST


def written(said: dict, path: Path) -> bool:
    """Write the JSON file, whole or not at all; a device or a pipe gets it, too. If it cannot be, say so."""
    from virnucpro.files import whole_file

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(json.dumps(said, indent=2) + "\n")
    except BrokenPipeError:
        pass  # whoever reads the pipe has enough
    except OSError as error:
        print(f"BAD REQUEST: --json {path} cannot be written ({error.strerror}). Name another file.", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    from virnucpro.pipes import outlive_readers

    outlive_readers()
    sys.exit(main())
