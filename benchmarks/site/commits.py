"""Commits: the table of the front page that shows what was measured, commit by commit."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from benchmarks.site.cells import cell, decimal
from benchmarks.support.git import GitFailed, git
from benchmarks.support.results import MEASURED, CommitResults, Value

# Heading, benchmark, parameters.
HISTORY = [
    ("proteins", "commands.EmbedProteins.track_wall_seconds", ["{workload}", "default"]),
    ("reads", "commands.PredictReads.track_wall_seconds", ["{workload}", "default"]),
    ("contigs", "commands.PredictContigs.track_wall_seconds", ["{workload}", "default"]),
    ("one protein", "start_up.OneProtein.track_wall_seconds", ["{workload}"]),
    ("warm, 10,000 proteins", "steady.SteadyState.track_seconds_per_10k", ["{workload}"]),
]
WORSE = 1.05  # times the best before: shown as a step back


def in_order(repo: Path, commits: list[CommitResults]) -> list[CommitResults]:
    """Oldest first, as they follow each other; before them, by date, those that this clone does not have."""
    try:
        place = {commit: -number for number, commit in enumerate(git(repo, "rev-list", "--topo-order", "HEAD").split())}
    except GitFailed:
        place = {}
    return sorted(commits, key=lambda found: (place.get(found.commit, -len(place)), found.date))


def rows(repo: Path, commits: list[CommitResults], workload: str) -> Iterator[list[str]]:
    """Median seconds with their interval, oldest first; a step back is marked."""
    best: dict[str, float] = {}
    for found in commits:
        values = [found.value(key, *(each.format(workload=workload) for each in params)) for _, key, params in HISTORY]
        if not any(value.status == MEASURED for value in values):
            continue
        try:
            day, subject = git(repo, "show", "--no-patch", "--format=%cs %s", found.commit).split(" ", 1)
        except GitFailed:
            day, subject = "", "not in this clone"
        cells = []
        for (name, *_), value in zip(HISTORY, values):
            text = cell(value, lambda x, count: decimal(x))
            if value.sound:
                runs = f' <span class="none">{_spread(value)}</span>' if len(value.samples) > 1 else ""
                worse = value.number > WORSE * best.get(name, value.number)
                text = f"<strong>{text}</strong> &uarr;{runs}" if worse else text + runs
                best[name] = min(best.get(name, value.number), value.number)
            cells.append(text)
        where = f'<a href="commits.html#{found.commit[:8]}" title="{escape(subject)}">{found.commit[:8]}</a>'
        yield [where, day, *cells]


def _spread(value: Value) -> str:
    return f"{decimal(min(value.samples))}&ndash;{decimal(max(value.samples))}, n = {len(value.samples)}"
