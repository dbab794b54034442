"""Worktree: the code of a release beside the one under test, for as long as it is needed; of a tag there is never more
than one in a folder, however its user ended."""

from __future__ import annotations

import fcntl
import shutil
from contextlib import suppress
from pathlib import Path
from typing import IO

from benchmarks.releases import ROOT, tagged
from benchmarks.support.git import GitFailed, git

_locks: dict[Path, IO] = {}


class Busy(Exception):
    """Another process uses the worktree; one sentence."""


def add(base: Path, tag: str, repo: Path = ROOT, name: str = "") -> Path:
    """Check out the release `tag` at base/tag, or base/name; what an earlier user left there, killed perhaps, goes
    first.

    Raises:
        Busy: Another process uses it. GitFailed: There is no such tag, or no worktree can be made.
        BadRelease: The release's name is given to another commit. NoGit: No git, or no repository.
    """
    commit = tagged(repo, tag)
    base.mkdir(parents=True, exist_ok=True)
    path = base.resolve() / (name or tag)
    # The system lets go of the lock when its holder ends, in whatever way.
    lock = open(base / f".{path.name}.lock", "w")  # noqa: SIM115
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise Busy(f"Another process uses {path}. Wait for it, or choose another folder.") from None
    _locks[path] = lock
    try:
        _clear(path, repo)
        git(repo, "worktree", "add", "--quiet", "--detach", str(path), commit)
    except BaseException:
        remove(path, repo)
        raise
    return path


def remove(path: Path, repo: Path = ROOT) -> None:
    """Remove a worktree that `add` made, and git's record of it."""
    _clear(path, repo)
    if (lock := _locks.pop(path, None)) is not None:
        lock.close()


def _clear(path: Path, repo: Path) -> None:
    with suppress(GitFailed):  # none of this repository's
        git(repo, "worktree", "remove", "--force", "--force", str(path))
    shutil.rmtree(path, ignore_errors=True)
    git(repo, "worktree", "prune")
