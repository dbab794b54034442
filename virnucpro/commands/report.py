"""virnucpro report."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import click

from virnucpro.commands import options as shared

log = logging.getLogger(__name__)


@click.command(epilog=shared.EXIT_CODES)
@click.argument("run_dir", type=shared.PathOption(exists=True))
@shared.verbosity
def report(run_dir: Path) -> int:
    """Show what the run in RUN_DIR cost, against what is required, and what to do where it is too slow.

    RUN_DIR is a run's output directory, or one telemetry_*.json in it. Prints the text version and writes
    performance_report_NAME.txt and .html (with pictures; one file, no internet) beside the telemetry.
    """
    from virnucpro.reporting.performance_report import report_on

    draw_quietly()
    text, page = report_on(run_dir)
    click.echo(text, nl=False)
    if page is not None:
        log.info("Page: %s", page)
    return 0


def draw_quietly() -> None:
    """Before matplotlib is imported."""
    os.environ["MPLBACKEND"] = "svg"  # that of a notebook may be one that is not installed here
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
