"""The suite on this very package, with mistakes planted in commits: it must see them. Real asv, real builds."""

from __future__ import annotations

import hashlib
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

import virnucpro
from benchmarks import workloads
from benchmarks.support import evidence, inputs, labelled

ROOT = Path(__file__).parent.parent
SECONDS, ERROR = "commands.EmbedProteins.track_wall_seconds", "commands.EmbedProteins.track_error"
# All figures of the command, which the checker compares; and of the first release one that is measured once more later.
FIGURES, ALSO = "EmbedProteins.*cpu-small.*default", "start_up.Help"
ACCURACY = r"accuracy\.Accuracy\..*cpu-small"  # without which a commit is not judged
MISTAKES = {  # of a commit: file, what stands there, what is planted
    "slow": ("virnucpro/__main__.py", "from virnucpro", "import time\n\ntime.sleep({nap})\nfrom virnucpro"),
    "wrong": ("virnucpro/models/esm2.py", "TOKEN_DROPOUT_SCALE = 1 - 0.15 * 0.8", "TOKEN_DROPOUT_SCALE = 1.0"),
}
FEW = 10  # proteins, instead of 200: what is planted shows in them, too; and as many labelled records
# One pair is enough here: what is tested is that it is seen at all.
CHECK = (
    "import sys; from benchmarks import check_speedup; from benchmarks.support import verdict; "
    "verdict.LEAST_PAIRS['cpu-small'] = 1; sys.exit(check_speedup.main(sys.argv[1:]))"
)


class Repository:
    def __init__(self, folder: Path) -> None:
        self.folder, self.commits = folder, {}
        self.environment = os.environ | {
            "HOME": str(folder.parent),
            "VIRNUCPRO_BENCH_CACHE": str(folder.parent / "cache"),
            "CUDA_VISIBLE_DEVICES": "",
            "PIP_NO_INDEX": "1",
        }

    def commit(self, name: str, *files: str) -> None:
        toy_suite.git(self.folder, "add", *files)
        toy_suite.git(self.folder, "commit", "--quiet", "--message", name)
        self.commits[name] = toy_suite.git(self.folder, "rev-parse", "HEAD")

    def plant(self, file: str, right: str, planted: str) -> None:
        path = self.folder / file
        text = path.read_text(encoding="utf-8")
        assert text.count(right) == 1
        path.write_text(text.replace(right, planted), encoding="utf-8")

    def run(self, *command: str, code: int = 0) -> str:
        options = {"cwd": self.folder, "env": self.environment, "capture_output": True, "text": True}
        done = subprocess.run([sys.executable, *command], timeout=HANG, **options)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def measure(self, asked: str, *benchmarks: str) -> str:
        return self.run("-m", "asv", "run", "--show-stderr", *(f"--bench={each}" for each in benchmarks), asked)

    def row(self, name: str, benchmark: str) -> dict[str, list]:
        (file,) = (self.folder / "results").glob(f"*/{self.commits[name][:8]}-*.json")
        content = json.loads(file.read_text(encoding="utf-8"))
        return dict(zip(content["result_columns"], content["results"][benchmark], strict=False))

    def value(self, name: str, benchmark: str) -> float:
        return self.row(name, benchmark)["result"][2]  # ('cpu-small', 'default')


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Repository:
    """The package as it is, called v1.0, and a commit on top of it for each mistake; all measured.

    The slow one sleeps longer than the package takes here, in all: it is slower however slow the machine is.
    """
    made = Repository(tmp_path_factory.mktemp("planted") / "repository")
    weights = inputs.weights(inputs.CPU_SMALL)  # drawn once for all tests: the same numbers take seconds to draw again
    (made.folder.parent / "cache").mkdir()
    (made.folder.parent / "cache" / weights.name).symlink_to(weights)
    folder = made.folder
    toy_suite.git(folder.parent, "init", "--quiet", "--initial-branch=main", str(folder))
    for name in ("virnucpro", "benchmarks", ".ci"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    made.commit("base", "virnucpro", "setup.py", "README.md", "LICENSE")
    release = {"tag": "v1.0", "version": virnucpro.__version__, "commit": made.commits["base"]}
    release |= {"architecture": "a", "precision": "FP32", "packing": "k"}
    rows = "".join(f"{key} = {json.dumps(value)}\n" for key, value in release.items())
    (folder / "benchmarks" / "releases.toml").write_text(f"[[release]]\n{rows}", encoding="utf-8")
    small = workloads.WORKLOADS["proteins-small"]
    digest = hashlib.sha256(workloads.fasta(workloads.proteins(FEW)).encode()).hexdigest()
    made.plant("benchmarks/workloads.py", f'{small.count}, "{small.sha256}"', f'{FEW}, "{digest}"')
    made.plant("benchmarks/support/labelled.py", f"ON_CPU = {labelled.ON_CPU}", f"ON_CPU = {FEW}")
    settings = json5.loads((ROOT / "asv.conf.json").read_text(encoding="utf-8"))
    plugins = [f".benchmarks.asv_plugins.{name}" for name in ("run_choice", "host_environment", "machine_choice")]
    settings |= {
        "environment_type": "host",
        "matrix": {"req": {"torch": [metadata.version("torch")]}},
        "plugins": plugins,
        "build_command": settings["build_command"][-1:],
        "build_cache_size": 4,  # no commit is built twice
    }
    (folder / "asv.conf.json").write_text(json.dumps(settings), encoding="utf-8")
    made.commit("suite", "benchmarks", "asv.conf.json", ".ci", ".gitignore")
    made.measure(f"{made.commits['base']}^!", FIGURES, ALSO, ACCURACY)
    nap = 1.2 * made.value("base", SECONDS)
    for name, (file, right, planted) in MISTAKES.items():
        toy_suite.git(folder, "checkout", "--quiet", "-B", name, made.commits["suite"])
        made.plant(file, right, planted.format(nap=nap))
        made.commit(name, "virnucpro")
    toy_suite.git(folder, "checkout", "--quiet", "main")  # both by the suite that they have in common
    planted = folder.parent / "planted.txt"
    planted.write_text("".join(f"{made.commits[name]}\n" for name in MISTAKES), encoding="ascii")
    made.measure(f"HASHFILE:{planted}", FIGURES, ACCURACY)
    return made


def check(repository: Repository, candidate: str, least: float, code: int) -> str:
    toy_suite.git(repository.folder, "checkout", "--quiet", candidate)  # whose history has the suite that measured it
    claim = ["--workload", "cpu-small", "--min-ratio", str(least), "--candidate", repository.commits[candidate]]
    return repository.run("-c", CHECK, *claim, code=code)


def test_a_planted_slowdown_is_caught_by_the_checker(repository):
    assert "target 0.9: FAIL" in check(repository, "slow", 0.9, code=1)
    assert "target 0.01: PASS" in check(repository, "slow", 0.01, code=0)


def test_a_planted_slowdown_is_visible_in_compare(repository):
    said = repository.run("-m", "asv", "compare", "v1.0", repository.commits["slow"])
    (row,) = (line for line in said.splitlines() if f"{SECONDS}('cpu-small', 'default')" in line)
    assert row.startswith("| +")
    assert "gpu-10k" not in said, "rows without figures on either side are not shown"


def test_a_planted_wrong_embedding_is_caught_by_the_error(repository):
    assert repository.value("base", ERROR) < 1e-5
    assert repository.value("slow", ERROR) == repository.value("base", ERROR)
    assert repository.value("wrong", ERROR) > 1e-3
    assert "its error is" in check(repository, "wrong", 0.01, code=1)


def test_the_evidence_says_whose_code_ran(repository):
    found = {
        run["commit"]: run for machine in (repository.folder / "results").iterdir() for run in evidence.load(machine)
    }
    commits = [repository.commits[name] for name in ("base", "slow", "wrong")]
    assert sorted(found) == sorted(commits)
    digests = [found[commit]["package"]["digest"] for commit in commits]
    assert digests == [evidence.committed(repository.folder, commit) for commit in commits] and len({*digests}) == 3
    assert all(run["suite"]["clean"] and run["output"]["rows"] == FEW for run in found.values())


def test_a_range_as_typed_measures_its_first_release_too_and_adds_samples(repository):
    asked = f"v1.0..{repository.commits['suite']}"
    said = repository.measure(asked, ALSO)
    assert f"v1.0 itself is measured, too, after the others: git leaves it out of {asked}." in said
    samples = {name: repository.row(name, f"{ALSO}.track_seconds")["samples"][0] for name in ("suite", "base")}
    assert {name: len(each) for name, each in samples.items()} == {"suite": 1, "base": 2}  # one is of the run before


def test_a_release_that_is_called_by_another_commit_ends_every_command(repository):
    toy_suite.git(repository.folder, "branch", "v1.0", "HEAD")
    try:
        for command in (["run", "v1.0..slow"], ["compare", "v1.0", "slow"]):
            assert "v1.0: the branch is at" in repository.run("-m", "asv", *command, code=1)
    finally:
        toy_suite.git(repository.folder, "branch", "-D", "v1.0")
