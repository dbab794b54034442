"""Surroundings: what the tests, and the programs that they start, take from whoever starts them: next to nothing.

A hook of git's, another language, a narrow terminal, or somebody's configuration changes no outcome.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import MutableMapping

HANG = 1800  # s: a test waits that long only for what will never end
UNWANTED = {
    "LANG", "LANGUAGE", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PY_COLORS",
    "TTY_COMPATIBLE", "TTY_INTERACTIVE", "PAGER", "SOURCE_DATE_EPOCH", "MPLBACKEND", "MATPLOTLIBRC", "HF_ENDPOINT",
    "VIRNUCPRO_WEIGHTS", "PYTHONWARNINGS", "PYTHONOPTIMIZE", "PYTHONDEVMODE", "PYTHONSTARTUP", "PYTHONIOENCODING",
    "PYTHONDONTWRITEBYTECODE", "PYTHONUTF8", "PYTHONINSPECT", "PYTHONSAFEPATH", "PYTEST_ADDOPTS", "PYTEST_PLUGINS",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD",
}  # fmt: skip
ENGLISH = {"LC_ALL": "C.UTF-8"}
# Of git's configuration, what root in a container needs: the repository belongs to another user there.
PLAIN_GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
}  # fmt: skip


def settle(environ: MutableMapping[str, str] = os.environ) -> None:
    """Leave in an environment what decides nothing. The variables of a hook would have git in another repository,
    whatever -C says."""
    for name in list(environ):
        if name in UNWANTED or name.startswith(("GIT_", "LC_")):
            del environ[name]
    environ.update(ENGLISH | PLAIN_GIT)
    if "VIRNUCPRO_BENCH_CACHE" not in environ and not os.access(os.path.expanduser("~"), os.W_OK):
        environ["VIRNUCPRO_BENCH_CACHE"] = tempfile.mkdtemp(prefix="virnucpro-bench-")
    os.umask(0o022)
