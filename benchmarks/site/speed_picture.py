"""Speed pictures: what each release's commands take, and what each step is worth, drawn from the committed results.

    python -m benchmarks.site.speed_picture

writes docs/pictures/ anew. The pictures bring their own background, and so read well on any page.
Exit codes: 0 written; 1 the results or the releases cannot be read, or the pictures cannot be written.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from benchmarks.releases import ROOT, BadRelease, read_releases
from benchmarks.site.front_page import CLAIMED, FIRST
from benchmarks.support.git import NoGit
from benchmarks.support.inputs import WORKLOADS
from benchmarks.support.output import whole_file
from benchmarks.support.results import BadResults, CommitResults, Results
from benchmarks.support.tables import ABLATION, COMMANDS, WATERFALL, bars_of

FOLDER = Path("docs/pictures")
PAPER, INK = "#ffffff", "#22303c"
MARGIN = 12  # points


def drawn(repo: Path = ROOT) -> dict[Path, str]:
    """Each picture as the text of an SVG file; the same bytes each time, with one version of matplotlib."""
    results = Results.load(repo / "results")
    releases = {release.tag: results.of(FIRST, release.commit) for release in read_releases(repo)}
    return {
        FOLDER / "speedup.svg": on_paper(_speedup(releases)),
        FOLDER / "steps.svg": on_paper(_steps(results)),
    }


def _speedup(releases: dict[str, CommitResults | None]) -> str:
    """Seconds of each command, release by release, each with its best setting, and in 8 bits where it has them."""
    from benchmarks.site import charts  # matplotlib

    groups = []
    for command, name in COMMANDS.items():
        verb, kind = name.split()  # "embed proteins"
        bars = bars_of(releases, command, CLAIMED)
        groups.append((f"{verb} {WORKLOADS[CLAIMED].sequences(kind):,}\n{kind}", bars))
    return charts.releases(groups, f"Wall seconds of whole commands, cold, best setting ({CLAIMED}, {FIRST})")


def _steps(results: Results) -> str:
    """Seconds for 10,000 proteins, from v1.0's way to v2.0's, on the machine that measured all of them."""
    from virnucpro.reporting.pictures import waterfall  # matplotlib

    every = [(machine, each) for machine in results.machines() for each in results.commits(machine)]
    machine, found = next(pair for pair in every if pair[1].value(ABLATION, CLAIMED, WATERFALL[0]).sound)
    steps = [(step, found.value(ABLATION, CLAIMED, step).number) for step in WATERFALL]
    return waterfall(steps, f"Seconds for 10,000 proteins, step by step ({CLAIMED}, {machine})")


def on_paper(svg: str) -> str:
    """A picture with a background and a margin, so that it reads well on any page."""
    head, rest = svg.replace("currentColor", INK).split(">", 1)
    width, height = (float(x) + 2 * MARGIN for x in re.search('viewBox="0 0 ([0-9.]+) ([0-9.]+)"', head).groups())
    head = re.sub(' (?:width|height|viewBox)="[^"]*"', "", head)
    size, corner = f'width="{width:g}" height="{height:g}"', -MARGIN
    whole = (
        f'{head} {size} viewBox="{corner} {corner} {width:g} {height:g}">\n'
        f' <rect x="{corner}" y="{corner}" {size} rx="8" fill="{PAPER}"/>{rest}'
    )
    return "\n".join(line.rstrip() for line in whole.splitlines()) + "\n"


def main(repo: Path = ROOT) -> int:
    """Write the pictures; the exit codes are above."""
    try:
        write(repo, drawn(repo))
    except (BadResults, BadRelease, NoGit, OSError) as error:
        print(f"speed_picture: {error}", file=sys.stderr)
        return 1
    return 0


def write(repo: Path, pictures: dict[Path, str]) -> None:
    """Write each to its place. Raises OSError."""
    for path, svg in pictures.items():
        (repo / path).parent.mkdir(parents=True, exist_ok=True)
        with whole_file(repo / path) as file:
            file.write(svg)


if __name__ == "__main__":
    sys.exit(main())
