"""Results of others: what is not as asv writes it is refused in one line, and nothing is written anywhere."""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import toy_suite
from conftest import ROOT
from surroundings import HANG

from benchmarks.merge_results import main

COMMIT = "c0ffee00" * 5
NAME = f"{COMMIT[:8]}-host.json"
COLUMNS = ["result", "params", "version", "started_at", "duration", "stats_q_25", "samples"]
RESULTS = {
    "commit_hash": COMMIT, "env_name": "host", "date": 0, "params": {"machine": "toy"}, "requirements": {},
    "python": "3.12", "env_vars": {}, "result_columns": COLUMNS, "durations": {}, "version": 2,
    "results": {"x": [[1.0], [["'a'"]], "1", 100]},
}  # fmt: skip


def returned(folder: Path) -> Path:
    folder.mkdir()
    files = {"machine.json": {"machine": "toy", "version": 1}, "benchmarks.json": {"x": {}, "version": 2}}
    for name, content in {**files, NAME: RESULTS}.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def tree(folder: Path) -> dict[str, bytes | None]:
    """All that is in a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


def assert_refused(tmp_path: Path, capsys: pytest.CaptureFixture, said: str) -> None:
    before = tree(tmp_path)
    assert main([str(tmp_path / "from"), "--into", str(tmp_path / "here" / "results")]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("merge_results: ") and said in err
    assert tree(tmp_path) == before


def x(row: list) -> dict:
    return {"results": {"x": row}}


@pytest.mark.parametrize(
    "file, change, said",
    [
        ("machine.json", b"", "is not a file of asv: Expecting value"),
        ("machine.json", b"\xff\xfe", "is not a file of asv: 'utf-8' codec can't decode"),
        ("machine.json", b"[" * 100_000, "is not a file of asv: maximum recursion"),
        ("machine.json", b"[]", "is not a file of asv: list indices"),
        ("machine.json", b'{"version": 1}', "it has no entry 'machine'"),
        ("machine.json", {"version": 3}, "has version 3, and asv 0.6.6 writes 1"),
        ("machine.json", {"machine": 7}, "its machine is 7, which cannot be the name of a folder"),
        *(
            ("machine.json", {"machine": name}, "which cannot be the name of a folder")
            for name in ("", ".", "..", "../out", "/tmp/out", "a/b", ".hidden", "a\0b", "a\nb")
        ),
        ("machine.json", {"machine": "another"}, "is of machine 'toy', machine.json beside it of another"),
        ("benchmarks.json", {"x": 1}, "'x' is no description of a benchmark"),
        (NAME, b'{"version": 2}', "it has no entry 'commit_hash'"),
        (NAME, {"commit_hash": "../../x"}, "commit_hash is '../../x'"),
        (NAME, {"commit_hash": "0" * 40}, "by its commit and environment its name is '00000000-host.json'"),
            (NAME, {"env_name": "../x"}, "by its commit and environment its name is 'c0ffee00-../x.json'"),
        (NAME, {"date": "now"}, "date is 'now', not of type int"),
        (NAME, {"params": {}}, "it has no entry 'machine'"),
        (NAME, {"params": {"machine": ["toy"]}}, "is of machine ['toy']"),
        (NAME, {"durations": 7}, "has no attribute 'items'"),
        (NAME, {"results": []}, "results is [], not of type dict"),
        (NAME, {"result_columns": [["result"]]}, "unhashable"),
        (NAME, x({}), "x is {}, not of type list"),
        (NAME, x([]), "it has no entry 'result'"),
        (NAME, x([[1.0], 7]), "x, params is 7, not of type list"),
        (NAME, x([[1.0, 2.0], [["'a'"]]]), "2 results for 1 combinations"),
        (NAME, x([None, [["a"] * 1000] * 5]), "1000000000000000 combinations of parameters"),
        (NAME, x([[1.0], [["'a'"]], "1", "soon"]), "x, started_at is 'soon', not of type int"),
        (NAME, x([[1.0], [["'a'"]], "1", 100, None, [1, 2]]), "stats_q_25 is [1, 2], and 1 values were expected"),
        ("notes.json", b'{"version": 2}', "notes.json is not a file of asv: it has no entry"),
    ],
    ids=lambda given: None if isinstance(given, str) else "",
)  # fmt: skip
def test_what_asv_does_not_write_is_refused(tmp_path, capsys, file, change, said):
    path = returned(tmp_path / "from") / file
    content = change if isinstance(change, bytes) else json.dumps(json.loads(path.read_text()) | change).encode()
    path.write_bytes(content)
    assert_refused(tmp_path, capsys, said)


def test_what_is_no_file_is_not_waited_for(tmp_path, capsys):
    path = returned(tmp_path / "from") / "machine.json"
    path.unlink()
    assert_refused(tmp_path, capsys, "machine.json is not a file of asv: [Errno 2]")
    os.mkfifo(path)
    before = sorted(os.listdir(tmp_path))
    assert main([str(tmp_path / "from"), "--into", str(tmp_path / "results")]) == 1
    assert "it is no regular file" in capsys.readouterr().err
    path.unlink()
    path.write_text("x")
    os.truncate(path, 2**40)  # a hole
    assert main([str(tmp_path / "from"), "--into", str(tmp_path / "results")]) == 1
    assert "1,099,511,627,776 bytes; at most 67,108,864" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == before


def test_a_link_among_the_results_leads_nowhere(tmp_path, capsys):
    returned(tmp_path / "from")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here" / "results").mkdir(parents=True)
    (tmp_path / "here" / "results" / "toy").symlink_to(tmp_path / "elsewhere")
    assert_refused(tmp_path, capsys, "results/toy is no folder of its own, and nothing is written elsewhere")


def run(folder: Path, seconds: float) -> dict:
    """Evidence of a run."""
    repo = folder / "repo"
    commits = toy_suite.make(repo) if not repo.exists() else {"v1.0": toy_suite.git(repo, "rev-parse", "v1.0")}
    return toy_suite.run(repo, commits["v1.0"], "default", seconds, "gpu-10k", 1000 * seconds)


def sampled(samples: list[float], started: int) -> dict:
    columns = [*COLUMNS[:-2], "stats_ci_99_a", "stats_ci_99_b", "samples"]
    row = [[samples[0]], [["'a'"]], "1", started, 1.0, [-math.inf], [math.inf], [samples]]
    return RESULTS | {"result_columns": columns, "results": {"x": row}}


def test_samples_of_all_calls_are_kept_each_once(tmp_path):
    """The second call brings back what the first had, as run.py's work folder does it, and one more."""
    for number, (samples, started) in enumerate([([10.0], 100), ([10.0, 14.0], 200), ([11.0], 50)]):
        source = returned(tmp_path / str(number))
        (source / NAME).write_text(json.dumps(sampled(samples, started)))
        assert main([str(source), "--into", str(tmp_path / "results")]) == 0
    whole = json.loads((tmp_path / "results" / "toy" / NAME).read_text())
    row = dict(zip(whole["result_columns"], whole["results"]["x"], strict=True))
    assert sorted(row["samples"][0]) == [10.0, 11.0, 14.0]
    assert (row["result"], row["started_at"]) == ([11.0], 200)
    assert row["stats_ci_99_a"][0] < 11.0 < row["stats_ci_99_b"][0]


def test_evidence_comes_along_and_is_never_replaced(tmp_path, capsys):
    source = returned(tmp_path / "from")
    runs = [run(tmp_path, 10.0), run(tmp_path, 20.0)]
    one, two = (f"{each['commit'][:8]}-{each['seconds']:.0f}.jsonl" for each in runs)
    documents = {one: runs[0], two: runs[1]}
    for name, document in documents.items():
        toy_suite.write(source / "evidence" / name, document)
    for _ in range(2):  # the same again is no other
        assert main([str(source), "--into", str(tmp_path / "results")]) == 0
    folder = tmp_path / "results" / "toy" / "evidence"
    assert {path.name: json.loads(path.read_text()) for path in folder.iterdir()} == documents
    capsys.readouterr()
    toy_suite.write(source / "evidence" / one, runs[0] | {"seconds": 1.0})
    assert main([str(source), "--into", str(tmp_path / "results")]) == 1
    assert "Evidence is never replaced" in capsys.readouterr().err
    assert json.loads((folder / one).read_text()) == runs[0]


def test_two_runs_with_one_error_are_two(tmp_path):
    """Errors are the same to the last bit, run after run; a second sitting brings as many again."""
    repo, into = tmp_path / "repo", tmp_path / "results"
    commit = toy_suite.make(repo)["v1.0"]
    for number in (1, 2):
        runs = [(commit, "default", 10.0 * number), (commit, "default", 11.0 * number)]
        toy_suite.turns(repo, "toy", runs, begun=toy_suite.BEGUN + 1e6 * number)
        source = tmp_path / f"from-{number}"
        shutil.move(repo / "results" / "toy", source)
        shutil.copy(repo / "results" / "benchmarks.json", source)
        assert main([str(source), "--into", str(into)]) == 0
        assert main([str(source), "--into", str(into)]) == 0  # the same again changes nothing
    (path,) = (into / "toy").glob("*-*.json")
    whole = json.loads(path.read_text())
    cells = {
        key: dict(zip(whole["result_columns"], row, strict=False))
        for key, row in whole["results"].items()
        if "EmbedProteins" in key
    }
    assert cells["commands.EmbedProteins.track_error"]["samples"][0] == [4e-07] * 4
    assert cells["commands.EmbedProteins.track_wall_seconds"]["samples"][0] == [10.0, 11.0, 20.0, 22.0]
    assert cells["commands.EmbedProteins.track_wall_seconds"]["result"][0] == 15.5


def test_the_committed_results_merge_with_themselves(tmp_path):
    """Benchmarks of one set of parameters, of two, and of none."""
    source, into = tmp_path / "nvidia-h100", tmp_path / "results"
    shutil.copytree(ROOT / "results" / "nvidia-h100", source)
    shutil.copy(ROOT / "results" / "benchmarks.json", source)
    for _ in range(2):
        assert main([str(source), "--into", str(into)]) == 0
        for path in source.rglob("*.json*"):
            place = into if path.name == "benchmarks.json" else into / "nvidia-h100"
            merged = json.loads((place / path.relative_to(source)).read_text())
            assert json.dumps(merged, sort_keys=True) == json.dumps(json.loads(path.read_text()), sort_keys=True)


@pytest.mark.parametrize("change", [{"samples": [[10**400]]}, {"samples": [["10"]]}])
def test_figures_that_are_none_are_refused(tmp_path, capsys, change):
    repo, source = tmp_path / "repo", tmp_path / "from"
    commit = toy_suite.make(repo)["v1.0"]
    toy_suite.turns(repo, "toy", [(commit, "default", 10.0)])
    shutil.move(repo / "results" / "toy", source)
    shutil.copy(repo / "results" / "benchmarks.json", source)
    (path,) = source.glob(f"{commit[:8]}-*.json")
    whole = json.loads(path.read_text())
    row = whole["results"]["commands.EmbedProteins.track_wall_seconds"]
    for name, value in change.items():
        row[whole["result_columns"].index(name)] = [*value, *[None] * 3]
    path.write_text(json.dumps(whole))
    assert_refused(tmp_path, capsys, path.name)


@pytest.mark.parametrize("content, said", [
    ("[", "not evidence of a run"), ('{"format": 9}', "not evidence of a run"), ("[]", "not evidence of a run"),
])  # fmt: skip
def test_what_is_no_evidence_is_refused(tmp_path, capsys, content, said):
    source = returned(tmp_path / "from")
    (source / "evidence").mkdir()
    (source / "evidence" / "one.jsonl").write_text(content)
    assert_refused(tmp_path, capsys, said)


def test_a_link_for_the_evidence_leads_nowhere(tmp_path, capsys):
    returned(tmp_path / "from")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here" / "results" / "toy").mkdir(parents=True)
    (tmp_path / "here" / "results" / "toy" / "evidence").symlink_to(tmp_path / "elsewhere")
    assert_refused(tmp_path, capsys, "results/toy/evidence is no folder of its own")


@pytest.mark.parametrize("place", ["", "toy", "benchmarks.json/x", f"toy/{NAME}/x"])
def test_where_nothing_can_be_written_nothing_is(tmp_path, capsys, place):
    """A file where a folder has to be, or a folder where a file has to be."""
    returned(tmp_path / "from")
    path = tmp_path / "here" / "results" / place
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    assert_refused(tmp_path, capsys, "")


def test_a_full_disk_leaves_nothing_half_merged(tmp_path):
    """Of three files the last does not fit."""
    large = json.dumps(RESULTS | {"durations": {"d" * 100_000: 1.0}})
    (returned(tmp_path / "from") / NAME).write_text(large)
    into = tmp_path / "results"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.merge_results", tmp_path / "from", "--into", into],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
        cwd=ROOT, capture_output=True, text=True, timeout=HANG,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert "File too large" in done.stderr
    assert not list(into.rglob("*"))


def test_what_is_as_it_should_be_is_merged(tmp_path, capsys):
    into = tmp_path / "results"
    for number in (1, 2):
        assert main([str(returned(tmp_path / str(number))), "--into", str(into)]) == 0
        assert capsys.readouterr().out.split() == [
            str(into / name) for name in ("toy/machine.json", "benchmarks.json", f"toy/{NAME}")
        ]
    assert json.loads((into / "toy" / NAME).read_text()) == RESULTS
