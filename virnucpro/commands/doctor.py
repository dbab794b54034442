"""virnucpro doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from virnucpro.commands import options as shared
from virnucpro.config.settings import Settings
from virnucpro.system.translators import translate_ahead

UNWELL = 1


@click.command(epilog=shared.EXIT_CODES)
@shared.models
@shared.arithmetic
@shared.number("--batch-tokens", help="As in predict.")
@shared.flag("--quick", help="Neither the weights' sha256 nor the self-test.")
@shared.verbosity
def doctor(quick: bool, **options: Any) -> int:
    """Show what this machine can do, what is wrong, and what to do about it.

    Looks at the packages, the GPUs and their driver, precision and attention, the weights and their sha256, memory and
    disk against what the chosen model needs, and tests the arithmetic of every device against float32 (some 10 s).
    Exit code 1 if something is wrong.
    """
    settings = Settings(("-",), Path(), **options)
    translate_ahead("torch")
    from virnucpro.diagnostics.doctor import examine
    from virnucpro.diagnostics.finding import PROBLEM

    problems = 0
    for finding in examine(settings, quick):
        click.echo(str(finding))
        problems += finding.verdict == PROBLEM
    click.echo(f"{problems} problem{'s' * (problems != 1)} found." if problems else "No problem found.")
    return UNWELL if problems else 0
