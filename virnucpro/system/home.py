"""Home: the user's own folder, which a container or a batch system may not give."""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from virnucpro.errors import BadRequest

log = logging.getLogger(__name__)
TRITON_CACHE = "TRITON_CACHE_DIR"


def home() -> Path | None:
    """The user's folder; None where neither HOME nor the list of users names one."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def cache_folder() -> Path | None:
    """The user's folder for what can be made again; None where neither XDG_CACHE_HOME nor a home names one."""
    named, own = os.environ.get("XDG_CACHE_HOME", ""), home()
    if os.path.isabs(named):
        return Path(named)
    return own / ".cache" if own is not None and own.is_absolute() else None


def is_private(folder: Path) -> bool:
    """Make a folder, if it is missing, and see that nobody else can write there, or put another in its place.

    Raises:
        OSError: It cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status, above = folder.lstat(), folder.parent.stat()
    group = 0 if above.st_gid == os.getegid() else stat.S_IWGRP  # one's own, where the umask trusts it
    safe = not above.st_mode & (group | stat.S_IWOTH) or above.st_mode & stat.S_ISVTX
    ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022
    return bool(ours and safe and above.st_uid in (0, os.geteuid()))


def expanded(path: str) -> str:
    """A path whose leading ``~`` stands for a home, as a shell writes it out; it leaves that of ``--option=~/x``.

    Raises:
        BadRequest: There is no home.
    """
    whole = os.path.expanduser(path)
    if whole.split("/")[0] == "~":
        raise BadRequest(f"{path}: no home directory is known for ~. Write the path in full, or set HOME.")
    return whole


def give_triton_a_cache() -> None:
    """Name a folder for Triton's kernels where the home is missing or cannot be written.

    Without a home Triton would make a folder named ``~`` in the work directory, and without a folder it makes no
    kernels, which costs a quarter of the speed. What lies there is run, so it must be this user's alone.
    """
    own = home()
    if os.environ.keys() & {TRITON_CACHE, "TRITON_HOME"} or (own is not None and _may_write(own / ".triton/cache")):
        return
    with suppress(OSError):  # then there are no kernels, and the log says so
        folder = Path(tempfile.gettempdir()) / f"virnucpro-triton-{os.getuid()}"
        if is_private(folder):
            os.environ[TRITON_CACHE] = str(folder)
            log.debug("No home that can be written: compiled kernels are kept in %s.", folder)


def _may_write(folder: Path) -> bool:
    """Whether a folder can be written, or made."""
    there = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
