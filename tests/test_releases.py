"""The releases' tags: made where they are missing, never moved, and only on commits that are those releases."""

from __future__ import annotations

import shutil
from dataclasses import fields
from pathlib import Path

import pytest
from toy_suite import git

from benchmarks.releases import ROOT, BadRelease, Release, commit_of, main, read_releases, release_of, tagged
from benchmarks.support.git import GitFailed, NoGit
from benchmarks.support.git import git as git_of_releases


def commit(repo: Path, version: str) -> str:
    (repo / "virnucpro").mkdir(exist_ok=True)
    (repo / "virnucpro" / "__init__.py").write_text(f'"""A package."""\n\n__version__ = "{version}"\n')
    git(repo, "add", "virnucpro")
    git(repo, "commit", "--quiet", "--allow-empty", "--message", version)
    return git(repo, "rev-parse", "HEAD")


def write_table(repo: Path, *rows: tuple[str, str, str]) -> None:
    (repo / "benchmarks").mkdir(exist_ok=True)
    words = 'architecture = "a"\nprecision = "p"\npacking = "k"\n'
    text = [f'[[release]]\ntag = "{tag}"\nversion = "{version}"\ncommit = "{at}"\n{words}' for tag, version, at in rows]
    (repo / "benchmarks" / "releases.toml").write_text("\n".join(text))


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """1.0.0, a commit, 2.0.0, a commit; without tags."""
    repo = tmp_path / "repo"
    repo.mkdir()
    git(repo, "init", "--quiet", "--initial-branch=main")
    _, first, _, second, _ = (commit(repo, version) for version in ("0.9", "1.0.0", "1.0.0", "2.0.0", "2.0.0"))
    write_table(repo, ("v1.0", "1.0.0", first), ("v2.0", "2.0.0", second))
    return repo


@pytest.fixture
def run(repo: Path, capsys: pytest.CaptureFixture):
    def run(where: Path = repo) -> tuple[int, str, str]:
        code = main([], where)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_missing_tags_are_made_and_then_left_alone(repo, run):
    first, second = (release.commit for release in read_releases(repo))
    assert run() == (0, f"v1.0 {first} made\nv2.0 {second} made\n", "")
    assert run() == (0, f"v1.0 {first} is there\nv2.0 {second} is there\n", "")
    assert git(repo, "rev-parse", "v1.0", "v2.0") == f"{first}\n{second}"


def test_an_annotated_tag_is_the_commit_that_it_is_of(repo, run):
    first, second = (release.commit for release in read_releases(repo))
    git(repo, "tag", "--annotate", "--message", "one", "v1.0", first)
    assert run() == (0, f"v1.0 {first} is there\nv2.0 {second} made\n", "")


def test_a_tag_elsewhere_is_not_moved_and_no_other_is_made(repo, run):
    _, second = (release.commit for release in read_releases(repo))
    head = git(repo, "rev-parse", "HEAD")
    git(repo, "tag", "v2.0", "HEAD")
    assert run() == (
        3,
        "",
        f"v2.0: the tag is at {head}, benchmarks/releases.toml says {second}, and no tag is moved. If the tag is "
        "wrong, run `git tag -d v2.0` and this again; if the table is wrong, correct it.\n",
    )
    assert git(repo, "tag") == "v2.0"
    assert git(repo, "rev-parse", "v2.0") == head


@pytest.mark.parametrize("name, kind, cure", [
    ("refs/heads/v1.0", "branch", "git update-ref -d refs/heads/v1.0"),
    ("refs/remotes/origin/v1.0", "branch", "git update-ref -d refs/remotes/origin/v1.0"),
    ("refs/tags/v1.0", "tag", "git tag -d v1.0"),
])  # fmt: skip
def test_whatever_calls_another_commit_by_a_releases_name_is_refused(repo, run, name, kind, cure):
    head, first = git(repo, "rev-parse", "HEAD"), read_releases(repo)[0].commit
    git(repo, "update-ref", name, head)
    said = f"v1.0: the {kind} is at {head}, benchmarks/releases.toml says {first}, and no tag is moved. If the {kind} "
    code, out, err = run()
    assert (code, out) == (3, "") and err.startswith(said) and cure in err
    with pytest.raises(BadRelease, match=f"v1.0: the {kind} is at {head}"):
        commit_of(repo, "v1.0")
    with pytest.raises(BadRelease, match=f"v1.0: the {kind} is at {head}"):
        tagged(repo, "v1.0")


@pytest.mark.parametrize("name", [
    "refs/heads/v1.0/fix", "refs/heads/backport/v1.0", "refs/remotes/origin/backport/v1.0", "refs/tags/v1.0/rc1",
])  # fmt: skip
def test_a_name_that_is_longer_is_another(repo, run, name):
    git(repo, "update-ref", name, git(repo, "rev-parse", "HEAD"))
    assert commit_of(repo, "v1.0") == read_releases(repo)[0].commit
    assert run()[0] == (1 if name.endswith("rc1") else 0)  # git has no v1.0 beside v1.0/rc1


def test_a_tag_of_a_tag_is_that_commit(repo, run):
    first = read_releases(repo)[0].commit
    git(repo, "tag", "--annotate", "--message", "one", "inner", first)
    git(repo, "tag", "--annotate", "--message", "two", "v1.0", "inner")
    assert run()[0] == 0 and commit_of(repo, "v1.0") == first


@pytest.mark.parametrize("name", ["refs/heads/v1.0", "refs/remotes/origin/v1.0"])
def test_a_branch_at_the_release_itself_is_fine(repo, run, name):
    git(repo, "update-ref", name, read_releases(repo)[0].commit)
    assert run()[0] == 0


def test_a_name_that_only_git_itself_knows_is_refused(repo, run):
    (repo / ".git" / "v1.0").write_text(git(repo, "rev-parse", "HEAD") + "\n")
    code, _, err = run()
    assert code == 3 and "v1.0: git takes the name for" in err


def test_a_commit_that_stands_in_for_another_is_not_looked_at(repo, run):
    """`git replace` gives a commit's name to another commit's contents, in this clone only."""
    first = read_releases(repo)[0].commit
    git(repo, "replace", first, git(repo, "rev-parse", "HEAD"))
    assert run()[0] == 0  # whose version is 2.0.0
    assert git_of_releases(repo, "show", f"{first}:virnucpro/__init__.py").endswith('"1.0.0"')


def test_a_commit_of_another_version_is_no_release(repo, run):
    head, second = git(repo, "rev-parse", "HEAD"), read_releases(repo)[1].commit
    write_table(repo, ("v1.0", "1.0.0", head), ("v2.0", "2.0.0", second))
    with pytest.raises(BadRelease, match=f"v1.0: commit {head} has version 2.0.0, not 1.0.0"):
        commit_of(repo, "v1.0")


def test_a_shallow_clone_is_told_to_deepen(repo, run, tmp_path):
    first = read_releases(repo)[0].commit
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--depth", "1", repo.as_uri(), str(clone))
    shutil.copytree(repo / "benchmarks", clone / "benchmarks")
    message = (
        f"v1.0: there is no commit {first} in this clone; this clone is shallow: run `git fetch --unshallow --tags`.\n"
    )
    assert run(clone) == (1, "", message)
    git(clone, "fetch", "--quiet", "--unshallow", "--tags")
    assert run(clone)[0] == 0


def test_a_commit_that_is_nowhere(repo, run):
    write_table(repo, ("v1.0", "1.0.0", "0" * 39 + "1"))
    missing = f"v1.0: there is no commit {'0' * 39}1 in this clone; "
    assert run() == (1, "", missing + "run `git fetch origin`, or correct benchmarks/releases.toml.\n")


def test_a_commit_beside_the_history_of_head(repo, run):
    git(repo, "checkout", "--quiet", "-b", "side", "HEAD~1")
    beside = commit(repo, "3.0.0")
    git(repo, "checkout", "--quiet", "main")
    write_table(repo, ("v3.0", "3.0.0", beside))
    wanted = f"v3.0: commit {beside} is no ancestor of HEAD; "
    assert run() == (1, "", wanted + "check out a descendant of it, or correct benchmarks/releases.toml.\n")


def test_a_commit_of_another_version_makes_no_tag_at_all(repo, run):
    first, second = (release.commit for release in read_releases(repo))
    write_table(repo, ("v1.0", "1.0.0", first), ("v2.0", "2.0.1", second))
    wanted = f"v2.0: commit {second} has version 2.0.0, not 2.0.1; correct benchmarks/releases.toml.\n"
    assert run() == (1, "", wanted)
    assert git(repo, "tag") == ""


@pytest.mark.parametrize("hash_", ["5784fb67", "V1", "5784FB672075D4B5C3FAFE58C57878226A120166"])
def test_only_a_full_hash_is_one(repo, run, hash_):
    write_table(repo, ("v1.0", "1.0.0", hash_))
    wanted = f"benchmarks/releases.toml: v1.0 is '{hash_}'; write all 40 hex digits of its commit.\n"
    assert run() == (1, "", wanted)


@pytest.mark.parametrize(
    "text",
    [
        "[[release]", '[[release]]\ntag = "v1.0"\n', '[[release]]\ncolour = "red"\n', "", None, "release = 1\n",
        f"release = {'[' * 100_000}", "[[release]]\n" + "".join(f"{each.name} = 1.0\n" for each in fields(Release)),
    ],
    ids=["cut off", "a tag alone", "a colour", "nothing", "no file", "a number", "brackets", "numbers"],
)  # fmt: skip
def test_a_table_that_is_none(repo, run, text):
    table = repo / "benchmarks" / "releases.toml"
    table.unlink() if text is None else table.write_text(text)
    code, out, err = run()
    assert (code, out) == (1, "")
    assert err.startswith("benchmarks/releases.toml (")
    assert err.endswith("): each [[release]] has tag, version, commit, architecture, precision, packing.\n")


def test_a_folder_that_is_no_repository_is_a_bad_request(tmp_path, run, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    write_table(tmp_path, ("v1.0", "1.0.0", "1" * 40))
    code, _, err = run(tmp_path)
    assert code == 2
    assert "not a git repository" in err


def test_git_may_speak_another_language_and_work_for_a_hook(tmp_path, repo, run, monkeypatch):
    """Its variables name another repository then, and its configuration is somebody's."""
    other = tmp_path / "other"
    git(tmp_path, "init", "--quiet", str(other))
    (tmp_path / "empty").mkdir()
    (tmp_path / "gitconfig").write_text("[color]\nui = always\n[core]\npager = false\n[log]\nshowSignature = true\n")
    for name, value in (
        ("GIT_DIR", other / ".git"), ("GIT_WORK_TREE", other), ("GIT_INDEX_FILE", other / ".git" / "index"),
        ("GIT_CONFIG_GLOBAL", tmp_path / "gitconfig"), ("GIT_CEILING_DIRECTORIES", tmp_path), ("LANGUAGE", "de"),
    ):  # fmt: skip
        monkeypatch.setenv(name, str(value))
    first, second = (release.commit for release in read_releases(repo))
    assert run() == (0, f"v1.0 {first} made\nv2.0 {second} made\n", "")
    write_table(tmp_path / "empty", ("v1.0", "1.0.0", first))
    code, _, err = run(tmp_path / "empty")
    assert code == 2
    assert "not a git repository" in err


def test_unknown_options_are_a_bad_request(repo):
    with pytest.raises(SystemExit, match="2"):
        main(["--force"], repo)


def test_a_commit_is_named_after_the_newest_release_before_it(repo):
    names = [release_of(repo, commit_of(repo, f"HEAD~{back}"))[1] for back in range(5)]
    assert names == ["v2.0+1", "v2.0", "v1.0+1", "v1.0", commit_of(repo, "HEAD~4")[:8]]


def test_this_repository_has_its_releases():
    assert [(release.tag, release.version, release.commit[:8]) for release in read_releases()] == [
        ("v1.0", "1.0.0", "5784fb67"),
        ("v2.0", "2.0.0", "bdefdd95"),
        ("v2.1", "2.1.0", "90a3205e"),
    ]


def test_this_clone_calls_no_other_commit_by_a_releases_name():
    """Nothing that is measured or judged here would mean anything else."""
    try:
        for release in read_releases():
            assert commit_of(ROOT, release.tag) == release.commit
    except (GitFailed, NoGit) as error:
        pytest.skip(f"needs this repository's own history: {error}")
