"""Hashing: a file's sha256, and what else its bytes say of it; also a program of its own.

    python -I -S hashing.py REQUESTS > answers

In a process of its own it shares no interpreter lock with a parent that imports torch. It knows the standard library
alone, so it starts at once. See `fingerprint`, which starts it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import select
import stat
import struct
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Sequence
from typing import IO, NamedTuple

Progress = Callable[[int, "int | None"], None]  # bytes that are done, and in all if that is known
BLOCK = 2**22  # bytes
SETTLED = 10.0  # s that a file must not have changed for, so that its next change is seen by its times
THREADS = 4  # of the program
BEAT = 1.0  # s between the signs of life that the program gives


class Digest(NamedTuple):
    """What was read of a file."""

    sha256: str
    damage: str | None  # what the file itself says is wrong with it, in words
    identity: str | None  # what `identity_of` gave; None where it would not tell a later change


def digest_of(
    path: str | bytes | os.PathLike[str], known: Sequence[str] = (), progress: Progress | None = None
) -> Digest:
    """Read a file to its end.

    Args:
        known: Each a sha256 that the file may well have; with any other, its own checksums are looked at, too.
    Raises:
        OSError: It cannot be read, or is no regular file: a pipe might be waited for without end.
    """
    begun = time.time()
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", os.fsdecode(path))
        before = identity_of(file)
        try:
            sha256 = sha256_of(file, progress)
            damage = None if sha256 in known else damage_of(file)
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fsdecode(path)) from error  # which of reading names no file
        settled = before is not None and is_settled(file, begun) and identity_of(file) == before
    return Digest(sha256, damage, before if settled else None)


def sha256_of(file: IO[bytes], progress: Progress | None = None) -> str:
    """The sha256 of the rest of an open file, as hexadecimal text."""
    digest, total = hashlib.sha256(), os.fstat(file.fileno()).st_size
    while block := file.read(BLOCK):
        digest.update(block)
        if progress is not None:
            progress(file.tell(), total)
    return digest.hexdigest()


def identity_of(file: IO[bytes]) -> str | None:
    """Text that no other content of this machine's files has had since it was booted, as git tells them apart.

    An open file is asked, for a network file system may answer for a path from what it remembers. None where the
    machine has no name for the time since it was booted, after which devices are numbered anew.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as source:
            boot = source.read().strip()
    except (OSError, ValueError):
        return None
    status = os.fstat(file.fileno())
    return f"{boot} {status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def is_settled(file: IO[bytes], moment: float) -> bool:
    """Whether a file was last changed so long before `moment` that a later change must have other times.

    Times of files are coarse (2 s at the worst), and a server's clock may differ from ours.
    """
    status = os.fstat(file.fileno())
    return max(status.st_mtime, status.st_ctime) < moment - SETTLED


def damage_of(file: IO[bytes]) -> str | None:
    """What is wrong with a file by the checksums of its own that a zip file has, and so what `torch.save` writes.

    Other files have none. Parts whose checksum is 0 are passed over: `torch.save` can be told to compute none.
    Bytes that follow the end are no damage: no part has them.
    """
    file.seek(0)
    if file.read(4) != b"PK\x03\x04":
        return None
    try:
        with zipfile.ZipFile(file) as archive:
            for part in archive.infolist():
                if part.CRC and part.compress_type == zipfile.ZIP_STORED:
                    with archive.open(part) as content:
                        while content.read(BLOCK):  # at its end the checksum is compared
                            pass
    except (zipfile.BadZipFile, EOFError, ValueError, RuntimeError, struct.error, OverflowError) as error:
        return " ".join(str(error).split())[:200].rstrip(".") or "it ends early"
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return "its list of parts leads out of it"  # to a place before its begin
    return None


def main() -> None:
    """Answer the requests of the argument, a JSON list of (path in latin-1, list of known sha256).

    An answer is a line, a JSON list: number of the request, and the `Digest`. What cannot be read has no answer. Empty
    lines say that the program lives. It ends when there is no more to answer, or with its standard input.
    """
    from concurrent.futures import ThreadPoolExecutor  # needed here alone

    def beat() -> None:
        try:
            while not select.select([0], [], [], BEAT)[0]:
                os.write(1, b"\n")
        finally:
            os._exit(1)  # the parent is gone, or wants no more

    def answer(number: int, path: str, known: Sequence[str]) -> None:
        line = json.dumps([number, *digest_of(path.encode("latin-1"), known)])
        os.write(1, f"{line}\n".encode())  # one call: lines of threads do not mix

    threading.Thread(target=beat, daemon=True).start()
    with ThreadPoolExecutor(THREADS) as pool:
        for number, (path, known) in enumerate(json.loads(sys.argv[1])):
            pool.submit(answer, number, path, known)
    os._exit(0)  # the other thread is still at work


if __name__ == "__main__":
    main()
