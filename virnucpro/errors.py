"""Errors a user can cause, each with the exit code it ends in.

A message has three parts: what was found, what was expected, what to do.
"""


class VirnucproError(Exception):
    """Base of all errors that are reported as one message, without a traceback."""

    exit_code = 1


class BadInput(VirnucproError):
    """The sequence file cannot be used as it is."""

    exit_code = 1


class InputChanged(BadInput):
    """The sequences are not those that were there when the run began."""


class BadRequest(VirnucproError):
    """The command line, the weights or the output directory do not fit together."""

    exit_code = 2


class BadWeights(BadRequest):
    """A weights file is missing, broken, or not what its name promises."""


class DeviceLost(VirnucproError):
    """A device answers no more in this process; a new process may have it again."""


class Interrupted(VirnucproError):
    """The command was asked to stop, and has saved what was finished; the message says how to go on."""

    exit_code = 130

    def __init__(self, how: str = "To go on from what is saved, repeat the command with --resume.") -> None:
        super().__init__(f"interrupted. {how}")


def one_line(error: BaseException) -> str:
    """An error on one line, without tabs, short enough for a table."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".removesuffix(": ")
