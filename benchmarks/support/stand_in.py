"""Stand-in: which measured commit a figure of a commit may come from: itself, or one whose package is the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.releases import GitFailed, commit_of, git

PACKAGE = ("virnucpro", "setup.py")  # what asv builds of a commit


@dataclass(frozen=True)
class Asked:
    """A revision, the commit that it is, and the measured commit that stands for it."""

    revision: str
    commit: str
    measured: str
    between: int  # commits from the measured one to it, none of which leaves the package other than it was

    def __str__(self) -> str:
        if self.commit == self.measured:
            return f"{self.revision} ({self.commit[:8]}) was measured itself."
        commits = f"{self.between} commit{'s' * (self.between != 1)}"
        return (
            f"{self.revision} ({self.commit[:8]}) was not measured itself; {self.measured[:8]} was, whose virnucpro/ "
            f"and setup.py are the same. {commits} between."
        )


def package_of(repo: Path, commit: str) -> tuple[str, ...]:
    """git's names for what asv builds of a commit. Raises GitFailed for a commit without a package."""
    return tuple(git(repo, "rev-parse", "--verify", f"{commit}:{name}") for name in PACKAGE)


def find(repo: Path, revision: str, measured: Iterable[str]) -> Asked | None:
    """
    Args:
        measured: Full hashes of the commits that are measured, the latest first.
    Returns:
        None: neither it nor one with the same package is among them.
    Raises:
        benchmarks.releases.GitFailed, BadRelease: There is no such revision, or a release's name is given to another.
    """
    commit, wanted = commit_of(repo, revision), None
    for each in (measured := list(measured)):
        if each == commit:
            return Asked(revision, commit, commit, 0)
    for each in measured:
        try:
            wanted = wanted or package_of(repo, commit)
            if package_of(repo, each) == wanted:
                return Asked(revision, commit, each, int(git(repo, "rev-list", "--count", f"{commit}...{each}")))
        except GitFailed:
            continue  # a commit that this clone does not have
    return None


def missing(repo: Path, revision: str, measured: Iterable[str]) -> str:
    """Why there is no figure of a revision: what is nearest, and what lies between."""
    commit, measured = commit_of(repo, revision), set(measured)
    for each in git(repo, "rev-list", "--first-parent", commit).split():
        if each in measured:
            changes = git(repo, "rev-list", "--count", f"{each}..{commit}", "--", *PACKAGE)
            return f"the nearest that was is {each[:8]}, and {changes} commits since then change the package"
    return "nor was any commit before it"
