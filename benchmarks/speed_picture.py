"""Speed picture: docs/pictures/speedup.svg, each release's commands side by side, drawn from the committed results.

    python -m benchmarks.speed_picture

writes it anew. It reads well on any page, for it brings its own background.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from benchmarks.check_speedup import COMMANDS
from benchmarks.front_page import CLAIMED, FIRST
from benchmarks.inputs import WORKLOADS
from benchmarks.releases import ROOT, read_releases
from benchmarks.results import Results

PICTURE = Path("docs/pictures/speedup.svg")
PAPER, INK = "#ffffff", "#22303c"
MARGIN = 12  # points
TITLE = "Wall seconds of whole commands on one NVIDIA H200, cold, 3B model"


def groups(repo: Path = ROOT) -> list[tuple[str, list[tuple[str, float | None]]]]:
    """For each command its name and each release's seconds, on the machine and the workload of the claim."""
    results = Results.load(repo / "results")
    sides = [(release.tag, results.of(FIRST, release.commit)) for release in read_releases(repo)]
    found = []
    for command, name in COMMANDS.items():
        verb, kind = name.split()  # "embed proteins"
        count = WORKLOADS[CLAIMED].sequences(kind)
        key = f"commands.{command}.track_wall_seconds"
        seconds = [(tag, side.value(key, CLAIMED, "default").number if side else None) for tag, side in sides]
        found.append((f"{verb} {count:,}\n{kind}", seconds))
    return found


def draw(repo: Path = ROOT) -> str:
    """The picture, as the text of an SVG file; the same bytes each time, with one version of matplotlib."""
    from benchmarks.asv_plugins import charts  # matplotlib

    svg = charts.releases(groups(repo), TITLE).replace("currentColor", INK)
    head, rest = svg.split(">", 1)
    width, height = (float(x) + 2 * MARGIN for x in re.search('viewBox="0 0 ([0-9.]+) ([0-9.]+)"', head).groups())
    head = re.sub(' (?:width|height|viewBox)="[^"]*"', "", head)
    size, corner = f'width="{width:g}" height="{height:g}"', -MARGIN
    svg = (
        f'{head} {size} viewBox="{corner} {corner} {width:g} {height:g}">\n'
        f' <rect x="{corner}" y="{corner}" {size} rx="8" fill="{PAPER}"/>{rest}'
    )
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def main(repo: Path = ROOT) -> int:
    """Write the picture."""
    (repo / PICTURE).write_text(draw(repo), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
