"""Stand-in: which measured commits a figure of a commit may come from: itself, and those whose package is the same."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.releases import commit_of
from benchmarks.support.git import GitFailed, git

# What lies at the root and decides nothing about what asv builds of a commit. All else does: a setup.cfg, a build/ that
# setuptools takes for its own, a .gitattributes; of what setup.py reads, that it is there and can be read.
ASIDE = (
    ".ci", ".gitignore", "CHANGELOG.md", "CITATION.cff", "Makefile", "asv.conf.json", "benchmarks", "docs", "results",
    "tests",
)  # fmt: skip
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
    for line in git(repo, "ls-tree", "-z", commit).split("\0"):
        facts, _, name = line.partition("\t")
        found[name] = facts
    if "virnucpro" not in found or "setup.py" not in found:
        raise GitFailed(f"Commit {commit[:8]} has no virnucpro/ or no setup.py.")
    for name in READ:
        file = re.match("100(644|755) blob", found.get(name, ""))  # no folder, no link to somewhere else
        readable = file and "\N{REPLACEMENT CHARACTER}" not in git(repo, "show", f"{commit}:{name}")
        found[name] = str(bool(readable))
    return tuple(f"{found[name]} {name}" for name in sorted({*found} - {*ASIDE}))


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


def before(repo: Path, revision: str, measured: Iterable[str]) -> str | None:
    """Of the measured commits the nearest before a revision; None if there is none."""
    measured = set(measured)
    history = git(repo, "rev-list", "--first-parent", commit_of(repo, revision)).split()
    return next((each for each in history if each in measured), None)


def missing(repo: Path, revision: str, measured: Iterable[str]) -> str:
    """Why there is no figure of a revision: what is nearest, and what lies between."""
    commit = commit_of(repo, revision)
    if (each := before(repo, revision, measured)) is None:
        return "nor was any commit before it"
    aside = (f":(exclude){name}" for name in (*ASIDE, *READ))
    changes = git(repo, "rev-list", "--count", f"{each}..{commit}", "--", ".", *aside)
    return f"the nearest that was is {each[:8]}, and the package changed in {changes} of the commits since then"
