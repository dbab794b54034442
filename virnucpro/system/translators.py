"""Translators: processes that make Python's bytecode ahead of a program that is about to import what they translate.

Python makes it module by module, as they are imported: for torch's thousand that is four seconds of one processor,
wherever torch was installed without bytecode (as uv does, and many an image is built so). The processes all go through
the same modules in the order of their imports, and each translates every so-manieth; the program finds what is done.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache, partial
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import cache_from_source, find_spec
from typing import Any

from virnucpro.system import helpers
from virnucpro.system.imports import why_compiled_anew

# Imports that begin a line: those of functions are for later, and what hangs on a condition is left to the program.
IMPORTS = re.compile(
    r"^(?:from[ \t]+(?P<dots>\.*)(?P<base>[\w.]*)[ \t]+import[ \t]*(?P<names>\([^)]*\)|[^\n#]*)"
    r"|import[ \t]+(?P<modules>[^\n#]*))",
    re.MULTILINE,
)

LATE = ("func", "__init__.py")  # one of the last that torch imports: a start that was interrupted left none for it
_begun: list[Any] = []  # processes of multiprocessing


def translate_ahead(*modules: str) -> None:
    """Begin with these modules and all that they import, where torch has no bytecode and it would be kept."""
    if "torch" in sys.modules or (spec := find_spec("torch")) is None or spec.origin is None:
        return
    late = os.path.join(os.path.dirname(spec.origin), *LATE)
    known = cache_from_source(late if os.path.exists(late) else spec.origin)
    if not os.path.exists(known) and why_compiled_anew() is None:
        count = helpers.how_many()
        _begun.extend(helpers.started(partial(_translate, modules, number, count) for number in range(count)))


def stop() -> None:
    """End what is still at work: all has been imported."""
    for process in _begun:
        process.terminate()
    for process in _begun:
        process.join()
    _begun.clear()


def _translate(modules: tuple[str, ...], number: int, count: int) -> None:
    """Translate every module whose place among all has this remainder by the count."""
    stopped: list[int] = []
    # Looked at between two files, so that none is left half written.
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    warnings.simplefilter("ignore")  # the program that imports them has its own opinion on them
    for place, (name, path) in enumerate(sources(*modules)):
        if stopped:
            return
        if place % count == number:
            with suppress(Exception):  # it is not for this Python
                SourceFileLoader(name, path).get_code(name)


def sources(*modules: str) -> Iterator[tuple[str, str]]:
    """Give modules and what they import, by name and path of the source, about in the order in which Python does.

    Nothing is run; what is imported already, and what has no source, is left out.
    """
    ahead, seen = list(reversed(modules)), set(sys.modules)
    while ahead:
        if (name := ahead.pop()) in seen:
            continue
        seen.add(name)
        if (path := _source(name)) is None:
            continue
        try:
            with open(path, encoding="latin-1") as file:  # whatever it is in, names of modules are ASCII
                text = file.read()
        except OSError:  # it lies in a zip file, say
            continue
        yield name, path
        ahead += [other for other in reversed([*_imported(name, path, text)]) if other not in seen]


def _imported(name: str, path: str, text: str) -> Iterator[str]:
    """The modules that a module imports at once, packages before what is in them; some names may be of no module."""
    package = name if os.path.basename(path) == "__init__.py" else name.rpartition(".")[0]
    for found in IMPORTS.finditer(text):
        if found["modules"] is not None:
            targets = found["modules"].split(",")
        else:
            above = package.split(".")[: 1 - len(found["dots"]) or None] if found["dots"] else []
            base = ".".join([*above, *filter(None, [found["base"]])])
            names = re.sub("#.*", "", found["names"]).strip("()").split(",")
            targets = [base, *(f"{base}.{each.strip()}" for each in names)]
        for target in targets:
            parts = target.split(" as ")[0].strip().split(".")
            if all(map(str.isidentifier, parts)):
                yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _source(name: str) -> str | None:
    """Where the source of a module lies, of whose packages none is imported for that."""
    top, *rest = name.split(".")
    spec = _spec(top)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    if not rest:
        return spec.origin
    place = os.path.join(*(spec.submodule_search_locations or [os.devnull])[:1], *rest)
    return next(filter(os.path.isfile, (os.path.join(place, "__init__.py"), f"{place}.py")), None)


@lru_cache
def _spec(top: str) -> ModuleSpec | None:
    with suppress(Exception):  # whatever finds modules here
        return find_spec(top)
    return None
