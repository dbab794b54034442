"""Stand-in: which measured commits a figure of a commit may come from: itself, and those whose package is the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.releases import commit_of
from benchmarks.support.git import GitFailed, git

# What decides what asv builds of a commit: these as they are, and whether those that setup.py reads are there.
PACKAGE = ("virnucpro", "setup.py", "setup.cfg", "pyproject.toml", "MANIFEST.in")
READ = ("README.md", "LICENSE")


@dataclass(frozen=True)
class Asked:
    """A revision, the commit that it is, and the measured commits that stand for it, the latest measured first."""

    revision: str
    commit: str
    measured: tuple[str, ...]
    between: int  # commits from the first of these to it, none of which leaves the package other than it was

    def __str__(self) -> str:
        if self.commit in self.measured:
            return f"{self.revision} ({self.commit[:8]}) was measured itself."
        commits, one = f"{self.between} commit{'s' * (self.between != 1)}", self.measured[0][:8]
        return (
            f"{self.revision} ({self.commit[:8]}) was not measured itself; {one} was, whose virnucpro/ and setup.py "
            f"are the same. {commits} between."
        )


def package_of(repo: Path, commit: str) -> tuple[str, ...]:
    """git's names for what asv builds of a commit. Raises GitFailed: no such commit, or it has no package."""
    found = {}
    for line in git(repo, "ls-tree", commit, "--", *PACKAGE, *READ).splitlines():
        facts, name = line.split("\t", 1)
        found[name] = facts.split()[2]
    if "virnucpro" not in found or "setup.py" not in found:
        raise GitFailed(f"Commit {commit[:8]} has no virnucpro/ or no setup.py.")
    return (*(found.get(name, "") for name in PACKAGE), *(str(name in found) for name in READ))


def find(repo: Path, revision: str, measured: Iterable[str]) -> Asked | None:
    """
    Args:
        measured: Full hashes of the commits that are measured, the latest first.
    Returns:
        None: neither it nor one with the same package is among them.
    Raises:
        benchmarks.support.git.GitFailed, benchmarks.releases.BadRelease: There is no such revision, or a release's
            name is given to another.
    """
    commit = commit_of(repo, revision)
    measured = list(dict.fromkeys(measured))
    try:
        wanted = package_of(repo, commit)
    except GitFailed:
        wanted = None  # which no other has, either
    same = [each for each in measured if each == commit or (wanted and _package_or_none(repo, each) == wanted)]
    if not same:
        return None
    between = 0 if commit in same else int(git(repo, "rev-list", "--count", f"{commit}...{same[0]}"))
    return Asked(revision, commit, tuple(same), between)


def _package_or_none(repo: Path, commit: str) -> tuple[str, ...] | None:
    try:
        return package_of(repo, commit)
    except GitFailed:
        return None  # a commit that this clone does not have


def missing(repo: Path, revision: str, measured: Iterable[str]) -> str:
    """Why there is no figure of a revision: what is nearest, and what lies between."""
    commit, measured = commit_of(repo, revision), set(measured)
    for each in git(repo, "rev-list", "--first-parent", commit).split():
        if each in measured:
            changes = git(repo, "rev-list", "--count", f"{each}..{commit}", "--", *PACKAGE)
            return f"the nearest that was is {each[:8]}, and {changes} commits since then change the package"
    return "nor was any commit before it"
