"""Samples: those of two of asv's rows, or of a row and the evidence of its runs, in one; none replaces another."""

from __future__ import annotations

import itertools
from collections import Counter

from benchmarks.support.results import shown

PER_PARAMETER = ("result", "samples", "stats_")  # beginnings of columns with one value for each set of parameters
FIGURES = {"wall_seconds": "seconds", "error": "error", "host_memory": "host_memory", "gpu_memory": "gpu_memory"}


def per_parameter(row: dict) -> dict[str, list]:
    """The columns of a row with one value for each set of parameters. Raises ValueError if one has not."""
    count = len(list(itertools.product(*row["params"])))
    columns = {name: row[name] for name in row if name.startswith(PER_PARAMETER) and row[name] is not None}
    for name, values in columns.items():
        if not isinstance(values, list) or len(values) != count:
            raise ValueError(f"{name} is {shown(values)}, and {count} values were expected")
    return columns


def later(old: dict, new: dict, columns: list[str]) -> list:
    """The later of two rows; where it has NaN (not asked for, or skipped) the earlier's value stays, if it has one.
    Where both have samples, all of them count, each once: no measurement replaces another."""
    if (old.get("started_at") or 0) > (new.get("started_at") or 0):
        old, new = new, old
    row = {column: new.get(column) for column in columns}
    if (old["params"], old.get("version")) == (new["params"], new.get("version")):
        count = len(list(itertools.product(*new["params"])))
        results = new["result"] or [None] * count
        skipped = [index for index, value in enumerate(results) if value != value]
        for column in filter(lambda one: one.startswith(PER_PARAMETER), columns):
            values, before = list(new.get(column) or [None] * count), old.get(column) or [None] * count
            for index in skipped:
                values[index] = before[index]
            row[column] = None if all(value is None for value in values) else values
        add_samples(row, old, count)
    return trimmed(row)


def trimmed(row: dict) -> list:
    """The values of a row, less the nulls at its end, as asv writes it."""
    values = list(row.values())
    while values and values[-1] is None:
        values.pop()
    return values


def add_samples(row: dict, old: dict, count: int) -> None:
    """Into a row the samples of an older one of the same parameters, and what asv then says of all of them. A file that
    came back has those of its call before, too: what both have counts once."""
    for index, before in enumerate(old.get("samples") or []):
        now = (row.get("samples") or [None] * count)[index]
        if before and now and (Counter(before) - Counter(now)):
            set_samples(row, index, before + list((Counter(now) - Counter(before)).elements()))


def set_samples(row: dict, index: int, samples: list[float]) -> None:
    from asv_runner.statistics import compute_stats

    row["samples"][index] = samples
    row["result"][index], stats = compute_stats(samples, 1)
    for column in [column for column in row if column.startswith("stats_") and row[column]]:
        row[column][index] = stats[column.removeprefix("stats_")]


def by_evidence(content: dict, documents: list[dict]) -> dict:
    """The content of a file of results in which the samples of commands are those of the evidence: two runs may have
    the same error, to the last bit, and both count."""
    columns = content["result_columns"]
    for key, cells in content["results"].items():
        benchmark, figure = key.rsplit(".track_", 1) if ".track_" in key else (key, "")
        row = dict(zip(columns, [*cells, *[None] * (len(columns) - len(cells))]))
        if figure not in FIGURES or not row.get("samples") or len(row["params"]) != 2:
            continue  # of no command with evidence
        for index, (workload, workers) in enumerate(itertools.product(*row["params"])):
            wanted = (content["commit_hash"], content["env_name"], benchmark, row.get("version"), workload, workers)
            found = [run.get(FIGURES[figure]) for run in documents if place(run) == wanted]
            there, known = row["samples"][index] or [], [float(x) for x in found if x is not None]
            if there and set(map(float, there)) <= {*known} and sorted(there) != sorted(known):
                set_samples(row, index, found)
        content["results"][key] = trimmed(row)
    return content


def place(run: dict) -> tuple[str, ...]:
    parameters = repr(run["workload"]), repr(run["workers"])
    return (run["commit"], run["environment"], run["benchmark"], run["version"], *parameters)
