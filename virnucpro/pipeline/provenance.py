"""Provenance: with what a result was made; for the manifest. A session each time a run was started or resumed."""

from __future__ import annotations

import platform
import shlex
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from virnucpro._version import __version__
from virnucpro.system.packages import version_of

PACKAGES = ("torch", "triton", "flash-attn", "numpy", "tokenizers", "safetensors", "xopen", "h5py")


def session() -> dict[str, Any]:
    """This process: command line, start (UTC), and the versions of what computes and reads."""
    return {
        "command": _command(),
        "started": now(),
        "virnucpro": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version for name in PACKAGES if (version := version_of(name)) is not None},
    }


def _command() -> str:
    """Our own command line; that of another program may hold what is none of our business."""
    program = Path(sys.argv[0])
    ours = program.name == "virnucpro" or program.parts[-2:] == ("virnucpro", "__main__.py")
    return shlex.join(["virnucpro", *sys.argv[1:]]) if ours else "from Python"


def now() -> str:
    """To the second, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
