"""Tables: what people read of two commits side by side, and of what was measured besides."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks.releases import release_of
from benchmarks.support.output import printable
from benchmarks.support.results import CommitResults, ratio
from benchmarks.support.sides import Side

SIX_MILLION = 6_000_000  # sequences: a metagenome of the size users bring
COMMANDS = {"EmbedProteins": "embed proteins", "PredictReads": "predict reads", "PredictContigs": "predict contigs"}
INT8 = "Int8"  # at the end of a command's class: the same in 8 bits
KINDS = {"EmbedProteins": "proteins", "PredictReads": "reads", "PredictContigs": "contigs"}
ABLATION = "ablation.Ablation.track_seconds_per_10k"
WATERFALL = (  # from v1.0's way to v2.0's: steps of the ablation
    "padded fp32", "padded bf16", "padded fp16", "packed fp16, eager, synchronous loader", "packed fp16, eager",
    "packed fp16",
)  # fmt: skip
PEERS = ("fair-esm", "transformers", "transformers packed")
ROWS = {
    "commit": "commit", "architecture": "architecture", "precision": "precision", "packing": "packing",
    "runs": "runs", "num_sequences": "sequences", "elapsed_sec": "seconds, median", "fastest_sec": "seconds, least",
    "slowest_sec": "seconds, most", "sequences_per_sec": "sequences/s", "projected_6M_hours": "hours for 6 M",
    "hours_saved": "hours saved", "error": "largest error", "gpu": "GPU",
    "sm_clock": "SM clock, MHz",
}  # fmt: skip


def facts(side: Side, repo: Path) -> dict:
    """What speedup_comparison.json says of a side."""
    every, count = [run["seconds"] for run in side.runs], side.runs[-1]["input"]["sequences"]
    seconds = median(every)
    clocks = [run["gpu"]["sm_clock"] for run in side.runs if run["gpu"] and run["gpu"]["sm_clock"]]
    return {
        **architecture(repo, side.commits[0]),
        "precision": str(side.runs[-1]["manifest"]["settings"].get("precision")),
        "runs": len(side.runs),
        "num_sequences": count,
        "elapsed_sec": seconds,
        "fastest_sec": min(every),
        "slowest_sec": max(every),
        "sequences_per_sec": count / seconds,
        "projected_6M_hours": SIX_MILLION / count * seconds / 3600,
        "error": max(run["error"] for run in side.runs),
        "gpu": side.runs[0]["gpu"] and side.runs[0]["gpu"]["name"],
        "sm_clock": median(clocks) if clocks else None,
    }


def best(found: CommitResults, key: str, workload: str) -> float | None:
    """Seconds of a command with the best of a release's settings; None if it was not measured."""
    values = [found.value(key, workload, workers) for workers in ("default", "one")]
    return min((value.number for value in values if value.sound), default=None)


def bars_of(releases: dict[str, CommitResults | None], command: str, workload: str) -> list[tuple[str, float | None]]:
    """A bar for each release, with its best setting, and one for its 8 bits where these were measured."""
    bars = []
    for release, found in releases.items():
        seconds, int8 = (
            found and best(found, f"commands.{command}{more}.track_wall_seconds", workload) for more in ("", INT8)
        )
        bars += [(release, seconds), *([(f"{release} in 8 bits", int8)] if int8 else [])]
    return bars


def breakdown(side: CommitResults, workload: str) -> list[list]:
    """Of the waterfall: step, seconds per 10K, seconds that the step took off."""
    values = [side.value(ABLATION, workload, step) for step in WATERFALL]
    taken = [a.number - b.number if a.sound and b.sound else None for a, b in pairwise(values)]
    return [[step, value.figure, took] for step, value, took in zip(WATERFALL, values, [None, *taken])]


def reported(before: CommitResults, after: CommitResults, workload: str, label: str) -> list[list]:
    """Not judged: what with, its seconds, the candidate's seconds, ratio; as far as the first was measured."""
    found = []
    for command, words in COMMANDS.items():
        key, in_8_bits = (f"commands.{command}{more}.track_wall_seconds" for more in ("", INT8))
        mine, int8 = after.value(key, workload, "default"), after.value(in_8_bits, workload, "default")
        for workers, how in (("default", ""), ("one", ", one worker")):
            theirs = before.value(key, workload, workers)
            found.append((f"{words}: {label}{how}", theirs, mine))
            if int8.sound:
                found.append((f"{words} in 8 bits: {label}{how}", theirs, int8))
    steady = after.value("steady.SteadyState.track_seconds_per_10k", workload)
    floor = after.value("steady.SteadyState.track_floor_seconds_per_10k", workload)
    peers = {peer: after.value("peers.Peers.track_seconds_per_10k", workload, peer) for peer in PEERS}
    found += [(f"10K proteins, warm: {peer}", value, steady) for peer, value in peers.items()]
    found.append(("10K proteins, warm: the matrix products alone", floor, steady))
    for name, precision in (("SteadyFp16", "FP16"), ("SteadyInt8", "INT8")):
        for sequences, words in (("proteins", "proteins"), ("frames", "frames of 166 residues")):
            pair = (
                after.value(f"steady.{name}.track_{figure}", workload, sequences)
                for figure in ("floor_seconds_per_10k", "seconds_per_10k")
            )
            found.append((f"10K {words}, warm, {precision}: the matrix products alone", *pair))
    return [[words, a.figure, b.figure, ratio(a, b)] for words, a, b in found if a.sound]


def architecture(repo: Path, commit: str) -> dict[str, str]:
    """Of the newest release in a commit's history, in words, with the commit's own name."""
    release, label = release_of(repo, commit)
    words = {word: getattr(release, word, "unknown") for word in ("architecture", "packing")}
    return {"version": label, "commit": commit, **words}


def table(rows: list[list], headers: Sequence[str]) -> str:
    from tabulate import tabulate

    forms = {float: "{:,.2f}", int: "{:,}", type(None): ""}
    cells = [[printable(_small(cell) or forms.get(type(cell), "{}").format(cell)) for cell in row] for row in rows]
    align = ["left", *["right"] * (len(headers) - 1)]
    return tabulate(cells, [*map(printable, headers)], disable_numparse=True, colalign=align) + "\n"


def _small(cell: object) -> str | None:
    return f"{cell:.1e}" if isinstance(cell, float) and 0 < abs(cell) < 0.005 else None


def first_steps(document: Path) -> Iterator[str]:
    """What to try where the speed-up is not reached, as docs/validation.md has it: the package that is judged also has
    the decision tree, but nothing of it runs here."""
    try:
        text = document.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return
    branch = text.partition("\n### speed-up over v1.0")[2].partition("\n### ")[0]
    for line in branch.splitlines():
        if re.match(r"\d+\. ", line):
            yield f"  {line}"
        elif line.startswith("    ") and "```" not in line:
            yield f"     $ {line.strip()}"
