"""Fingerprint: the sha256 of files, taken while something else is at work."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path

from virnucpro.files import sha256_of


class Fingerprint:
    """The sha256 of each file, by the names it is given with.

    The 3B checkpoint takes some seconds of one core, so the digests are begun in threads (hashing lets Python go on)
    and waited for only where they are needed.
    """

    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files
        self._futures: dict[str, Future[str]] = {}

    def begin(self) -> None:
        """Start, unless that was done."""
        if self._futures:
            return
        self._futures = {name: Future() for name in self._files}
        for name, path in self._files.items():
            # Not an executor, whose threads a program waits for when it is interrupted.
            threading.Thread(target=_digest, args=(path, self._futures[name]), daemon=True).start()

    def result(self) -> dict[str, str]:
        """Wait for the digests."""
        self.begin()
        return {name: future.result() for name, future in self._futures.items()}


def _digest(path: Path, future: Future[str]) -> None:
    try:
        future.set_result(sha256_of(path))
    except Exception as error:
        future.set_exception(error)
