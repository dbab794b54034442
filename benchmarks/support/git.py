"""Git: its commands on a repository, the same whoever's configuration it is; and what can be wrong with them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

# What somebody's configuration may have otherwise, and what is read here would not be the same then.
PLAIN = ("-c", "color.ui=false", "-c", "core.quotePath=false", "-c", "log.showSignature=false")
OF_A_HOOK = {  # variables: `git rev-parse --local-env-vars`, and what is beside them
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_DIR", "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_NAMESPACE", "GIT_NO_REPLACE_OBJECTS", "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX", "GIT_QUARANTINE_PATH", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
}  # fmt: skip
DEEPEN = "this clone is shallow: run `git fetch --unshallow --tags`"


class NoGit(Exception):
    """git is not installed, or there is no repository; or TOML cannot be read. One sentence."""


class GitFailed(Exception):
    """A git command said no; the message is its own. `code`: its exit code, if it ended with one."""

    code: int | None = None


def surroundings() -> dict[str, str]:
    """An environment for git: its messages in English, the repository that -C names, though a hook of git's own has
    variables that name another, and every commit as it was made, though `git replace` or a graft would give another."""
    ours = {name: value for name, value in os.environ.items() if name not in OF_A_HOOK}
    return ours | {"LC_ALL": "C", "LANGUAGE": "", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_GRAFT_FILE": os.devnull}


def git(repo: Path, *arguments: str, stdin: str | None = None) -> str:
    """What a git command prints, stripped.

    Raises:
        NoGit: It cannot run here at all.
        GitFailed: Its exit code is not 0.
    """
    try:
        done = subprocess.run(
            ["git", "-C", str(repo), *PLAIN, *arguments], input=stdin, capture_output=True, env=surroundings(),
            encoding="utf-8", errors="replace",
        )  # fmt: skip
    except OSError as error:
        raise NoGit(f"git is not installed, or cannot be run ({error.strerror}); install it.") from None
    if done.returncode:
        said = done.stderr.strip() or f"git {arguments[0]} ended with {done.returncode}"
        if re.search("not a git repository|dubious ownership", said):
            raise NoGit(said)
        failed = GitFailed(said)
        failed.code = done.returncode
        raise failed
    return done.stdout.strip()


def holds(repo: Path, *arguments: str) -> bool:
    """Whether a git command that answers by its exit code says yes."""
    try:
        git(repo, *arguments)
    except GitFailed:
        return False
    return True


def mentions(repo: Path, words: str, commit: str, where: str) -> bool:
    """Whether a file, or one in a folder, has these words as of a commit.

    Raises:
        GitFailed: git does not say. That is no "no", by which a condition would not be asked for.
    """
    try:
        git(repo, "grep", "--quiet", "--fixed-strings", "-e", words, commit, "--", where)
    except GitFailed as error:
        if error.code == 1:
            return False
        raise
    return True


def version_at(repo: Path, commit: str) -> str | None:
    """The version of the package as of a commit; None if it has none. Before `_version.py`, `__init__.py` had it.

    Raises:
        GitFailed: There is no such commit.
    """
    git(repo, "cat-file", "-e", f"{commit}^{{commit}}")
    for name in ("_version.py", "__init__.py"):
        where = f"{commit}:virnucpro/{name}"
        text = git(repo, "show", where) if holds(repo, "cat-file", "-e", where) else ""
        if found := re.search(r"""^__version__ = ["'](.+)["']""", text, re.MULTILINE):
            return found[1]
    return None


def is_shallow(repo: Path) -> bool:
    return git(repo, "rev-parse", "--is-shallow-repository") == "true"
