"""virnucpro doctor."""

from __future__ import annotations

import click

from virnucpro.commands import options as shared


@click.command(epilog=shared.EXIT_CODES)
@shared.verbosity
def doctor() -> int:
    """Show versions, devices, and which attention backends can run here."""
    from virnucpro.doctor import report  # imports torch

    click.echo(report())
    return 0
