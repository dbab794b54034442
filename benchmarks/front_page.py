"""Front page: what a visitor of the published site sees first. One HTML page; no script, nothing fetched.

It shows figures that asv stored, and says "not measured" where there is none. The site plugin writes it.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote

from benchmarks import check_speedup, commands
from benchmarks.ablation import STEPS
from benchmarks.check_speedup import COMMANDS, SECONDS, TARGET, WATERFALL
from benchmarks.inputs import WORKLOADS
from benchmarks.releases import ROOT, GitFailed, read_releases, release_of
from benchmarks.results import FAILED, MEASURED, BadResults, CommitResults, Results, Value

TEMPLATE = Path(__file__).parent / "asv_plugins" / "front_page.html"
FIRST, CLAIMED = "nvidia-h200", "gpu-10k"  # the claim: its machine and its workload
NONE = '<span class="none">not measured</span>'
ABLATION, PEERS = "ablation.Ablation.track_seconds_per_10k", "peers.Peers.track_seconds_per_10k"
# Heading -> the figure of a command, and how it is shown for so many sequences.
COLUMNS: dict[str, tuple[str, Callable[[float, int], str]]] = {
    "wall s": ("wall_seconds", lambda x, count: decimal(x)),
    "sequences/s": ("wall_seconds", lambda x, count: decimal(count / x)),
    "hours for 6 M": ("hours_per_6m", lambda x, count: decimal(x)),
    "GPU memory": ("gpu_memory", lambda x, count: f"{x / 1e9:.1f} GB"),
    "host memory": ("host_memory", lambda x, count: f"{x / 1e9:.1f} GB"),
    "error": ("error", lambda x, count: f"{x:.1e}"),
    "start &deg;C": ("start_temperature", lambda x, count: f"{x:.0f}"),
    "hottest &deg;C": ("hottest", lambda x, count: f"{x:.0f}"),
    "SM MHz": ("sm_clock", lambda x, count: f"{x:,.0f}"),
}
# What else is measured: name and unit, benchmark, parameters.
OTHERS = [
    ("steady state, s for 10,000 proteins", "steady.SteadyState.track_seconds_per_10k", ["{workload}"]),
    ("&hellip; of the tokens in packs unused, %", "steady.SteadyState.track_packing_waste", ["{workload}"]),
    ("&hellip; of the time GPU idle, %", "steady.SteadyState.track_gpu_idle", ["{workload}"]),
    ("&hellip; wait for the loader (p95), ms", "steady.SteadyState.track_loader_wait", ["{workload}"]),
    ("packed FP32, s for 10,000 proteins", ABLATION, ["{workload}", "packed fp32"]),
    ("packed BF16, s for 10,000 proteins", ABLATION, ["{workload}", "packed bf16"]),
    ("fair-esm sorted by length, s for 10,000 proteins", PEERS, ["{workload}", "fair-esm"]),
    ("transformers sorted by length, s for 10,000 proteins", PEERS, ["{workload}", "transformers"]),
    ("one protein, whole command, s", "start_up.OneProtein.track_wall_seconds", ["{workload}"]),
    ("&hellip; a second time, s", "start_up.OneProteinAgain.track_wall_seconds", ["{workload}"]),
    ("&hellip; of it loading, s", "start_up.OneProteinAgain.track_loading_seconds", ["{workload}"]),
    ("<code>--help</code>, s", "start_up.Help.track_seconds", []),
    ("front end, s of a core for 10,000 proteins", "front_end.FrontEnd.track_seconds_per_10k", ["proteins"]),
    ("&hellip; for 10,000 frames of reads", "front_end.FrontEnd.track_seconds_per_10k", ["reads"]),
    ("&hellip; for 10,000 frames of contigs", "front_end.FrontEnd.track_seconds_per_10k", ["contigs"]),
]


def page(results_dir: Path, repo: Path = ROOT) -> str:
    """The page, for all machines of a folder of results and all releases of a repository.

    Raises:
        benchmarks.results.BadResults: The results cannot be read.
        benchmarks.releases.BadRelease, NoGit: The releases cannot be read.
    """
    results = Results.load(results_dir)
    machines = sorted(results.machines(), key=lambda name: (name != FIRST, name))
    sections = ["\n".join(_section(repo, results, results_dir, name)) for name in machines]
    if not sections:
        sections = [_card("<strong>NOT MEASURED</strong>No machine has results yet.", "verdict")]
    text = TEMPLATE.read_text(encoding="utf-8")
    return Template(text).substitute(body="\n".join(sections))


def verdict(repo: Path, results: Results, machine: str) -> tuple[str, str]:
    """PASS, FAIL or NOT MEASURED, and a sentence; judged as `benchmarks.check_speedup` does."""
    asked = argparse.Namespace(workload=CLAIMED, baseline=read_releases(repo)[0].tag, candidate="HEAD")
    try:
        before, after = check_speedup.sides_on(machine, results, repo, asked)
        ratio = check_speedup.judged_ratio([before, after], CLAIMED, after.files[0].env)
    except check_speedup.Stop as stop:
        code, why = stop.args
        return "FAIL" if code == check_speedup.FAILED else "NOT MEASURED", why
    except GitFailed as error:
        return "NOT MEASURED", str(error)
    slow, fast = (side.value(SECONDS, CLAIMED, "default").number for side in (before, after))
    (_, old), (_, new) = (release_of(repo, side.commit) for side in (before, after))
    sentence = f"{new} is {ratio:.2f} times as fast as {old}: {decimal(fast)} s instead of {decimal(slow)} s."
    return "PASS" if ratio >= TARGET else "FAIL", sentence


@dataclass(frozen=True)
class _Figures:
    """A machine's figures of one workload: of each release, and of the newest commit if that is none."""

    machine: str
    workload: str
    by_release: dict[str, CommitResults | None]

    def value(self, release: str, key: str, *params: str) -> Value:
        found = self.by_release[release]
        return found.value(key, *(each.format(workload=self.workload) for each in params)) if found else Value()

    def values(self, key: str, *params: str) -> list[Value]:
        return [self.value(release, key, *params) for release in self.by_release]

    def are_there(self, key: str, *params: str) -> bool:
        return any(value.status == MEASURED for value in self.values(key, *params))

    def link(self, key: str, name: str) -> str:
        """To the graph over all commits."""
        where = f"machine={quote(self.machine)}&p-workload={quote(repr(self.workload))}"
        return f'<a href="history.html#{escape(key)}?{escape(where)}">{name}</a>'


def _section(repo: Path, results: Results, results_dir: Path, machine: str) -> Iterator[str]:
    known, commits = read_releases(repo), results.commits(machine)
    by_release = {release.tag: results.of(machine, release.commit) for release in known}
    if commits and commits[-1].commit not in {release.commit for release in known}:
        by_release[commits[-1].commit[:8]] = commits[-1]
    facts = _read_facts(results_dir / machine / "machine.json")
    yield f'<h2>{escape(machine)}</h2>\n<p class="soft">{_facts(facts)}</p>'
    word, sentence = verdict(repo, results, machine)
    claim = (
        f"The claim: {TARGET} times as fast as {known[0].tag} or more in embedding "
        f"{WORKLOADS[CLAIMED].sequences('proteins'):,} proteins with the 3B model on one GPU; the whole command, cold."
    )
    text = f'<strong>{word}</strong>{_prose(sentence)}<p class="soft">{escape(claim)}</p>'
    yield _card(text, f"verdict {word.split()[0].lower()}")
    for workload in WORKLOADS:
        figures = _Figures(machine, workload, by_release)
        if any(figures.are_there(f"commands.{name}.track_wall_seconds", "{workload}", "default") for name in COMMANDS):
            yield from _workload(figures)


def _workload(figures: _Figures) -> Iterator[str]:
    from benchmarks.asv_plugins import charts  # matplotlib

    workload, where = escape(figures.workload), f"({figures.workload}, {figures.machine})"
    groups = []
    for command, name in COMMANDS.items():
        values = figures.values(f"commands.{command}.track_wall_seconds", "{workload}", "default")
        groups.append((name, [(release, value.number) for release, value in zip(figures.by_release, values)]))
    yield f"<h3>Whole commands, cold ({workload})</h3>"
    yield _card(charts.releases(groups, f"Wall seconds of each release's commands {where}"))
    yield _card(_table(["command", "release", "workers", *COLUMNS], _commands(figures), words=3))
    yield (
        '<p class="soft">Workers: processes per GPU, the release\'s own number or one. Host memory: of the largest '
        "process. Error: the largest difference from float32: of an embedding, by its length; of a score, as it is.</p>"
    )
    yield f"<h3>What each step is worth, from v1.0's way to v2.0's ({workload})</h3>"
    yield _card(_steps(figures, f"Seconds for 10,000 proteins, step by step {where}"))
    yield f"<h3>Models loaded and warm, other libraries, and before the models ({workload})</h3>"
    yield _card(_table(["figure", *figures.by_release], _others(figures), words=1))


def _steps(figures: _Figures, title: str) -> str:
    """The ablation as of the newest commit that has it: the path, or where only its ends can run, what can."""
    from virnucpro.utils.pictures import waterfall  # matplotlib

    found = {step: figures.values(ABLATION, "{workload}", step)[::-1] for step in STEPS}
    seconds = {step: next((v.number for v in values if v.status == MEASURED), None) for step, values in found.items()}
    measured = [step for step in STEPS if seconds[step] is not None]
    path = WATERFALL if len(set(WATERFALL) & set(measured)) > 1 else measured
    missing = [step for step in WATERFALL if step not in measured]
    chart = waterfall([(step, seconds[step]) for step in path], title) if path else ""
    return chart + (f'<p class="none">Not measured: {escape("; ".join(missing))}.</p>' if missing else "")


def _commands(figures: _Figures) -> Iterator[list[str]]:
    for command, name in COMMANDS.items():
        kind = getattr(commands, command).kind
        key, count = f"commands.{command}.track_", WORKLOADS[figures.workload].sequences(kind)
        label = figures.link(f"{key}wall_seconds", f"{name} ({count:,})")
        for workers in ("default", "one"):
            if workers == "one" and not figures.are_there(f"{key}wall_seconds", "{workload}", "one"):
                continue  # without a GPU there is no such choice
            for release in figures.by_release:
                values = [figures.value(release, key + figure, "{workload}", workers) for figure, _ in COLUMNS.values()]
                cells = [_cell(value, form, count) for value, (_, form) in zip(values, COLUMNS.values())]
                yield [label, escape(release), workers, *cells]


def _others(figures: _Figures) -> Iterator[list[str]]:
    for name, key, params in OTHERS:
        cells = [_cell(value, lambda x, count: decimal(x)) for value in figures.values(key, *params)]
        yield [figures.link(key, name), *cells]


def decimal(x: float) -> str:
    return f"{x:,.1f}" if x >= 10 else f"{x:.2f}" if x >= 0.1 else f"{x:.2g}"


def _cell(value: Value, form: Callable[[float, int], str], count: int = 0) -> str:
    if value.status == MEASURED:
        return form(value.number, count)
    return "<strong>failed</strong>" if value.status == FAILED else NONE


def _table(headers: list[str], rows: Iterator[list[str]], words: int) -> str:
    """Its first `words` columns are words, the others numbers."""
    from tabulate import tabulate

    align = ["left"] * words + ["right"] * (len(headers) - words)
    table = tabulate(rows, headers, tablefmt="unsafehtml", disable_numparse=True, colalign=align)
    return f'<div class="wide">{table}</div>'


def _card(content: str, classes: str = "") -> str:
    return f'<div class="{f"card {classes}".strip()}">{content}</div>'


def _prose(text: str) -> str:
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _read_facts(path: Path) -> dict:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(facts, dict):
            raise ValueError("not an object")
    except (OSError, ValueError, RecursionError) as error:
        raise BadResults(f"{path} ({error}): not a file of asv. Restore it, or run `asv machine` again.") from error
    return facts


def _facts(facts: dict) -> str:
    """machine.json in a line: whatever was registered for it."""
    named = {name: str(value) for name, value in facts.items() if name not in ("machine", "version") and value}
    if named.get("ram", "").isdigit():  # bytes, as asv finds out by itself
        named["ram"] = f"{int(named['ram']) / 2**30:.0f} GiB"
    return " &middot; ".join(f"{escape(name.replace('_', ' '))}: {escape(value)}" for name, value in named.items())
