"""Releases: which commits they are, and their tags in this clone.

    python -m benchmarks.releases

makes the tags of releases.toml that are missing. A tag that exists is never moved, and unless all is well no tag is
made: neither a tag nor a branch may call another commit by a release's name, and each release has to be a commit of
HEAD's history that has that version.

Exit codes: 0 all tags are there; 1 the table or a commit is not right; 2 bad request (an unknown option, no git, not a
git repository, no TOML reader); 3 something here calls another commit by a release's name.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from benchmarks.support.git import DEEPEN, GitFailed, NoGit, git, holds, is_shallow, version_at
from benchmarks.support.output import outlive_readers

ROOT = Path(__file__).parent.parent
TABLE = Path("benchmarks/releases.toml")


class BadRelease(Exception):
    """The table, a commit or a tag is not what it has to be; one sentence."""


class OtherCommit(BadRelease):
    """Something in this clone calls another commit by a release's name."""


@dataclass(frozen=True)
class Release:
    """A row of releases.toml."""

    tag: str
    version: str
    commit: str
    architecture: str
    precision: str
    packing: str


def read_releases(repo: Path = ROOT) -> list[Release]:
    """The rows of the repository's releases.toml, oldest release first.

    Raises:
        BadRelease: The file is missing or malformed.
        NoGit: Python 3.10 without tomli.
    """
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        try:
            import tomli as tomllib
        except ModuleNotFoundError:
            raise NoGit("Python 3.10 reads no TOML by itself; run `pip install tomli`.") from None
    try:
        rows = tomllib.loads((repo / TABLE).read_text(encoding="utf-8"))["release"]
        releases = [Release(**row) for row in rows]
        if not all(isinstance(value, str) and value.isprintable() for row in rows for value in row.values()):
            raise ValueError("a value is no line of text")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        wanted = ", ".join(field.name for field in fields(Release))
        raise BadRelease(f"{TABLE} ({error}): each [[release]] has {wanted}.") from error
    for release in releases:
        if not re.fullmatch("[0-9a-f]{40}", str(release.commit)):
            raise BadRelease(f"{TABLE}: {release.tag} is {release.commit!r}; write all 40 hex digits of its commit.")
    return releases


def check_committed(repo: Path) -> None:
    """
    Raises:
        BadRelease: The table is not as HEAD has it: what it says would be nobody's word.
    """
    changes = git(repo, "status", "--porcelain", "--", str(TABLE))
    if changes and not changes.startswith("??"):  # never committed: a history that has no table
        raise BadRelease(f"{TABLE} has changes that are not committed: commit or restore it.")


def commit_of(repo: Path, revision: str) -> str:
    """The full hash of a revision; of a release that of the table, whether this clone has its tag or not.

    Raises:
        GitFailed: This clone has no such revision; says how to get it.
        BadRelease: The table is not right, or the tag is not where it says.
    """
    releases = read_releases(repo) if (repo / TABLE).exists() else []
    for release in releases:
        _is_tagged(repo, release)  # whatever is asked for: "v2.0^0" is as good a name
    release = next((release for release in releases if release.tag == revision), None)
    if release is not None and holds(repo, "cat-file", "-e", f"{release.commit}^{{commit}}"):
        _check_version(repo, release)
    name = revision if release is None else release.commit
    try:
        return git(repo, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    except GitFailed:
        cure = DEEPEN if is_shallow(repo) else "check the name, or run `git fetch --tags`"
        raise GitFailed(f"This clone has no {revision}; {cure}.") from None


def release_of(repo: Path, commit: str) -> tuple[Release | None, str]:
    """The newest release that is the commit or one of its ancestors, and the commit in words: "v2.0", "v2.0+3"."""
    for release in reversed(read_releases(repo)):
        if holds(repo, "merge-base", "--is-ancestor", release.commit, commit):
            since = int(git(repo, "rev-list", "--count", f"{release.commit}..{commit}"))
            return release, f"{release.tag}+{since}" if since else release.tag
    return None, commit[:8]


def _check_commit(repo: Path, release: Release) -> None:
    name, commit = release.tag, release.commit
    if not holds(repo, "cat-file", "-e", f"{commit}^{{commit}}"):
        cure = DEEPEN if is_shallow(repo) else f"run `git fetch origin`, or correct {TABLE}"
        raise BadRelease(f"{name}: there is no commit {commit} in this clone; {cure}.")
    if not holds(repo, "merge-base", "--is-ancestor", commit, "HEAD"):
        cure = DEEPEN if is_shallow(repo) else f"check out a descendant of it, or correct {TABLE}"
        raise BadRelease(f"{name}: commit {commit} is no ancestor of HEAD; {cure}.")
    _check_version(repo, release)


def _check_version(repo: Path, release: Release) -> None:
    name, commit = release.tag, release.commit
    try:
        version = version_at(repo, commit)
    except GitFailed:
        version = None
    if version != release.version:
        raise BadRelease(f"{name}: commit {commit} has version {version}, not {release.version}; correct {TABLE}.")


def _is_tagged(repo: Path, release: Release) -> bool:
    """Whether the tag is there. Raises BadRelease if this clone calls another commit by the release's name, whether by
    a tag, a branch of its own or of a remote, or in a way that only `git rev-parse` knows."""
    tag, commit, tagged = release.tag, release.commit, False
    for name in git(repo, "for-each-ref", "--format=%(refname)").splitlines():
        if not re.fullmatch(rf"refs/(tags|heads|remotes/[^/]+)/{re.escape(tag)}", name):
            continue
        there = git(repo, "rev-parse", f"{name}^{{}}")  # of an annotated tag the commit
        if there != commit:
            kind, own = ("tag", f"git tag -d {tag}") if "/tags/" in name else ("branch", f"git update-ref -d {name}")
            raise OtherCommit(
                f"{tag}: the {kind} is at {there}, {TABLE} says {commit}, and no tag is moved. If the {kind} "
                f"is wrong, run `{own}` and this again; if the table is wrong, correct it."
            )
        tagged = tagged or name == f"refs/tags/{tag}"
    try:
        there = git(repo, "rev-parse", "--verify", "--quiet", f"{tag}^{{commit}}")
    except GitFailed:
        there = commit  # git knows nothing by that name
    if there != commit:
        raise OtherCommit(f"{tag}: git takes the name for {there}, {TABLE} says {commit}: see `git show-ref {tag}`.")
    return tagged


def tagged(repo: Path, tag: str) -> str:
    """The commit of a tag that this clone has; of a release's it has to be that of the table.

    Raises:
        GitFailed: There is no such tag; says how to get it. BadRelease: The name is given to another commit.
    """
    for release in read_releases(repo) if (repo / TABLE).exists() else []:
        if release.tag == tag:
            _is_tagged(repo, release)  # refuses what says otherwise
    try:
        return git(repo, "rev-parse", "--verify", "--quiet", f"refs/tags/{tag}^{{commit}}")
    except GitFailed:
        cure = DEEPEN if is_shallow(repo) else "`python -m benchmarks.releases` makes the releases' tags"
        raise GitFailed(f"This clone has no tag {tag}; {cure}.") from None


def make_tags(repo: Path = ROOT) -> list[str]:
    """Make the tags that are missing, all or none; a line for each release.

    Raises:
        BadRelease: A commit or a tag is not right. NoGit: see `git`.
    """
    releases = read_releases(repo)
    for release in releases:
        _check_commit(repo, release)
    missing = [release for release in releases if not _is_tagged(repo, release)]
    # one transaction, in which a tag that somebody made meanwhile is an error
    git(repo, "update-ref", "--stdin", stdin="".join(f"create refs/tags/{r.tag} {r.commit}\n" for r in missing))
    return [f"{r.tag} {r.commit} {'made' if r in missing else 'is there'}" for r in releases]


def main(argv: Sequence[str] | None = None, repo: Path = ROOT) -> int:
    """Make the tags; the exit codes are above."""
    parser = argparse.ArgumentParser(description="Make the tags of the releases that this clone lacks.")
    parser.parse_args(argv)
    try:
        print(*make_tags(repo), sep="\n")
    except (BadRelease, GitFailed) as error:
        print(error, file=sys.stderr)
        return 3 if isinstance(error, OtherCommit) else 1
    except NoGit as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    outlive_readers()
    sys.exit(main())
