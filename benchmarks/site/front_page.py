"""Front page: what a visitor of the published site sees first. One HTML page; no script, nothing fetched.

It shows figures that asv stored, and says "not measured" where there is none. The site plugin writes it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote

from benchmarks.ablation import STEPS
from benchmarks.releases import ROOT, read_releases
from benchmarks.site import bars, commits
from benchmarks.site.cells import card, cell, decimal, facts_line, table
from benchmarks.support.claims import THE_CLAIM, Claim, of_workload
from benchmarks.support.evidence import moment
from benchmarks.support.git import GitFailed
from benchmarks.support.inputs import WORKLOADS
from benchmarks.support.results import MEASURED, BadResults, CommitResults, Results, Value
from benchmarks.support.tables import ABLATION, COMMANDS, INT8, KINDS, SIX_MILLION, WATERFALL, bars_of
from benchmarks.support.verdict import NOT_MEASURED, Question, judge

TEMPLATE = Path(__file__).with_name("front_page.html")
FIRST, CLAIMED = "nvidia-h100", "gpu-10k"  # the claim: its machine and its workload
DOING = {"proteins": "embedding {:,} proteins", "reads": "predicting {:,} reads", "contigs": "predicting {:,} chunks"}
PEERS = "peers.Peers.track_seconds_per_10k"
# Heading -> the figure of a command, and how it is shown for so many sequences.
COLUMNS: dict[str, tuple[str, Callable[[float, int], str]]] = {
    "wall s": ("wall_seconds", lambda x, count: decimal(x)),
    "sequences/s": ("wall_seconds", lambda x, count: decimal(count / x)),
    "hours for 6 M": ("wall_seconds", lambda x, count: decimal(SIX_MILLION / count * x / 3600)),
    "GPU memory": ("gpu_memory", lambda x, count: f"{x / 1e9:.1f} GB"),
    "host memory": ("host_memory", lambda x, count: f"{x / 1e9:.1f} GB"),
    "error": ("error", lambda x, count: f"{x:.1e}"),
}
WARM = [  # shown where it was measured
    (f"{name.upper()} warm, {words} for 10,000 {sequences}", f"steady.Steady{name}.track_{figure}",
     ["{workload}", sequences])
    for name in ("Fp16", "Int8")
    for sequences in ("proteins", "frames")
    for words, figure in (("s", "seconds_per_10k"), ("s of matrix products alone", "floor_seconds_per_10k"),
                          ("J", "joules_per_10k"))
]  # fmt: skip
# What else is measured: name and unit, benchmark, parameters.
OTHERS = [
    ("steady state, s for 10,000 proteins", "steady.SteadyState.track_seconds_per_10k", ["{workload}"]),
    ("&hellip; above the matrix products alone, %", "steady.SteadyState.track_above_floor", ["{workload}"]),
    ("&hellip; the matrix products alone, s", "steady.SteadyState.track_floor_seconds_per_10k", ["{workload}"]),
    ("&hellip; of the tokens in packs unused, %", "steady.SteadyState.track_packing_waste", ["{workload}"]),
    ("&hellip; of the time GPU idle, %", "steady.SteadyState.track_gpu_idle", ["{workload}"]),
    ("&hellip; wait for the loader (p95), ms", "steady.SteadyState.track_loader_wait", ["{workload}"]),
    *WARM,
    ("packed FP32, s for 10,000 proteins", ABLATION, ["{workload}", "packed fp32"]),
    ("packed BF16, s for 10,000 proteins", ABLATION, ["{workload}", "packed bf16"]),
    ("fair-esm sorted by length, s for 10,000 proteins", PEERS, ["{workload}", "fair-esm"]),
    ("transformers sorted by length, s for 10,000 proteins", PEERS, ["{workload}", "transformers"]),
    ("transformers packed, s for 10,000 proteins", PEERS, ["{workload}", "transformers packed"]),
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
        benchmarks.support.results.BadResults: The results cannot be read.
        benchmarks.releases.BadRelease, NoGit: The releases cannot be read.
    """
    results = Results.load(results_dir)
    machines = sorted(results.machines(), key=lambda name: (name != FIRST, name))
    sections = ["\n".join(_section(repo, results, results_dir, name)) for name in machines]
    if not sections:
        sections = [card("<strong>NOT MEASURED</strong>No machine has results yet.", "verdict")]
    text = TEMPLATE.read_text(encoding="utf-8")
    return Template(text).substitute(body="\n".join(sections))


def verdict(repo: Path, results_dir: Path, machine: str, claim: Claim) -> tuple[str, list[str]]:
    """PASS, FAIL, AMBIGUOUS or NOT MEASURED, and sentences; judged as `benchmarks.check_speedup` does."""
    first = read_releases(repo)[0].tag
    try:
        found = judge(Question(repo, results_dir, machine, CLAIMED, first, target=claim.at_least, claim=claim))
    except (GitFailed, BadResults) as error:
        return "NOT MEASURED", [str(error)]
    said = [*map(str, found.asked), *found.reasons]
    if found.interval is not None:
        said.insert(0, f"{found}.")
        last = found.sides[1].runs[-1]
        versions = ", ".join(f"{name} {version}" for name, version in last["machine"]["packages"].items() if version)
        driver = f"driver {last['gpu']['driver']}, " if last["gpu"] else ""
        said.append(f"Last run: {moment(last)} UTC; {driver}Python {last['machine']['python']}, {versions}.")
    return found.word, said


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
    known, found = read_releases(repo), commits.in_order(repo, results.commits(machine))
    by_release = {release.tag: results.of(machine, release.commit) for release in known}
    if found and found[-1].commit not in {release.commit for release in known}:
        by_release[found[-1].commit[:8]] = found[-1]
    facts = _read_facts(results_dir / machine / "machine.json")
    yield f'<h2>{escape(machine)}</h2>\n<p class="soft">{facts_line(facts)}</p>'
    for claim in of_workload(CLAIMED):
        word, sentences = verdict(repo, results_dir, machine, claim)
        if word == NOT_MEASURED and claim != THE_CLAIM:
            continue
        said = (
            f"The claim: {claim.at_least:g} times as fast as {known[0].tag} or more in "
            f"{DOING[claim.kind].format(WORKLOADS[CLAIMED].sequences(claim.kind))} with the 3B model"
            f"{' in 8 bits' * bool(claim.precision)} on one GPU; the whole command, cold."
        )
        text = f"<strong>{word}</strong>" + "".join(f"<p>{_prose(each)}</p>" for each in sentences)
        yield card(f'{text}<p class="soft">{escape(said)}</p>', f"verdict {word.split()[0].lower()}")
    for workload in WORKLOADS:
        figures = _Figures(machine, workload, by_release)
        if any(figures.are_there(f"commands.{name}.track_wall_seconds", "{workload}", "default") for name in COMMANDS):
            yield from _workload(figures)
            yield f"<h3>Commit by commit ({escape(workload)})</h3>"
            headings = ["commit", "date", *(name for name, *_ in commits.HISTORY)]
            yield card(table(headings, commits.rows(repo, found, workload), 2))


def _workload(figures: _Figures) -> Iterator[str]:
    workload, where = escape(figures.workload), f"({figures.workload}, {figures.machine})"
    groups = [(name, bars_of(figures.by_release, command, figures.workload)) for command, name in COMMANDS.items()]
    yield f"<h3>Whole commands, cold ({workload})</h3>"
    yield card(bars.releases(f"Wall seconds of each release's commands, with its best setting {where}", groups))
    yield card(table(["command", "release", "workers", *COLUMNS], _commands(figures), words=3))
    yield (
        '<p class="soft">Workers: processes per GPU, the release\'s own number or one. Host memory: of the largest '
        "process. Error: the largest difference from float32: of an embedding, by its length; of a score, as it is.</p>"
    )
    yield f"<h3>What each step is worth, from v1.0's way to v2.0's ({workload})</h3>"
    yield card(_steps(figures, f"Seconds for 10,000 proteins, step by step {where}"))
    yield f"<h3>Models loaded and warm, other libraries, and before the models ({workload})</h3>"
    yield card(table(["figure", *figures.by_release], _others(figures), words=1))


def _steps(figures: _Figures, title: str) -> str:
    """The ablation as of the newest commit that has it: the path, or where only its ends can run, what can."""
    found = {step: figures.values(ABLATION, "{workload}", step)[::-1] for step in STEPS}
    seconds = {step: next((v.number for v in values if v.status == MEASURED), None) for step, values in found.items()}
    measured = [step for step in STEPS if seconds[step] is not None]
    path = WATERFALL if len(set(WATERFALL) & set(measured)) > 1 else measured
    missing = [step for step in WATERFALL if step not in measured]
    made = [(step, seconds[step], f"{seconds[step]:.1f} s" if seconds[step] else "not measured") for step in path]
    chart = bars.chart(title, [("", made)]) if path else ""
    return chart + (f'<p class="none">Not measured: {escape("; ".join(missing))}.</p>' if missing else "")


def _commands(figures: _Figures) -> Iterator[list[str]]:
    for command, words, more in ((command, words, more) for command, words in COMMANDS.items() for more in ("", INT8)):
        key, count = f"commands.{command}{more}.track_", WORKLOADS[figures.workload].sequences(KINDS[command])
        label = figures.link(f"{key}wall_seconds", f"{words} ({count:,}){' in 8 bits' * bool(more)}")
        for workers in ("default", "one"):
            if (workers == "one" or more) and not figures.are_there(f"{key}wall_seconds", "{workload}", workers):
                continue  # without a GPU there is no such choice, nor are there 8 bits
            for release in figures.by_release:
                values = [figures.value(release, key + figure, "{workload}", workers) for figure, _ in COLUMNS.values()]
                cells = [cell(value, form, count) for value, (_, form) in zip(values, COLUMNS.values())]
                yield [label, escape(release), workers, *cells]


def _others(figures: _Figures) -> Iterator[list[str]]:
    for name, key, params in OTHERS:
        if (name, key, params) in WARM and not figures.are_there(key, *params):
            continue
        cells = [cell(value, lambda x, count: decimal(x)) for value in figures.values(key, *params)]
        yield [figures.link(key, name), *cells]


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
