"""Command line: call a command, translate errors into exit codes. No science, and no torch until it is needed."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import NoReturn, TextIO

import click

from virnucpro import __version__, console, interrupts
from virnucpro.commands.doctor import doctor
from virnucpro.commands.options import EXIT_CODES, verbosity
from virnucpro.commands.parity import parity
from virnucpro.commands.predict import predict
from virnucpro.commands.report import report
from virnucpro.commands.weights import convert, weights
from virnucpro.errors import Interrupted, VirnucproError
from virnucpro.imports import leave
from virnucpro.pipes import outlive_readers

log = logging.getLogger("virnucpro")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, epilog=EXIT_CODES)
@click.version_option(__version__, prog_name="virnucpro")
@verbosity
def cli() -> None:
    """Tell viral from non-viral DNA with ESM-2 and DNABERT-S features."""


for command in (predict, weights, convert, parity, doctor, report):
    cli.add_command(command)


class _StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]  # takes no argument in Python 3.10
    """Writes to what sys.stderr is at the moment, so that lines pass above a progress bar."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return 0 done, 1 bad data, 2 bad request, 3 partial, 130 interrupted.

    These are the codes, too, where whoever reads its output has closed the pipe.
    """
    console.make_usable()
    outlive_readers()
    handler = _StderrHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    try:
        with interrupts.heeded():
            return cli.main(argv, prog_name="virnucpro", standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("virnucpro: interrupted.", err=True)
        return Interrupted.exit_code
    except Interrupted as error:
        click.echo(f"virnucpro: {error}", err=True)
        return error.exit_code
    except VirnucproError as error:
        click.echo(f"virnucpro: error: {error}", err=True)
        log.debug("Raised at", exc_info=True)
        return error.exit_code
    except OSError as error:
        click.echo(f"virnucpro: error: {error}. Check the disk and the permissions.", err=True)
        log.debug("Raised at", exc_info=True)
        return VirnucproError.exit_code


def run() -> NoReturn:
    """The program: `main`, to its exit code."""
    code = main()
    leave()
    sys.exit(code)
