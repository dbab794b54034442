"""Evidence of a run: what is kept of it, and what is taken for evidence."""

from __future__ import annotations

import json
import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest
import toy_suite
from conftest import ROOT

from benchmarks import commands
from benchmarks.support import evidence, inputs
from benchmarks.support.git import GitFailed, NoGit, git
from benchmarks.support.results import BadResults


@pytest.fixture
def found() -> dict:
    """What the suite knows of a run."""
    return {
        "begun": 1_900_000_000.25, "ended": 1_900_000_010.25, "seconds": 10.0, "exit_code": 0, "load": 0.5,
        "error": 1e-7, "gpu": None,
        "command": ["python", "-m", "virnucpro", "predict", "/tmp/x1/proteins.faa", "--output-dir", "/tmp/x1/out"],
        "input": {}, "weights": {}, "output": {}, "version": "3",
        "manifest": {"input": {"files": {"/home/me/data/proteins.faa": "ab12"}}, "platform": "Linux-6.1/x86"},
    }  # fmt: skip


def test_a_run_leaves_a_file_in_the_folder_that_is_named(tmp_path, monkeypatch, found):
    monkeypatch.setenv(evidence.FOLDER, str(tmp_path / "evidence"))
    monkeypatch.setenv("ASV_COMMIT", "c0ffee00" * 5)
    monkeypatch.setenv("ASV_ENV_NAME", "toy")
    evidence.keep("commands.EmbedProteins", "cpu-small", "default", found)
    (path,) = (tmp_path / "evidence").iterdir()
    assert path.name == "c0ffee00-EmbedProteins-cpu-small-default-20300317T174640.jsonl"
    (document,) = evidence.load(tmp_path)
    assert document["commit"] == "c0ffee00" * 5 and document["environment"] == "toy"
    assert document["package"]["digest"] == evidence.installed()["digest"]
    # where a machine keeps its files is nobody's business
    assert document["command"][-3:] == ["proteins.faa", "--output-dir", "out"]
    assert document["manifest"] == {"input": {"files": {"proteins.faa": "ab12"}}, "platform": "Linux-6.1/x86"}


@pytest.mark.parametrize("missing", [evidence.FOLDER, "ASV_COMMIT"])
def test_nothing_is_kept_where_no_folder_or_no_commit_is_named(tmp_path, monkeypatch, found, missing):
    """`asv run --python=same` measures no commit, and stores no figure either."""
    monkeypatch.setenv(evidence.FOLDER, str(tmp_path))
    monkeypatch.setenv("ASV_COMMIT", "c0ffee00" * 5)
    monkeypatch.delenv(missing)
    monkeypatch.chdir(tmp_path)
    evidence.keep("commands.EmbedProteins", "cpu-small", "default", found)
    assert os.listdir() == []


@pytest.mark.parametrize("text, kept", [
    ("/usr/lib/python3/x.py", "x.py"), ("out", "out"), ("a/b", "a/b"), ("--json=/tmp/a b", "--json=a b"),
    ("predict /tmp/x.fa --output-dir /tmp/out", "predict x.fa --output-dir out"), ("10 / 3", "10 / 3"),
    ("https://example.org/x", "https://example.org/x"), ("1/2", "1/2"),
])  # fmt: skip
def test_of_an_absolute_path_the_name_is_left(text, kept):
    assert evidence.without_places({"x": [text]}) == {"x": [kept]}


def test_the_digest_is_that_of_the_commit_whose_files_are_installed(tmp_path):
    commits = toy_suite.make(tmp_path / "toy")
    repo = tmp_path / "toy"
    digests = [evidence.committed(repo, commits[name]) for name in ("v1.0", "v2.0", "HEAD")]
    assert len(set(digests)) == 3
    (repo / "README.md").write_text("Read me.\n")
    toy_suite.git(repo, "add", "README.md")
    toy_suite.git(repo, "commit", "--quiet", "--message", "Say what this is")
    assert evidence.committed(repo, "HEAD") == digests[2]
    # and as the files lie there
    code = "from benchmarks.support import evidence; print(evidence.installed()['digest'])"
    script = f"import importlib.metadata as m; m.version = lambda name: '2'; {code}"
    environment = os.environ | {"PYTHONPATH": str(repo)}
    done = subprocess.run([sys.executable, "-c", script], cwd=repo, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == digests[2], done.stderr


@pytest.mark.parametrize("mode, strangers", [
    ("TIMESTAMP", "[]"), ("CHECKED_HASH", "[]"), ("UNCHECKED_HASH", "['engine.{tag}.pyc']"),
])  # fmt: skip
def test_compiled_files_that_do_not_follow_their_source_are_strangers(tmp_path, mode, strangers):
    package = tmp_path / "virnucpro"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "engine.py").write_text("print('this')\n")
    py_compile.compile(str(package / "engine.py"), invalidation_mode=py_compile.PycInvalidationMode[mode])
    code = (
        "import sys; sys.path.insert(0, '.'); import importlib.metadata as m; m.version = lambda name: '2'; "
        "from benchmarks.support import evidence; print(evidence.installed()['strangers'])"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == strangers.format(tag=sys.implementation.cache_tag), done.stderr


def test_the_digest_of_this_package_is_that_of_its_commit():
    try:
        if git(ROOT, "status", "--porcelain", "--", "virnucpro"):
            pytest.skip("virnucpro/ has changes that are not committed")
    except (GitFailed, NoGit) as error:
        pytest.skip(f"needs git: {error}")
    assert evidence.installed()["digest"] == evidence.committed(ROOT, "HEAD")


@pytest.mark.parametrize("change, said", [
    ({"format": 2}, "format 2, not 1"), ({"seconds": "34 s"}, "seconds is of type str, not float"),
    ({"seconds": True}, "seconds is of type bool, not float"), ({"commit": None}, "commit is of type NoneType"),
    ({"gpu": []}, "gpu is neither null nor an object"),
    ({"host_memory": [1]}, "host_memory is neither null nor a number"),
    ({"gpu_memory": "lots"}, "gpu_memory is neither null nor a number"),
])  # fmt: skip
def test_what_is_no_evidence_is_refused(tmp_path, change, said):
    commits = toy_suite.make(tmp_path / "toy")
    document = toy_suite.run(tmp_path / "toy", commits["v1.0"], "default", 10.0, "gpu-10k", 1.0) | change
    toy_suite.write(tmp_path / "evidence" / "one.jsonl", document)
    with pytest.raises(BadResults, match=f"one.jsonl .*{said}.*not evidence of a run"):
        evidence.load(tmp_path)


def test_a_file_of_any_size_is_not_read(tmp_path):
    (tmp_path / "evidence").mkdir()
    with open(tmp_path / "evidence" / "large.jsonl", "wb") as file:
        file.truncate(evidence.LARGEST + 1)
    with pytest.raises(BadResults, match=r"more than 1,048,576 bytes"):
        evidence.load(tmp_path)


def test_a_machine_without_evidence_has_none(tmp_path):
    assert evidence.load(tmp_path) == []


def test_the_memory_of_a_command_is_its_own(tmp_path, monkeypatch):
    """However much whoever starts it has: the kernel hands that on from process to process."""
    mine = bytearray(200 * 2**20)
    monkeypatch.setattr(inputs, "weights", lambda work: tmp_path)
    figures = commands.cold(inputs.WORKLOADS["cpu-small"], [sys.executable, "-S", "-c", ""], tmp_path / "caches")
    assert figures["host_memory"] < 50 * 2**20 < len(mine)
    assert figures["seconds"] == pytest.approx(figures["ended"] - figures["begun"], abs=0.5)


def test_a_command_is_cold_whatever_is_set_for_the_package(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(inputs, "weights", lambda work: tmp_path)
    monkeypatch.setenv("VIRNUCPRO_DIGEST_CACHE", "/warm")
    code = "import os; print(sorted(name for name in os.environ if name.startswith('VIRNUCPRO_')))"
    command = [sys.executable, "-S", "-c", f"import sys; sys.stdout = sys.stderr; {code}"]
    commands.cold(inputs.WORKLOADS["cpu-small"], command, tmp_path / "caches", VIRNUCPRO_MINE="1")
    assert "['VIRNUCPRO_MINE']" in capfd.readouterr().out


def test_the_fingerprint_of_weights_is_of_their_names_and_bytes(tmp_path):
    def folder(name: str, **files: bytes) -> Path:
        (tmp_path / name).mkdir()
        for file, content in files.items():
            (tmp_path / name / file).write_bytes(content)
        return tmp_path / name

    one = inputs.fingerprint(folder("one", a=b"1", b=b"2"))
    assert one == inputs.fingerprint(folder("same", b=b"2", a=b"1"))
    others = [folder("other", a=b"1", b=b"3"), folder("names", a=b"1", c=b"2"), folder("less", a=b"1")]
    assert len({one, *map(inputs.fingerprint, others)}) == 4


def test_a_benchmarks_version_says_what_it_is_measured_on(monkeypatch):
    before = commands.EmbedProteins.version
    assert before == inputs.version("3", "proteins") != inputs.version("3", "reads")
    monkeypatch.setattr(inputs, "WEIGHTS_VERSION", "2")
    assert inputs.version("3", "proteins") != before
    assert json.dumps(before).startswith('"3-')
