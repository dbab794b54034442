"""Hand back: what was measured, copied to the folder that goes home, and shown as a table; for run.py of the bundle."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path


def hand_back(results: Path, machine: str, output: Path) -> None:
    """Copy what there is, each file whole."""
    (output / "evidence").mkdir(parents=True, exist_ok=True)
    for path in [*results.glob("benchmarks.json"), *(results / machine).rglob("*.json*")]:
        place = output / "evidence" if path.parent.name == "evidence" else output
        unfinished = place / f"{path.name}.new"
        shutil.copyfile(path, unfinished)
        os.replace(unfinished, place / path.name)


def summary(folder: Path, hashes: dict[str, str], begun: float) -> str:
    """What was measured since `begun`: a line for each benchmark and its parameters, a column for each commit."""
    from tabulate import tabulate  # comes with asv

    lines: dict[str, dict[str, str]] = {}
    for path in folder.glob("*-*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        for name, row in content["results"].items():
            columns = dict(zip(content["result_columns"], row))
            if columns["started_at"] >= begun * 1000:
                for label, value in values(name, columns):
                    lines.setdefault(label, {})[content["commit_hash"]] = value
    table = [[label, *(found.get(one, "") for one in hashes.values())] for label, found in sorted(lines.items())]
    return "\n" + tabulate(table, headers=["benchmark", *hashes], disable_numparse=True)


def values(name: str, columns: dict) -> Iterator[tuple[str, str]]:
    """One benchmark's values with their parameters; a null has failed, a NaN was skipped or not asked for."""
    combinations = list(product(*columns["params"]))
    for combination, value in zip(combinations, columns["result"] or [None] * len(combinations)):
        if value is None or not math.isnan(value):
            parameters = ", ".join(one.strip("'") for one in combination)
            yield f"{name}({parameters})" if parameters else name, "failed" if value is None else f"{value:.6g}"
