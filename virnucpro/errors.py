"""Errors a user can cause, each with the exit code it ends in.

A message has three parts: what was found, what was expected, what to do.
"""


class VirnucproError(Exception):
    """Base of all errors that are reported as one message, without a traceback."""

    exit_code = 1


class BadInput(VirnucproError):
    """The sequence file cannot be used as it is."""

    exit_code = 1


class BadRequest(VirnucproError):
    """The command line, the weights or the output directory do not fit together."""

    exit_code = 2


class BadWeights(BadRequest):
    """A weights file is missing, broken, or not what its name promises."""
