"""Fingerprint: the sha256 of files, taken while something else is at work."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import closing, suppress
from multiprocessing import connection, spawn
from pathlib import Path

from virnucpro.system import hashing
from virnucpro.system.hashing import Digest, digest_of
from virnucpro.system.processes import INTERRUPTS, why_no_children

LARGE = 2**26  # bytes that are worth a process of their own
SILENCE = 30.0  # s without a sign of life, after which a process is given up
LONGEST = 2**20  # bytes of a line that may be an answer
_SHA256 = re.compile("[0-9a-f]{64}")
log = logging.getLogger(__name__)


class Fingerprint:
    """What `hashing.digest_of` says of each file, by the names that they are given with.

    The 3B checkpoint takes some seconds of one core. A process of its own takes them while this one imports torch,
    which would hold up a thread of it. Where there can be no such process, or it ends early, falls silent or says
    anything else than it should, threads do its work: nobody waits longer than for the files to be read here.

    Args:
        known: The sha256 that a file may well have; see `hashing.digest_of`.
    """

    def __init__(self, files: Mapping[str, Path], known: Mapping[str, Sequence[str]] | None = None) -> None:
        self._files, self._known = dict(files), dict(known or {})
        self._futures: dict[str, Future[Digest]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()  # held while the process is started, or ended
        self._closed = False

    def begin(self) -> None:
        """Start, unless that was done."""
        if self._futures or not self._files:
            return
        self._futures = {name: Future() for name in self._files}
        large = sum(map(_size, self._files.values())) >= LARGE
        if not (large and why_no_children() is None and _start(self._in_a_process)):
            self._in_threads()

    def done(self) -> bool:
        """Whether `digests` would not wait."""
        return len(self._futures) == len(self._files) and all(future.done() for future in self._futures.values())

    def digests(self) -> dict[str, Digest]:
        """Wait for them.

        Raises:
            OSError: A file cannot be read.
        """
        self.begin()
        return {name: future.result() for name, future in self._futures.items()}

    def result(self) -> dict[str, str]:
        """Wait for the sha256 of each; raises as `digests`."""
        return {name: digest.sha256 for name, digest in self.digests().items()}

    def close(self) -> None:
        """End what is still at work; who waits for it, or asks for it afterwards, meets a CancelledError."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()
        for future in self._futures.values():
            future.cancel()

    def _in_threads(self) -> None:
        """What is still missing, by this process itself."""
        for name, future in self._futures.items():
            if not future.done() and not _start(self._digest, name, future):
                self._digest(name, future)

    def _digest(self, name: str, future: Future[Digest]) -> None:
        with suppress(InvalidStateError):  # it was closed meanwhile
            try:
                digest = digest_of(self._files[name], self._known.get(name, ()))
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(digest)

    def _in_a_process(self) -> None:
        """Pass on what it says; it takes no signals, and ends when this process does."""
        signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)  # of this thread, and so of the process that it starts
        try:
            names = dict(enumerate(self._files))
            paths = {name: os.fsencode(path).decode("latin-1") for name, path in self._files.items()}
            requests = [(path, self._known.get(name, ())) for name, path in paths.items()]
            with self._lock:
                if self._closed:
                    return
                self._process = subprocess.Popen(
                    [os.fsdecode(spawn.get_executable()), "-I", "-S", hashing.__file__, json.dumps(requests)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                )  # fmt: skip
            with closing(_lines_of(self._process)) as lines:
                for line in lines:
                    number, sha256, *texts = json.loads(line)
                    if not (_SHA256.fullmatch(sha256) and all(isinstance(text, str | None) for text in texts)):
                        raise ValueError(f"no digest: {line!r}")
                    self._futures[names[number]].set_result(Digest(sha256, *texts))
        except Exception as error:  # there can be no process, or its answer is none
            log.debug("No process for the sha256: %r", error)
        self._in_threads()


def _start(body: Callable[..., None], *arguments: object) -> bool:
    """Begin a thread, and tell whether there could be one."""
    try:
        # Not an executor, whose threads a program waits for when it is interrupted.
        threading.Thread(target=body, args=arguments, daemon=True).start()
    except RuntimeError:
        return False
    return True


def _lines_of(process: subprocess.Popen[bytes]) -> Generator[bytes, None, None]:
    """Yield the lines of a process until it ends, falls silent or is left; then end it.

    Raises:
        ValueError: A line has no end.
    """
    assert process.stdin is not None and process.stdout is not None
    source, rest = process.stdout.fileno(), b""
    try:
        while connection.wait([source], SILENCE) and (more := os.read(source, LONGEST)):
            *lines, rest = (rest + more).split(b"\n")
            yield from filter(None, lines)  # an empty one is a sign of life
            if len(rest) > LONGEST:
                raise ValueError("a line without an end")
    finally:
        process.kill()  # if it did not end by itself
        process.stdin.close()
        process.stdout.close()
        with suppress(subprocess.TimeoutExpired):  # a disk that answers no more keeps even a killed process
            process.wait(1)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
