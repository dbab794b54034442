"""The suite on a machine without network: packed, run there, brought back and merged; on a toy history."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from surroundings import HANG
from toy_suite import git

from benchmarks import bundle, merge_results
from benchmarks.offline import record
from benchmarks.offline import run as run_offline
from benchmarks.support.inputs import KINDS

ROOT = Path(__file__).parent.parent
PYTHON = ".".join(platform.python_version_tuple()[:2])
# What a machine with torch and transformers has.
THERE = {"torch", "jinja2", "numpy", "click", "rich", "h5py", "tokenizers", "safetensors", "nvidia-ml-py"}
SETUP = "from setuptools import setup\nsetup(name='toy', version='1.0', packages=['toy'])\n"
BENCHMARK = """
def track_seconds(input):
    import numpy, toy, toy_needed
    if input == "huge" and toy.SECONDS > 2:
        raise MemoryError
    return toy.SECONDS * toy_needed.FACTOR
track_seconds.params = [["small", "huge"]]
track_seconds.param_names = ["input"]
track_seconds.unit = "s"
track_seconds.version = "1"
"""


def commit(repo: Path, seconds: float, tag: str) -> None:
    (repo / "toy" / "__init__.py").write_text(f"SECONDS = {seconds}\n", encoding="utf-8")
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message", f"Take {seconds} s")
    git(repo, "tag", tag)


@pytest.fixture(scope="module")
def repo(tmp_path_factory) -> Path:
    """Two releases of a package, v1.0 of 4 s and v2.0 of 1 s, and a benchmark; asv as this repository configures it."""
    import json5

    repo = tmp_path_factory.mktemp("toy")
    (repo / "toy").mkdir()
    (repo / "setup.py").write_text(SETUP, encoding="utf-8")
    for name in ("asv_plugins", "offline", "support"):
        shutil.copytree(ROOT / "benchmarks" / name, repo / "benchmarks" / name)
    for name in ("releases.py", "workloads.py"):
        shutil.copy(ROOT / "benchmarks" / name, repo / "benchmarks")
    (repo / "benchmarks" / "requirements.txt").write_text("# beside\ntoy-needed==0\n", encoding="utf-8")
    (repo / "benchmarks" / "__init__.py").touch()
    (repo / "benchmarks" / "speed.py").write_text(BENCHMARK, encoding="utf-8")
    settings = json5.loads((ROOT / "asv.conf.json").read_text(encoding="utf-8"))
    settings |= {"project": "toy", "plugins": [], "matrix": {"req": {"numpy": ["0"]}}}
    (repo / "asv.conf.json").write_text(json.dumps(settings), encoding="utf-8")
    git(repo, "init", "--quiet")
    commit(repo, 4.0, "v1.0")
    commit(repo, 1.0, "v2.0")
    return repo


def run_offline_at(bundled: Path, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, bundled / "run.py", *arguments, "--machine", "toy-host", "--ram", "1 GiB"]
    command += ["--work", bundled.parent / "work", "--output", bundled.parent / "returned"]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=HANG)


def asv(repo: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "asv", *arguments]
    done = subprocess.run(command, cwd=repo, env=os.environ | {"HOME": str(repo)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def packed(repo: Path, folder: Path) -> Path:
    """The bundle, with a wheel that the host lacks."""
    bundled = folder / "bundle"
    bundle.pack(repo, bundled, PYTHON, wheels=())
    with zipfile.ZipFile(bundled / "wheels" / "toy_needed-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("toy_needed.py", "FACTOR = 0.5\n")
        wheel.writestr("toy_needed-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy-needed\nVersion: 1.0\n")
        wheel.writestr(
            "toy_needed-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("toy_needed-1.0.dist-info/RECORD", "")
    return bundled


def test_there_and_back(repo, tmp_path):
    bundled = packed(repo, tmp_path)
    done = run_offline_at(bundled, "v2.0", "v1.0", "--bench", "small")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-3].split() == ["benchmark", "v2.0", "v1.0"]
    assert done.stdout.splitlines()[-1].split() == ["speed.track_seconds(small)", "0.5", "2"]
    merge_results.merge(tmp_path / "returned", repo / "results")

    failed = run_offline_at(bundled, "v1.0", "--bench", "huge")  # later: joins what was measured before
    assert failed.returncode == 2
    huge, small = [line.split() for line in failed.stdout.splitlines()[-2:]]
    assert (huge, small) == (["speed.track_seconds(huge)", "failed"], ["speed.track_seconds(small)", "2"])
    merge_results.merge(tmp_path / "returned", repo / "results")

    unknown = run_offline_at(bundled, "v3.0", "--no-install")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (1, 1)
    assert "has no commit v3.0" in unknown.stderr

    *results, machine = sorted((repo / "results" / "toy-host").iterdir())
    version = metadata.version("numpy")
    assert [path.name[8:] for path in results] == [f"-host-py{PYTHON}-numpy{version}.json"] * 2
    assert {"ram": "1 GiB", "gpu": "none"}.items() <= json.loads(machine.read_text(encoding="utf-8")).items()
    # asv takes them for its own.
    compared = [line.replace(" ", "") for line in asv(repo, "compare", "v1.0", "v2.0").splitlines()]
    assert "|-|2.0|0.5|0.25|speed.track_seconds('small')|" in compared
    asv(repo, "publish")
    (graph,) = (repo / ".asv" / "html" / "graphs" / "summary").glob("speed.track_seconds.json")
    assert len(json.loads(graph.read_text(encoding="utf-8"))) == 2


def test_a_bundle_needs_release_tags(tmp_path):
    git(tmp_path, "init", "--quiet")
    with pytest.raises(bundle.CannotPack, match=r"has no tag v\*"):
        bundle.pack(tmp_path, tmp_path / "bundle", PYTHON, wheels=())


def test_a_bundle_has_a_limit(repo, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "LIMIT", 2**10)
    with pytest.raises(bundle.CannotPack, match=r"at most 0 may be"):
        bundle.pack(repo, tmp_path, PYTHON, wheels=())


def test_wheels_that_are_there_are_not_fetched_again(tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr(bundle, "_run", lambda command: fetched.append(command[-1]))
    for _ in range(2):
        bundle._download(["xopen==2.1.0"], "3.12", tmp_path / "wheels")
    bundle._download(["xopen==2.1.0"], "3.13", tmp_path / "wheels")
    assert fetched == ["xopen==2.1.0"] * 2


def test_wheels_have_the_pinned_versions_for_that_python():
    constraints = "# comment\nzipp==4\nnumpy==2; python_version < '3.11'\nnumpy==3; python_version >= '3.11'\n"
    wanted = ["numpy", "Zipp", "tomli; python_version < '3.11'"]
    assert bundle.pinned(wanted, constraints, "3.12") == ["Zipp==4", "numpy==3"]
    with pytest.raises(bundle.CannotPack, match="no version of tomli"):
        bundle.pinned(wanted, constraints, "3.10")


def test_wheels_are_all_that_such_a_machine_lacks():
    # Reports alone, fetching weights, and training: no measurement does any of these.
    drawn_with = {"matplotlib", "huggingface-hub", "httpx2", "tenacity", "scikit-learn", "scipy"}
    needed, queue = set(), ["asv", "virtualenv", "virnucpro", "fair-esm", "setuptools", "wheel"]
    while queue:
        name = canonicalize_name(queue.pop())
        if name not in needed | THERE | drawn_with:
            needed.add(name)
            requirements = [Requirement(line) for line in metadata.requires(name) or []]
            target = {"extra": "", "python_version": "3.12", "python_full_version": "3.12.0"}
            queue += [one.name for one in requirements if one.marker is None or one.marker.evaluate(target)]
    packed = {canonicalize_name(Requirement(line).name) for line in bundle.WHEELS}
    assert packed >= needed - {"virnucpro"}
    assert not packed & THERE


COLUMNS = ["result", "params", "version", "started_at", "duration", "stats_q_25", "samples"]
TWO = [["'a'", "'b'"]]
NAN = math.nan


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([[1, 2], TWO, "1", 100], [[3, 4], TWO, "1", 200], [[3, 4], TWO, "1", 200]),
        ([[3, 4], TWO, "1", 200], [[1, 2], TWO, "1", 100], [[3, 4], TWO, "1", 200]),  # brought back late
        ([[1, 2], TWO, "1", 100], [[NAN, 4], TWO, "1", 200], [[1, 4], TWO, "1", 200]),  # one was not asked for
        ([[1, NAN], TWO, "1", 200], [[3, 4], TWO, "1", 100], [[1, 4], TWO, "1", 200]),
        ([[1, 2], TWO, "1", 100], [[None, 4], TWO, "1", 200], [[None, 4], TWO, "1", 200]),  # one failed
        ([[1, 2], TWO, "1", 100], [None, TWO, "1", 200], [None, TWO, "1", 200]),  # all failed
        ([None, TWO, "1", 100], [[3, NAN], TWO, "1", 200], [[3, None], TWO, "1", 200]),
        ([[1, 2], TWO, "1", 100], [[NAN, 4], TWO, "2", 200], [[NAN, 4], TWO, "2", 200]),  # another version
        ([[1], [["'a'"]], "1", 100], [[NAN, 4], TWO, "1", 200], [[NAN, 4], TWO, "1", 200]),
        (
            [[1, 2], TWO, "1", 100, 9.0, [0.1, 0.2]],
            [[NAN, 4], TWO, "1", 200, 8.0, [None, 0.4]],
            [[1, 4], TWO, "1", 200, 8.0, [0.1, 0.4]],
        ),
    ],
)
def test_of_two_measurements_the_later_counts(old, new, expected):
    assert merge_results.later(dict(zip(COLUMNS, old)), dict(zip(COLUMNS, new)), COLUMNS) == expected


def returned(folder: Path, cpu: str, results: dict[str, list], definitions: dict[str, dict]) -> Path:
    """A folder as run.py leaves it."""
    folder.mkdir()
    machine = {"machine": "toy-host", "cpu": cpu}
    same = {
        "commit_hash": "c0ffee00" * 5,
        "date": 0,
        "env_name": "host",
        "params": machine,
        "requirements": {},
        "python": "3.12",
    }
    columns = {"env_vars": {}, "result_columns": COLUMNS, "results": results, "durations": {}, "version": 2}
    (folder / "machine.json").write_text(json.dumps(machine | {"version": 1}), encoding="utf-8")
    (folder / "benchmarks.json").write_text(json.dumps(definitions | {"version": 2}), encoding="utf-8")
    (folder / "c0ffee00-host.json").write_text(json.dumps(same | columns), encoding="utf-8")
    return folder


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in files}


def test_benchmarks_of_both_are_kept(tmp_path):
    into = tmp_path / "results"
    merge_results.merge(returned(tmp_path / "1", "Z80", {"x": [[1], [], "1", 100]}, {"x": {"unit": "s"}}), into)
    merge_results.merge(returned(tmp_path / "2", "Z80", {"y": [[2], [], "1", 200]}, {"y": {"unit": "h"}}), into)
    found = contents(into)
    assert sorted(found) == ["benchmarks.json", "toy-host/c0ffee00-host.json", "toy-host/machine.json"]
    rows = json.loads(found["toy-host/c0ffee00-host.json"])["results"]
    assert rows == {"x": [[1], [], "1", 100], "y": [[2], [], "1", 200]}
    assert json.loads(found["benchmarks.json"]) == {"x": {"unit": "s"}, "y": {"unit": "h"}, "version": 2}


def test_results_of_another_machine_are_refused_and_nothing_changes(tmp_path, capsys):
    into = tmp_path / "results"
    merge_results.merge(returned(tmp_path / "1", "Z80", {"x": [[1], [], "1", 100]}, {}), into)
    before = contents(into)
    other = returned(tmp_path / "2", "6502", {"x": [[2], [], "1", 200]}, {})
    assert merge_results.main([str(other), "--into", str(into)]) == 1
    assert "cpu is 'Z80' there, '6502' here" in capsys.readouterr().err
    (other / "machine.json").write_text((tmp_path / "1" / "machine.json").read_text(encoding="utf-8"), encoding="utf-8")
    assert merge_results.main([str(other), "--into", str(into)]) == 1  # the result file says so, too
    (other / "c0ffee00-host.json").write_text('{"version": 2, "resu', encoding="utf-8")
    assert merge_results.main([str(other), "--into", str(into)]) == 1
    assert "is not a file of asv" in capsys.readouterr().err
    assert contents(into) == before


COMMANDS = {  # a line of what a step measures stands for these
    "proteins": "commands.EmbedProteins", "reads": "commands.PredictReads", "contigs": "commands.PredictContigs",
}  # fmt: skip


def steps(folder: Path, on_gpu: bool, commits: list[str], only: tuple[str, ...] = ()) -> list[str]:
    """Of --record: the commit, which commands, with which workers if not the default; "beside" for the rest."""
    hashes = {"HEAD": "a" * 40, "v1.0": "b" * 40} | {commit: commit * 40 for commit in commits}
    keys = [
        (name + more.lower(), workers, f"{command}{more}.track_error('{work}', '{workers}')")
        for name, command in COMMANDS.items()
        for more in ("", "Int8")
        for work in ("gpu-10k", "cpu-small")
        for workers in ("default", "one")
    ]
    others = [("start", "start_up.OneProtein.track_wall_seconds"), ("steady", "steady.SteadyState.track_gpu_idle")]
    others += [(name.lower(), f"accuracy.{name}.track_auroc") for name in ("Accuracy", "AccuracyInt8")]
    others += [(f"steady{name.lower()}", f"steady.Steady{name}.track_joules_per_10k") for name in ("Fp16", "Int8")]
    for name, key in others:
        keys += [(name, "default", f"{key}('{work}')") for work in ("gpu-10k", "cpu-small")]
    found = []
    for commit, bench in record.recorded(["HEAD", "v1.0", *commits], hashes, folder, on_gpu, only):
        asked = [(name, workers) for name, workers, key in keys if any(re.search(regex, key) for regex in bench)]
        assert len({workers for _, workers in asked}) == 1
        found.append(" ".join([commit, *(name for name, _ in asked), *({asked[0][1]} - {"default"})]))
    return found


def measured(folder: Path, **figures: tuple[float | None, float | None]) -> None:
    """Results of v1.0 on a GPU: of an input with its default and with one worker."""
    params = [["'gpu-10k'", "'cpu-small'"], ["'default'", "'one'"]]
    rows = {
        f"{COMMANDS[name]}.track_wall_seconds": [[*both, float("nan"), float("nan")], params]
        for name, both in figures.items()
    }
    content = {"result_columns": ["result", "params"], "results": rows}
    (folder / f"{'b' * 8}-toy.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("default, one, best", [
    (257.8, 252.2, " one"), (240.0, 252.2, ""), (None, 252.2, " one"), (240.0, None, ""),
])  # fmt: skip
def test_a_record_is_of_pairs_with_the_best_setting_of_the_baseline(tmp_path, default, one, best):
    """v1.0 is measured once for what is claimed in 8 bits and in 16."""
    measured(tmp_path, proteins=(default, one), reads=(70.0, 80.0), contigs=(70.0, 60.0))
    assert steps(tmp_path, True, ["c"]) == [
        "HEAD proteins proteinsint8", "v1.0 proteins one", "v1.0 proteins",
        *["HEAD proteins proteinsint8", f"v1.0 proteins{best}"] * 2,
        "HEAD reads readsint8", "v1.0 reads one", "v1.0 reads", *["HEAD reads readsint8", "v1.0 reads"] * 2,
        "HEAD contigs contigsint8", "v1.0 contigs one", "v1.0 contigs",
        *["HEAD contigs contigsint8", "v1.0 contigs one"] * 2,
        *[f"{commit} accuracy accuracyint8" for commit in ("HEAD", "v1.0", "c")],
        "HEAD start", "HEAD steady", "HEAD steadyfp16", "HEAD steadyint8", "v1.0 start",
        "c proteins proteinsint8 reads readsint8 contigs contigsint8 start", "c steady", "c steadyfp16", "c steadyint8",
    ]  # fmt: skip


def test_a_record_may_be_made_input_by_input(tmp_path):
    """For a machine that is lent for less than all of it takes; pairs are of one sitting anyway."""
    measured(tmp_path, reads=(70.0, 80.0))
    pairs = ["HEAD reads readsint8", "v1.0 reads one", "v1.0 reads", *["HEAD reads readsint8", "v1.0 reads"] * 2]
    assert steps(tmp_path, True, [], ("reads",)) == pairs
    rest = ["HEAD start", "HEAD steady", "HEAD steadyfp16", "HEAD steadyint8", "v1.0 start"]
    assert steps(tmp_path, True, [], ("rest",)) == rest
    assert steps(tmp_path, True, [], ("reads", "rest")) == pairs + rest
    assert steps(tmp_path, True, ["c"], ("accuracy",)) == [f"{x} accuracy accuracyint8" for x in ("HEAD", "v1.0", "c")]
    assert (*KINDS, record.ACCURACY, record.REST) == run_offline.PARTS


@pytest.mark.parametrize("words, commits", [
    ("--record", ["HEAD", "v1.0"]), ("--record v2.0", ["HEAD", "v1.0", "v2.0"]),
    ("--record v2.0 --candidate c0ffee", ["c0ffee", "v1.0", "v2.0"]), ("v2.0", ["v2.0"]),
])  # fmt: skip
def test_a_release_may_be_recorded_by_later_benchmarks(words, commits):
    assert run_offline.parse(words.split()).commits == commits


def test_on_a_cpu_a_record_is_of_five_pairs(tmp_path):
    found = steps(tmp_path, False, [])
    beside = [
        "HEAD accuracy accuracyint8",
        "v1.0 accuracy accuracyint8",
        "HEAD reads contigs start",
        "HEAD steady",
        "v1.0 reads contigs start",
    ]
    assert found == [*["HEAD proteins", "v1.0 proteins"] * 5, *beside]


def test_a_step_is_taken_to_need_what_the_like_of_it_took(tmp_path):
    taken = record.Taken(tmp_path / "steps.json")
    assert taken.guess("c", ["x", "y"], 600) == 300
    taken.note("0 c x", 40.0)
    taken.note("1 d x y", 200.0)
    again = record.Taken(tmp_path / "steps.json")
    assert again.guess("c", ["x"], 600) == 40.0
    assert again.guess("d", ["x"], 600) == 300  # another commit may take five times as long
    assert again.guess("c", ["x", "y"], 600) == 200.0


def test_a_call_ends_before_its_limit_and_the_next_goes_on(repo, tmp_path):
    bundled = packed(repo, tmp_path)
    options = ["v2.0", "--bench", "small", "--rounds", "2"]
    first = run_offline_at(bundled, *options, "--limit", "0.001")
    assert first.returncode == run_offline.AGAIN and "0 steps are done; the next does not fit" in first.stdout
    assert run_offline_at(bundled, *options, "--limit", "10000").returncode == 0
    done = json.loads((tmp_path / "work" / "steps-toy-host.json").read_text())
    assert [step.split()[0] for step in done] == ["0", "1"]
    again = run_offline_at(bundled, *options, "--limit", "0.001")
    assert again.returncode == 0 and "Running" not in again.stdout  # nothing is left to do
