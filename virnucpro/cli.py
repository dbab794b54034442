"""Command line: call a command, translate errors into exit codes. No science, and no torch until it is needed."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn, TextIO

import click

from virnucpro._version import __version__
from virnucpro.commands.doctor import doctor
from virnucpro.commands.evaluate import evaluate
from virnucpro.commands.options import EXIT_CODES, verbosity
from virnucpro.commands.parity import parity
from virnucpro.commands.predict import predict
from virnucpro.commands.report import report
from virnucpro.commands.train import train
from virnucpro.commands.weights import convert, weights
from virnucpro.errors import Interrupted, VirnucproError
from virnucpro.system import console, processes
from virnucpro.system.imports import keep_bytecode, leave_quickly

log = logging.getLogger("virnucpro")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, epilog=EXIT_CODES)
@click.version_option(__version__, prog_name="virnucpro")
@verbosity
def cli() -> None:
    """Tell viral from non-viral DNA with ESM-2 and DNABERT-S features."""


for command in (predict, train, evaluate, weights, convert, parity, doctor, report):
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
    console.outlive_readers()
    handler = _StderrHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    try:
        with processes.signals_handled():
            return cli.main(argv, prog_name="virnucpro", standalone_mode=False) or 0
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        return error.exit_code
    except click.Abort as error:
        if isinstance(error.__cause__, EOFError):  # click takes it for the end of a dialogue
            return _told(
                f"error: {error.__cause__}. A file of Python's or of a package is cut off: install it again.", 1
            )
        return _told("interrupted.", Interrupted.exit_code)
    except KeyboardInterrupt:
        return _told("interrupted.", Interrupted.exit_code)
    except Interrupted as error:
        return _told(str(error), error.exit_code)
    except VirnucproError as error:
        return _told(f"error: {error}", error.exit_code)
    except OSError as error:
        return _told(f"error: {error}. Check the disk and the permissions.", VirnucproError.exit_code)


def _told(message: str, code: int) -> int:
    """Say it, if standard error takes it, and return the code."""
    with suppress(OSError):
        click.echo(f"virnucpro: {message}", err=True)
        log.debug("Raised at", exc_info=True)
    return code


def run() -> NoReturn:
    """The program: `main`, to its exit code."""
    leave = leave_quickly()
    keep_bytecode()
    code = main()
    processes.ignore()  # all is done
    leave(code)
