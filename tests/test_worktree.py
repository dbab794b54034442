"""Worktrees of a release: never more than one, however their user ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import toy_suite

from benchmarks.support import worktree
from benchmarks.support.git import GitFailed, NoGit

ROOT = Path(__file__).parent.parent
USER = """
import sys
from pathlib import Path
from benchmarks.support import worktree
print(worktree.add(Path(sys.argv[2]), "v1.0", Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def repo(tmp_path):
    """A repository whose tag v1.0 is not its newest commit."""
    folder = tmp_path / "repo"
    toy_suite.git(tmp_path, "init", "--quiet", str(folder))
    for version in ("1.0.0", "2.0.0"):
        (folder / "version").write_text(version)
        toy_suite.git(folder, "add", "version")
        toy_suite.git(folder, "commit", "--quiet", "--message", version)
        if version == "1.0.0":
            toy_suite.git(folder, "tag", "v1.0")
    return folder


def worktrees(repo):
    """Folders that git has on record, the repository itself left out."""
    listed = toy_suite.git(repo, "worktree", "list", "--porcelain").splitlines()
    return [line.removeprefix("worktree ") for line in listed if line.startswith("worktree ")][1:]


def start(repo, base):
    """Another process that has a worktree."""
    user = subprocess.Popen(
        [sys.executable, "-c", USER, repo, base],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert user.stdout.readline().strip() == str(base / "v1.0")
    return user


def test_it_has_the_release_and_goes_again(repo, tmp_path):
    path = worktree.add(tmp_path / "base", "v1.0", repo)
    assert path == tmp_path / "base" / "v1.0"
    assert (path / "version").read_text() == "1.0.0"
    assert worktrees(repo) == [str(path)]
    worktree.remove(path, repo)
    assert worktrees(repo) == []
    assert not path.exists()
    assert (repo / "version").read_text() == "2.0.0"


def test_none_is_left_by_users_that_were_killed(repo, tmp_path):
    base = tmp_path / "base"
    for _ in range(3):
        user = start(repo, base)
        user.kill()
        user.communicate()
        assert user.returncode == -signal.SIGKILL
        assert worktrees(repo) == [str(base / "v1.0")]  # what it left, and not those before it
    (base / "v1.0" / "version").write_text("changed by a run")
    path = worktree.add(base, "v1.0", repo)
    assert (path / "version").read_text() == "1.0.0"
    worktree.remove(path, repo)
    assert worktrees(repo) == []


def test_one_user_at_a_time(repo, tmp_path):
    user = start(repo, tmp_path / "base")
    with pytest.raises(worktree.Busy, match="Another process uses"):
        worktree.add(tmp_path / "base", "v1.0", repo)
    assert (tmp_path / "base" / "v1.0" / "version").exists()  # still the other's
    user.communicate()
    worktree.remove(worktree.add(tmp_path / "base", "v1.0", repo), repo)


def test_one_of_another_repository_or_of_none(repo, tmp_path):
    """A folder that git knows nothing of, such as one whose repository is gone."""
    path = worktree.add(tmp_path / "base", "v1.0", repo)
    (path / ".git").write_text("gitdir: /nowhere\n")
    worktree.remove(path, repo)
    assert not path.exists()
    assert worktrees(repo) == []


def test_what_git_cannot_do(repo, tmp_path, monkeypatch):
    with pytest.raises(GitFailed, match=r"no tag v9\.0; `python -m benchmarks\.releases` makes"):
        worktree.add(tmp_path / "base", "v9.0", repo)
    with pytest.raises(NoGit, match="not a git repository"):
        worktree.add(tmp_path / "base", "v1.0", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        worktree.add(tmp_path / "file", "v1.0", repo)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoGit, match="git is not installed"):
        worktree.add(tmp_path / "base", "v1.0", repo)
