"""``python -m virnucpro`` is the same program as ``virnucpro``."""

from virnucpro.cli import run

if __name__ == "__main__":  # spawned workers import this module again
    run()
