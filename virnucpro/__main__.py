"""``python -m virnucpro`` is the same program as ``virnucpro``."""

import sys

from virnucpro.cli import main

if __name__ == "__main__":  # spawned workers import this module again
    sys.exit(main())
