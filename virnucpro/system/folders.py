"""Folders: whether one is empty, how long the names in it may be, and how it goes."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from virnucpro.errors import BadRequest

log = logging.getLogger(__name__)
PAUSES = (0.1, 0.3, 1.0)  # seconds, before another try
# What removing meets on NFS, which keeps a file that is open as .nfs and a number until it is closed.
_IN_USE = (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.ENOENT, errno.ESTALE)
_NAME_MAX, _PATH_MAX = 255, 4096  # bytes, where the file system does not say
_WITHIN = 64  # bytes for the names of files in a folder of a run


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but empty folders; no other thing is empty."""
    return folder.is_dir() and all(not entry.is_symlink() and is_empty(entry) for entry in folder.iterdir())


def remove(folder: Path) -> None:
    """Remove a folder and all in it (of a link to one, only that); where some of it is in use, try again shortly.

    Files that stay in use on NFS stay, and the log says so; they go when they are closed.

    Raises:
        OSError: Something else cannot be removed.
    """
    for pause in (*PAUSES, None):
        try:
            _remove(folder)
            return
        except OSError as error:
            if error.errno not in _IN_USE:
                raise
            if pause is not None:
                time.sleep(pause)
            elif folder.exists() and not all(path.name.startswith(".nfs") for path in folder.iterdir()):
                raise
    log.warning("%s stays until other processes close what they have open of it.", folder)


def _remove(folder: Path) -> None:
    for path in folder.iterdir() if folder.is_symlink() else filter(os.path.lexists, (folder,)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def check_work_directory() -> None:
    """See that the work directory was not removed: libraries end the program where it was.

    Raises:
        BadRequest: It was.
    """
    try:
        os.getcwd()
    except OSError as error:
        raise BadRequest("The work directory is not there any more. Change to one that is (cd).") from error


def check_lengths(paths: Iterable[Path], advice: str) -> None:
    """See that names are not too long for where they are to be; file systems count bytes.

    Raises:
        BadRequest: One is.
    """
    for path in paths:
        for name, folder in zip(path.parts[::-1], path.parents, strict=False):
            size, most = len(os.fsencode(name)), _limit(folder, "PC_NAME_MAX", _NAME_MAX)
            if size > most:
                raise BadRequest(f"The name {name} is too long: {size} bytes, and {folder} allows {most}. {advice}")
        size, most = len(os.fsencode(path)) + _WITHIN, _limit(path.parent, "PC_PATH_MAX", _PATH_MAX)
        if size >= most:
            raise BadRequest(f"The path {path} is too long: with what it is to hold, more than {most} bytes. {advice}")


def _limit(folder: Path, kind: str, usual: int) -> int:
    """What the file system of a folder, or of the first one above it that exists, allows in bytes."""
    place = next(place for place in (folder, *folder.absolute().parents) if os.path.exists(place))
    with suppress(OSError, ValueError):
        if (most := os.pathconf(place, kind)) > 0:
            return most
    return usual
