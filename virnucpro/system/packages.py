"""Packages: which packages there are, and whether they can be imported. Nothing is imported into this process."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata

# Packages by the name they are installed under, and what is imported of them.
REQUIRED = {
    "torch": "torch", "numpy": "numpy", "xopen": "xopen", "tokenizers": "tokenizers",
    "safetensors": "safetensors.torch", "h5py": "h5py", "click": "click", "rich": "rich", "nvidia-ml-py": "pynvml",
    "matplotlib": "matplotlib", "jinja2": "jinja2",
}  # fmt: skip
FETCHING = {"httpx2": "httpx2", "tenacity": "tenacity", "huggingface_hub": "huggingface_hub"}
TRAINING = {"scikit-learn": "sklearn", "scipy": "scipy"}
EVERY = REQUIRED | FETCHING | TRAINING
# What needs them alone.
PARTIAL = dict.fromkeys(FETCHING, "virnucpro weights fetch") | dict.fromkeys(TRAINING, "virnucpro train|evaluate")
_IMPORT = """
import importlib, os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what a package prints is no answer
for module in sys.argv[1:]:
    print(module, end=" ", file=answers, flush=True)
    try:
        importlib.import_module(module)
        print("ok", file=answers, flush=True)
    except BaseException as error:
        print(type(error).__name__ + ": " + " ".join(str(error).split())[:200], file=answers, flush=True)
"""


def import_errors() -> dict[str, str]:
    """Why a module cannot be imported, by its name; nothing for those that can.

    Another process tries, for a broken package may end it: by a signal, or by sys.exit.
    """
    left = list(EVERY.values())
    errors: dict[str, str] = {}
    while left:
        done = subprocess.run(
            [sys.executable, "-c", _IMPORT, *left], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        answers = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
        errors |= {module: answer for module, answer in answers.items() if answer not in ("ok", "")}
        left = [module for module in left if not answers.get(module)]
        if left:
            errors[left.pop(0)] = f"its import ended the program (exit code {done.returncode})"
    return errors


def version_of(name: str) -> str | None:
    """As the package's metadata says; None where there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def least_versions() -> dict[str, str]:
    """Lower bounds, by what the installed package says of itself; nothing where it runs from a checkout."""
    try:
        lines = metadata.requires("virnucpro") or []
    except metadata.PackageNotFoundError:
        return {}
    return {match[1]: match[2] for line in lines if (match := re.match(r"([\w.-]+)>=([\d.]+)$", line))}


def is_older(version: str, least: str) -> bool:
    return _numbers(version) < _numbers(least)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.split("+")[0])[:3])
