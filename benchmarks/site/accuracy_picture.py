"""Accuracy pictures: what the demo model was measured to be worth, drawn from the committed figures.

    python -m benchmarks.site.accuracy_picture

writes docs/pictures/ anew. Exit codes: 0 written; 1 the figures cannot be read, or the pictures cannot be written.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.releases import ROOT
from benchmarks.site.speed_picture import FOLDER, on_paper, write

FIGURES = Path("docs/validation/accuracy-2026-11-29")


def drawn(repo: Path = ROOT) -> dict[Path, str]:
    """Each picture as the text of an SVG file; the same bytes each time, with one version of matplotlib."""
    from virnucpro.reporting import curves

    chunks = _read(repo, "demo.json")["demo"]["levels"]["chunk"]
    contigs = _read(repo, "phages-bacteria.json")["levels"]["contig"]
    rates = {"chunks of 500 bp, genes": chunks["curves"]["roc"], "contigs of 3 kb, phages": contigs["curves"]["roc"]}
    return {
        FOLDER / "accuracy_roc.svg": on_paper(curves.roc(rates)),
        FOLDER / "accuracy_reliability.svg": on_paper(curves.reliability({"chunks of 500 bp": chunks["reliability"]})),
    }


def _read(repo: Path, name: str) -> dict:
    return json.loads((repo / FIGURES / name).read_text(encoding="utf-8"))


def main(repo: Path = ROOT) -> int:
    """Write the pictures; the exit codes are above."""
    try:
        write(repo, drawn(repo))
    except (OSError, ValueError, KeyError) as error:
        print(f"accuracy_picture: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
