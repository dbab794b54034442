"""Checkpoints: finished windows on disk, several to a file, each file whole or not at all.

A file is safetensors: for window 7 the arrays `7/open_C`, `7/scores_S2`, ..., and in its header the names. What
counts is the list in the run's manifest, with the sha256 of every file: a file that is not in it, or is not
what it was, does not exist.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from virnucpro.engine.results import FinishedWindow
from virnucpro.models.language_models import LANGUAGE_MODELS
from virnucpro.system.files import sha256_of, whole_file

log = logging.getLogger(__name__)
_NAMES = "[0-9]" * 6 + ".safetensors"  # of our files, for glob
_AUDIT = ("audited_A", "cosines_AM", "reference_A2")
_TABLES = ("lengths_R", "firsts_R", "chunks_R", "open_C", "scores_S2", *_AUDIT)
_FACTS = ("names", "cut", "unknown", "copies", "failures")


class CheckpointStore:
    """The finished windows of a run.

    Args:
        folder: Where the files lie; made if needed.
        record: Called before the first file is written and after each, to put `entries` into the manifest.
        sequences, seconds: After so many finished sequences (or reads, if they have fewer), or so long, a file is
            written.
        durable: Wait until the disk has it, as a checkpoint must; without, the files only save memory.
    """

    def __init__(
        self, folder: Path, record: Callable[[], None], sequences: int, seconds: float, durable: bool = True
    ) -> None:
        self.folder, self._record, self._durable = folder, record, durable
        self._sequences, self._seconds = sequences, seconds
        self.entries: list[dict[str, Any]] = []
        self._waiting: list[FinishedWindow] = []
        self._under_way: list[FinishedWindow] = []
        self._writer = ThreadPoolExecutor(1)
        self._future: Future[float] | None = None
        self._write_seconds: float | None = None
        self._since = time.monotonic()
        self._unwritten = 0  # sequences waiting
        self._file_of: dict[int, str] = {}
        self._files = 0  # numbered so far

    def resume(self, entries: list[dict[str, Any]]) -> None:
        """Resume from the files of an interrupted run, as far as they are what its manifest says. Touches no file.

        Args:
            entries: The manifest's list. Windows with failures are left out, so that they are tried again.
        """
        for entry in entries:
            if reason := self._damage(entry):
                name = entry.get("file") if isinstance(entry, dict) else entry
                log.warning("Checkpoint %s %s: its windows are computed again.", name, reason)
                continue
            windows = [i for i in entry["windows"] if i not in entry["failed"] and i not in self._file_of]
            if windows:
                self.entries.append(entry | {"windows": windows, "failed": []})
                self._file_of |= dict.fromkeys(windows, entry["file"])
        self._files = max((int(Path(entry["file"]).stem) + 1 for entry in self.entries), default=0)

    def remove_unlisted(self) -> None:
        """Remove files that no entry names: written, but not listed before the end came, or damaged."""
        listed = {entry["file"] for entry in self.entries}
        for path in self.folder.glob(_NAMES):
            if path.name not in listed:
                path.unlink()

    def _damage(self, entry: dict[str, Any]) -> str | None:
        """Tell what is wrong with a checkpoint; None if nothing is."""
        try:
            path = self.folder / entry["file"]
            if not path.match(_NAMES) or path.parent != self.folder:
                return "is none of this program's"
            if not path.is_file():
                return "is missing"
            if sha256_of(path) != entry["sha256"]:
                return "is damaged or of another run"
            with safe_open(path, framework="numpy") as file:
                stored = {key.split("/")[0] for key in file.keys()}  # noqa: SIM118
            if not all(type(index) is int for index in (*entry["windows"], *entry["failed"])):
                return "has windows without a number"
            return None if stored >= {str(index) for index in entry["windows"]} else "lacks windows"
        except (KeyError, TypeError, ValueError, OSError, SafetensorError) as error:
            return f"cannot be read ({error})"

    @property
    def done(self) -> set[int]:
        """Return the indices of the finished windows."""
        self._join()
        return self._file_of.keys() | {window.index for window in self._waiting}

    @property
    def records(self) -> int:
        """Count the records that begin in the files' windows, for a progress bar."""
        return sum(entry.get("records", 0) for entry in self.entries)

    def add(self, window: FinishedWindow) -> float | None:
        """Take in a finished window; return the seconds that a file took, if one was completed since the last call.

        Files are written by a thread of their own: the device does not wait for the disk.

        Raises:
            OSError: Of an earlier file; its windows are kept for `flush` to try again.
        """
        self._waiting.append(window)
        # Reads without an open frame take memory, and room for their names, too.
        self._unwritten += max(window.sequences, len(window.names))
        if self._future is not None and self._future.done():
            self._join()
        if self._unwritten >= self._sequences or time.monotonic() - self._since >= self._seconds:
            self._join()
            self._since, self._unwritten = time.monotonic(), 0
            self._under_way, self._waiting = self._waiting, []
            self._future = self._writer.submit(self._write, self._under_way)
        return self._taken()

    def flush(self) -> float | None:
        """Write what is waiting, and return when all is written: the seconds of files that `add` has not told of."""
        self._join()
        if self._waiting:
            self._write_seconds = (self._write_seconds or 0.0) + self._write(self._waiting)
            self._waiting = []
        return self._taken()

    def _taken(self) -> float | None:
        seconds, self._write_seconds = self._write_seconds, None
        return seconds

    def _join(self) -> None:
        """Wait for the file under way; its windows are not forgotten if it failed."""
        if self._future is not None:
            wait([self._future])  # an interrupt that comes here leaves it to the next call
            future, self._future = self._future, None
            under_way, self._under_way = self._under_way, []
            try:
                self._write_seconds = (self._write_seconds or 0.0) + future.result()
            except BaseException:
                self._waiting = under_way + self._waiting
                raise

    def _write(self, windows: list[FinishedWindow]) -> float:
        """Write one file; return the seconds that it took."""
        begun = time.monotonic()
        if not self.folder.is_dir():
            self._record()
        self.folder.mkdir(parents=True, exist_ok=True)
        windows = sorted(windows, key=lambda window: window.index)
        name = f"{self._files:06d}.safetensors"
        self._files += 1
        arrays: dict[str, np.ndarray] = {}
        for window in windows:
            features = {row.array: window.features.get(model) for model, row in LANGUAGE_MODELS.items()}
            for key, array in ({table: getattr(window, table) for table in _TABLES} | features).items():
                if array is not None:
                    arrays[f"{window.index}/{key}"] = np.ascontiguousarray(array)
        facts = {str(window.index): {fact: getattr(window, fact) for fact in _FACTS} for window in windows}
        content = save(arrays, {"windows": json.dumps(facts)})
        with whole_file(self.folder / name, "wb", durable=self._durable) as file:
            file.write(content)
        self.entries.append(
            {
                "file": name,
                "sha256": hashlib.sha256(content).hexdigest(),
                "sequences": sum(window.sequences for window in windows),
                "records": sum(int((window.firsts_R == 0).sum()) for window in windows),
                "windows": [window.index for window in windows],
                "failed": [window.index for window in windows if window.failures],
            }
        )
        self._file_of |= dict.fromkeys(self.entries[-1]["windows"], name)
        self._record()
        return time.monotonic() - begun

    def forget(self) -> None:
        """Have no finished windows, and remove their files."""
        with suppress(OSError):
            self._join()
        self._waiting, self.entries, self._file_of = [], [], {}
        shutil.rmtree(self.folder, ignore_errors=True)

    def finished(self, with_features: bool = True) -> Iterator[FinishedWindow]:
        """Read back all windows one by one, in order of the input, with or without features, which are large."""
        wanted = (*_TABLES, *(row.array for row in LANGUAGE_MODELS.values() if with_features))

        @lru_cache(maxsize=8)  # several workers' windows lie mixed in neighbouring files
        def opened_file(name: str) -> tuple[safe_open, set[str], dict[str, Any]]:
            opened = safe_open(self.folder / name, framework="numpy")
            return opened, set(opened.keys()), json.loads(opened.metadata()["windows"])

        for index, name in sorted(self._file_of.items()):
            opened, keys, facts = opened_file(name)
            arrays = {each: opened.get_tensor(key) for each in wanted if (key := f"{index}/{each}") in keys}
            features = {name: arrays.pop(row.array) for name, row in LANGUAGE_MODELS.items() if row.array in arrays}
            rest = dict(facts[str(index)])
            failures = {int(place): reason for place, reason in rest.pop("failures").items()}
            yield FinishedWindow(index=index, failures=failures, features=features, **rest, **arrays)
