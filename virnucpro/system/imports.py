"""Imports: what a program of many modules need not pay for while it starts and ends."""

from __future__ import annotations

import atexit
import gc
import hashlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from virnucpro.system.home import cache_folder, is_private

_KEPT = "_VIRNUCPRO_BYTECODE"  # the place, for children
log = logging.getLogger(__name__)


@contextmanager
def uncollected() -> Iterator[None]:
    """Import large packages in this context, without the garbage collector, which would find nothing there.

    It looks at new objects again and again while torch makes a million that stay: a tenth to a sixth of the import.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def why_compiled_anew() -> str | None:
    """Why Python translates torch's source at every start, a few seconds of each; None if it need not.

    Many images for containers are so: nothing was compiled when they were built, and they set PYTHONDONTWRITEBYTECODE,
    or nobody may write where torch lies.
    """
    spec = find_spec("torch")
    if spec is None or spec.origin is None or spec.cached is None or os.path.exists(spec.cached):
        return None
    if sys.dont_write_bytecode:
        return "PYTHONDONTWRITEBYTECODE is set"
    folder = spec.cached if sys.pycache_prefix else os.path.dirname(spec.origin)
    there = next(place for place in (Path(folder), *Path(folder).absolute().parents) if os.path.exists(place))
    return None if os.access(there, os.W_OK) else f"{there} cannot be written"


def keep_bytecode() -> None:
    """Have this process and its children keep in the user's cache what Python would make anew of torch's source.

    Where somebody has named another place for it (PYTHONPYCACHEPREFIX), that is the place.
    """
    if sys.pycache_prefix is not None:
        if os.environ.get(_KEPT) == sys.pycache_prefix:  # by a parent, which multiprocessing has tell us not to write
            _write_to(sys.pycache_prefix)
        return
    if (why := why_compiled_anew()) is None or (cache := cache_folder()) is None:
        return
    with suppress(OSError):  # then it is made anew
        above = cache / "virnucpro"
        folder = above / "bytecode" / _surroundings()
        if all(map(is_private, (above, folder.parent, folder))):  # what lies there is run
            log.debug("%s: bytecode is kept in %s.", why, folder)
            os.environ["PYTHONPYCACHEPREFIX"] = os.environ[_KEPT] = str(folder)
            os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
            _write_to(str(folder))


def _surroundings() -> str:
    """A name for all versions beside torch: files of images may have one date and, by chance, one size."""
    spec = find_spec("torch")
    assert spec is not None and spec.origin is not None, "it was found a moment ago"
    site = Path(spec.origin).parents[1]
    versions = sorted(path.name for path in site.iterdir() if path.suffix == ".dist-info")
    return hashlib.sha256(repr((str(site), versions)).encode()).hexdigest()[:16]


def _write_to(folder: str) -> None:
    sys.pycache_prefix, sys.dont_write_bytecode = folder, False
    plain = SourceFileLoader.set_data

    def set_data(self: SourceFileLoader, path: str, data: bytes, **options: int) -> None:
        """Before Python 3.13 a file that a full disk cut short is taken for whole at every later start."""
        plain(self, path, data, **options)
        with suppress(OSError):
            if os.path.getsize(path) != len(data):
                os.unlink(path)

    SourceFileLoader.set_data = set_data  # type: ignore[method-assign, assignment]


def leave_quickly() -> Callable[[int], NoReturn]:
    """How the program is to be ended: with what Python does at an end, but without taking apart what is in memory.

    With torch there that is half a second. To be called before anything registers what is to be done at the end.
    """
    codes = [1]  # what Python has for an error that nobody handled

    def end() -> None:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with suppress(OSError, ValueError):  # lost, and told, when the last line was written; or closed
                stream.flush()
        os._exit(codes[-1])

    def leave(code: int) -> NoReturn:
        codes.append(code)
        sys.exit(code)

    atexit.register(end)  # the first to be registered is the last to be called, after all threads have ended
    return leave
