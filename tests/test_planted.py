"""The suite on this very package, with mistakes planted in commits: it must see them. Real asv, real builds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import json5
import pytest
import toy_suite
from surroundings import HANG

ROOT = Path(__file__).parent.parent
SECONDS, ERROR = "commands.EmbedProteins.track_wall_seconds", "commands.EmbedProteins.track_error"
MISTAKES = {  # of a commit: file, what stands there, what is planted
    "slow": ("virnucpro/__main__.py", "from virnucpro", "import time\n\ntime.sleep({nap})\nfrom virnucpro"),
    "wrong": ("virnucpro/esm2.py", "TOKEN_DROPOUT_SCALE = 1 - 0.15 * 0.8", "TOKEN_DROPOUT_SCALE = 1.0"),
}


class Repository:
    def __init__(self, folder: Path) -> None:
        self.folder, self.commits = folder, {}
        self.environment = os.environ | {
            "HOME": str(folder.parent),
            "VIRNUCPRO_BENCH_CACHE": str(folder.parent / "cache"),
            "CUDA_VISIBLE_DEVICES": "",
            "PIP_NO_INDEX": "1",
        }

    def commit(self, name: str) -> None:
        toy_suite.git(self.folder, "add", "virnucpro", "setup.py", "README.md", "LICENSE")
        toy_suite.git(self.folder, "commit", "--quiet", "--message", name)
        self.commits[name] = toy_suite.git(self.folder, "rev-parse", "HEAD")

    def run(self, *module: str, code: int = 0) -> str:
        command = [sys.executable, "-m", *module]
        options = {"cwd": self.folder, "env": self.environment, "capture_output": True, "text": True}
        done = subprocess.run(command, timeout=HANG, **options)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def measure(self, *names: str) -> None:
        hashes = self.folder.parent / "hashes"
        hashes.write_text("\n".join(self.commits[name] for name in names), encoding="utf-8")
        wanted = [f"--bench={name}.*cpu-small.*default" for name in (SECONDS, ERROR)]
        self.run("asv", "run", "--machine", "toy", "--show-stderr", *wanted, f"HASHFILE:{hashes}")

    def value(self, name: str, benchmark: str) -> float:
        (file,) = (self.folder / "results" / "toy").glob(f"{self.commits[name][:8]}-*.json")
        content = json.loads(file.read_text(encoding="utf-8"))
        row = dict(zip(content["result_columns"], content["results"][benchmark], strict=False))
        return row["result"][2]  # ('cpu-small', 'default')


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Repository:
    """The package as it is, tagged v1.0, and a commit on top of it for each mistake; all measured.

    The slow one sleeps half as long again as the package takes here, in all: it is slower however slow the machine is.
    """
    made = Repository(tmp_path_factory.mktemp("planted") / "repository")
    folder = made.folder
    toy_suite.git(folder.parent, "init", "--quiet", "--initial-branch=main", str(folder))
    for name in ("virnucpro", "benchmarks", ".ci"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    made.commit("base")
    toy_suite.git(folder, "tag", "v1.0")
    release = {"tag": "v1.0", "version": "1.0.0", "commit": made.commits["base"]}
    release |= {"architecture": "a", "precision": "p", "packing": "k"}
    rows = "".join(f"{key} = {json.dumps(value)}\n" for key, value in release.items())
    (folder / "benchmarks" / "releases.toml").write_text(f"[[release]]\n{rows}", encoding="utf-8")
    settings = json5.loads((ROOT / "asv.conf.json").read_text(encoding="utf-8"))
    settings |= {
        "environment_type": "host",
        "matrix": {"req": {"torch": [metadata.version("torch")]}},
        "plugins": [".benchmarks.asv_plugins.host_environment"],
    }
    (folder / "asv.conf.json").write_text(json.dumps(settings), encoding="utf-8")
    made.run("asv", "machine", "--yes", "--machine", "toy")
    made.measure("base")
    nap = 1.5 * made.value("base", SECONDS)
    for name, (file, right, planted) in MISTAKES.items():
        toy_suite.git(folder, "checkout", "--quiet", "-B", name, "v1.0")
        text = (folder / file).read_text(encoding="utf-8")
        assert text.count(right) == 1
        (folder / file).write_text(text.replace(right, planted.format(nap=nap)), encoding="utf-8")
        made.commit(name)
    made.measure(*MISTAKES)
    return made


def check(repository: Repository, candidate: str, least: float, code: int) -> str:
    claim = ["--workload", "cpu-small", "--min-ratio", str(least), "--machine", "toy", "--candidate", candidate]
    return repository.run("benchmarks.check_speedup", *claim, code=code)


def test_a_planted_slowdown_is_caught_by_the_checker(repository):
    assert "FAIL" in check(repository, repository.commits["slow"], 0.7, code=1)
    assert "PASS" in check(repository, repository.commits["slow"], 0, code=0)


def test_a_planted_slowdown_is_visible_in_compare(repository):
    said = repository.run("asv", "compare", "--machine", "toy", "v1.0", repository.commits["slow"])
    (row,) = (line for line in said.splitlines() if f"{SECONDS}('cpu-small', 'default')" in line)
    assert row.startswith("| +")


def test_a_planted_wrong_embedding_is_caught_by_the_error(repository):
    assert repository.value("base", ERROR) < 1e-5
    assert repository.value("slow", ERROR) == repository.value("base", ERROR)
    assert repository.value("wrong", ERROR) > 1e-3
