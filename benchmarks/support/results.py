"""Results: the figures that asv stored, read from its JSON files.

Not through asv's Python, which promises no stability, and not only where asv is installed. Version 2 of the format:
`results/<machine>/<hash>-<environment>.json`, where a row of "results" goes with "result_columns", its nulls at the end
cut off. A row has one result for each combination of parameters (null: failed, NaN: skipped), or null if all failed.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import reprlib
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

FORMAT = 2
LARGEST = sys.float_info.max  # of an int that has a float
LARGEST_FILE = 64 * 2**20  # bytes; the largest that asv has written for this suite has 20 kB
MOST_COMBINATIONS = 100_000
# Of a file of results: what is read, and of which type it has to be.
TYPES = {"commit_hash": str, "env_name": str, "date": int, "params": dict, "result_columns": list, "results": dict}
LONGEST = 1e14  # of times in ms, and of seconds: the year 5138
MEASURED, FAILED, SKIPPED, ABSENT = "measured", "failed", "skipped", "not measured"


class BadResults(Exception):
    """A file of results cannot be read; one sentence."""


@dataclass(frozen=True)
class Value:
    """One figure, or why there is none: status is MEASURED, FAILED, SKIPPED or ABSENT."""

    status: str = ABSENT
    number: float | None = None  # in the benchmark's unit; inf if the benchmark said so
    version: str | None = None  # of the benchmark: figures of two versions are not comparable
    env: str | None = None  # asv's name of the environment
    samples: tuple[float, ...] = ()  # the figures whose median the number is; none where only one was taken

    @property
    def sound(self) -> bool:
        """Whether a ratio can be made of it."""
        return self.status == MEASURED and 0 < self.number < math.inf

    @property
    def figure(self) -> float | str:
        """The number, or in a word why there is none."""
        if self.status == MEASURED:
            return self.number if math.isfinite(self.number) else str(self.number)
        return self.status


def ratio(before: Value, after: Value) -> float | None:
    """How many times as fast; None unless both are sound figures of one version of the benchmark in one environment."""
    alike = (before.version, before.env) == (after.version, after.env)
    return before.number / after.number if before.sound and after.sound and alike else None


@dataclass(frozen=True)
class EnvironmentResults:
    """One file: a commit on a machine in an environment."""

    env: str
    rows: dict[str, dict]  # benchmark -> column -> what is in it

    def started(self, key: str) -> int:
        return self.rows.get(key, {}).get("started_at") or 0

    def value(self, key: str, *params: object) -> Value:
        if (row := self.rows.get(key)) is None:
            return Value()
        combinations = list(itertools.product(*row.get("params") or []))
        if (wanted := tuple(map(repr, params))) not in combinations:
            return Value()
        result = row["result"] and row["result"][combinations.index(wanted)]
        version = row.get("version")
        if result is None:
            return Value(FAILED, None, version, self.env)
        if not isinstance(result, (int, float)) or (type(result) is int and abs(result) > LARGEST):
            raise BadResults(f"{key}{params} in {self.env} is {shown(result)}; a number was expected. Run it again.")
        if result != result:
            return Value(SKIPPED, None, version, self.env)
        samples = row["samples"][combinations.index(wanted)] if row.get("samples") else None
        return Value(MEASURED, float(result), version, self.env, tuple(samples or ()))


@dataclass(frozen=True)
class CommitResults:
    """What is known of a commit on a machine."""

    machine: str
    commit: str
    date: int  # ms since 1970, of the commit
    files: tuple[EnvironmentResults, ...]

    def value(self, key: str, *params: object) -> Value:
        """The figure of a benchmark ("commands.EmbedProteins.track_error") for its parameters, as Python has them.

        Of several environments, from that in which it was measured last.
        """
        newest_first = sorted(self.files, key=lambda file: -file.started(key))
        values = [file.value(key, *params) for file in newest_first]
        return next((value for value in values if value.status != ABSENT), Value())

    def within(self, env: str) -> CommitResults:
        """Only what was measured in that environment."""
        return replace(self, files=tuple(file for file in self.files if file.env == env))


@dataclass(frozen=True)
class Results:
    """All results of a folder."""

    by_machine: dict[str, dict[str, CommitResults]]  # machine -> full hash -> what is known

    @classmethod
    def load(cls, folder: Path, machine: str = "*") -> Results:
        """Read every machine's results, or those of one; a folder that is not there has none.

        Raises:
            BadResults: A file is not what asv 0.6 writes.
        """
        paths = sorted(folder.glob("*/machine.json") if machine == "*" else [folder / machine / "machine.json"])
        folders = [path.parent for path in paths if path.is_file() and not path.parent.is_symlink()]
        return cls({path.name: _load_machine(path) for path in folders})

    def machines(self) -> list[str]:
        return list(self.by_machine)

    def commits(self, machine: str) -> list[CommitResults]:
        """Of a machine, oldest commit first; those of the same second in any order."""
        return sorted(self.by_machine.get(machine, {}).values(), key=lambda found: found.date)

    def of(self, machine: str, commit: str) -> CommitResults | None:
        """Of the commit with this full hash."""
        return self.by_machine.get(machine, {}).get(commit)


def rows_of(whole: dict) -> dict[str, dict]:
    """Of the content of a file of results: benchmark -> column -> what is in it.

    Raises:
        KeyError: An entry is missing. TypeError: One has another type. ValueError: Results do not go with parameters.
    """
    for name, kind in TYPES.items():
        _require(whole[name], kind, name)
    if not re.fullmatch("[0-9a-f]{40}", whole["commit_hash"]):
        raise ValueError(f"commit_hash is {shown(whole['commit_hash'])}")
    if len(set(whole["result_columns"])) < len(whole["result_columns"]):
        raise ValueError("a column stands there twice")
    rows = {}
    for key, cells in whole["results"].items():
        _require(cells, list, key)
        row = rows[key] = dict(zip(whole["result_columns"], cells))
        for name, kind in (("params", list), ("started_at", int), ("version", str), ("duration", (int, float))):
            if row.get(name) is not None:
                _require(row[name], kind, f"{key}, {name}")
        for name in ("started_at", "duration"):
            if not 0 <= (row.get(name) or 0) < LONGEST:
                raise ValueError(f"{key}, {name} is {shown(row[name])}")
        params = row.get("params") or []
        for values in params:
            _require(values, list, f"{key}, params")
        combinations = math.prod(map(len, params))
        if combinations > MOST_COMBINATIONS:
            raise ValueError(f"{combinations} combinations of parameters, at most {MOST_COMBINATIONS} are taken")
        if any(len(set(map(repr, values))) < len(values) for values in params):
            raise ValueError(f"{key}, params has a value twice: {shown(params)}")
        if row["result"] is not None:
            _require(row["result"], list, f"{key}, result")
            if len(row["result"]) != combinations:
                raise ValueError(f"{len(row['result'])} results for {combinations} combinations of parameters")
        if row.get("samples") is not None:
            _check_samples(key, row["samples"], combinations)
            repeats = row.get("stats_repeat") or [None] * combinations
            for number, samples in zip(repeats, row["samples"]):
                if number is not None and samples is not None and number != len(samples):
                    raise ValueError(f"{key} has {len(samples)} samples, and was repeated {number} times")
    return rows


def _check_samples(key: str, samples: object, combinations: int) -> None:
    _require(samples, list, f"{key}, samples")
    if len(samples) != combinations:
        raise ValueError(f"{len(samples)} lists of samples for {combinations} combinations of parameters")
    for each in samples:
        if each is not None and not (isinstance(each, list) and all(type(x) in (int, float) for x in each)):
            raise TypeError(f"{key}, samples: {shown(each)} is no list of numbers")


def _require(value: object, kind: type | tuple[type, ...], name: str) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = getattr(kind, "__name__", "number")
        raise TypeError(f"{name} is {shown(value)}, not of type {wanted}")


def text_of(path: Path, largest: int) -> str:
    """What a file of JSON holds. Raises ValueError: it is no regular file, or larger than that. OSError."""
    if path.is_symlink() or not path.is_file():
        raise ValueError("it is no regular file")
    with open(path, "rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"more than {largest:,} bytes")
    return content.decode("utf-8")


def once(pairs: list[tuple[str, object]]) -> dict:
    """An object; each of its names stands there once."""
    if twice := [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]:
        raise ValueError(f"names stand there twice: {twice}")
    return dict(pairs)


def shown(value: object) -> str:
    """What a message has room for."""
    return reprlib.repr(value)


def _load_machine(folder: Path) -> dict[str, CommitResults]:
    by_commit = defaultdict(list)
    for path in sorted(folder.glob("*.json")):
        if path.name == "machine.json":
            continue
        try:
            whole = json.loads(text_of(path, LARGEST_FILE), object_pairs_hook=once)
            if whole["version"] != FORMAT or whole["params"]["machine"] != folder.name:
                raise ValueError(f"version {whole['version']} of machine {whole['params']['machine']}")
            rows = rows_of(whole)
            found = by_commit[whole["commit_hash"]]
            if any(date != whole["date"] or each.env == whole["env_name"] for date, each in found):
                raise ValueError("another file has the same commit, with another date or in the same environment")
            found.append((whole["date"], EnvironmentResults(whole["env_name"], rows)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise BadResults(
                f"{path} ({type(error).__name__}: {error}): not a file of version {FORMAT} by asv for machine "
                f"{folder.name}. Restore it, or remove it and run asv again."
            ) from error
    return {
        commit: CommitResults(folder.name, commit, found[0][0], tuple(each for _, each in found))
        for commit, found in by_commit.items()
    }
