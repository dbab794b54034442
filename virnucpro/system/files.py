"""Files that appear whole or not at all, and what they hold."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from virnucpro.system import hashing

log = logging.getLogger(__name__)
# What a file system says that cannot do what is asked of it: NFS, Lustre, FUSE, shared folders of a virtual machine.
UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.ENODEV, errno.ENOTTY)
_LONGEST, _TRIES = 112, 10  # bytes: eCryptfs takes 143 with the rest


def temporary_name(path: Path) -> Path:
    """Beside its final name, so that it can take it at once."""
    return path.with_name(f".{shortened(path.name)}.{os.getpid()}.tmp")


def shortened(name: str) -> str:
    """A name, or what stands for a long one in names that are made of it, which must not be too long themselves."""
    return name if len(os.fsencode(name)) <= _LONGEST else hashlib.sha256(os.fsencode(name)).hexdigest()[:32]


@contextmanager
def whole_path(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path` for a file that takes that name only when all is written.

    A device, a pipe or standard output (/dev/stdout) is not replaced: it gets all that was written, at the end.

    Args:
        path: Final name; its folder must exist.
        durable: Wait until the disk has it; not worth it for what every run makes again.
    Raises:
        IsADirectoryError: It is one.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not is_replaceable(path):
        with tempfile.TemporaryDirectory(prefix="virnucpro-") as folder:
            elsewhere = Path(folder, path.name)
            yield elsewhere
            with open(elsewhere, "rb") as written, open(path, "wb") as target:
                shutil.copyfileobj(written, target)
        return
    temporary = temporary_name(path)
    try:
        yield temporary
        if durable:
            with open(temporary, "rb+") as written:
                wait_for_disk(written)
        _take_name(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def wait_for_disk(file: IO[Any]) -> None:
    """Wait until the disk has what was written, as far as its file system can tell.

    Raises:
        OSError: The disk is full, or fails.
    """
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def reserve(path: Path, size: int) -> None:
    """Have the disk keep room for a file that is there to grow to so many bytes; what cannot do that says nothing.

    Raises:
        OSError: The disk is full.
    """
    try:
        with open(path, "rb+") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def _take_name(temporary: Path, path: Path) -> None:
    try:
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in (*UNSUPPORTED, errno.EEXIST) or not path.is_file():
            raise
        path.unlink()  # a file system that renames to a free name only
        os.rename(temporary, path)


def is_replaceable(path: Path) -> bool:
    """Whether another file may take its name: not that of a device, a pipe or a socket, nor of /dev/stdout, whatever
    that leads to."""
    if path.exists() and not path.is_file():
        return False
    folder = path.parent.resolve()
    return not (path.is_symlink() and (folder == Path("/dev") or folder.is_relative_to("/proc")))


@contextmanager
def whole_file(path: Path, mode: str = "w", durable: bool = True) -> Iterator[IO[Any]]:
    """Open a file that appears whole or not at all; see `whole_path`.

    Args:
        mode: ``"w"`` (UTF-8 text) or ``"wb"``.
    """
    # A name of a file may hold bytes that are no text.
    text: Any = {} if "b" in mode else {"encoding": "utf-8", "errors": "backslashreplace", "newline": "\n"}
    with whole_path(path, durable) as temporary, open(temporary, mode, **text) as file:
        yield file


def locked(path: Path, mode: str) -> IO[Any]:
    """Open a file for this process alone; the system lets go of it however this process ends.

    One that its last holder removed or renamed between our opening and locking it would lock nobody out, so it is
    opened again, some times: file systems in user space may number a file anew at each look. A file system without
    locks locks nothing.

    Raises:
        BlockingIOError: Another process has it. OSError: It cannot be opened.
    """
    for left in reversed(range(_TRIES)):
        file = open(path, mode)  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise
        except OSError as error:
            log.debug("No lock on %s: %s", path, error)
            return file
        if not left or (path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())):
            break
        file.close()
    return file


def unfinished(path: Path) -> Path:
    """What has arrived of a file that is being fetched."""
    return path.with_name(f".{path.name}.part")


def sha256_of(path: Path, progress: hashing.Progress | None = None) -> str:
    """The sha256 of a file's content, as hexadecimal text; `progress` is told the bytes done, and in all."""
    with open(path, "rb") as file:
        return hashing.sha256_of(file, progress)
