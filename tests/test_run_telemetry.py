"""The telemetry that a run leaves in its directory: whole, its own, and never in the way of results."""

import json
import shutil

import pytest
from conftest import DATA, ESM_8M
from runs import WINDOWS, options

from virnucpro.pipeline.compute import Run
from virnucpro.utils.telemetry import TelemetryLogger

NAME = "telemetry_small.json"


def arguments(out):
    return ("predict", DATA / "small.fa", "--output-dir", out, "--esm-model", ESM_8M)


def test_a_run_does_not_fail_for_it(main, tmp_path, monkeypatch):
    def no_room(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TelemetryLogger, "finalize", no_room)
    code, said = main(*arguments(tmp_path / "out"))
    assert code == 0
    assert "WARNING No telemetry was written: [Errno 28] No space left on device." in said
    manifest = json.loads((tmp_path / "out" / "small_run.json").read_text())
    assert (manifest["status"], manifest["telemetry"]) == ("complete", False)


def test_a_resumed_run_says_what_it_is_not_about(main, reads, killed, tmp_path):
    out = shutil.copytree(killed, tmp_path / "out")
    assert main("predict", reads, *options(out), "--resume")[0] == 0
    telemetry = json.loads((out / "telemetry_reads.json").read_text())
    before = telemetry["run_metadata"]["windows_done_before"]
    assert 3 <= before < WINDOWS
    assert telemetry["summary"]["batches"] == WINDOWS - before


@pytest.fixture
def ends_before_it_is_complete(monkeypatch):
    """Have runs end when all windows are there, until the context is left."""
    plain = Run.write

    def write(self, status, **more):
        if status == "complete":
            raise OSError(5, "Input/output error")
        plain(self, status, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write", write)
        yield patch


def test_figures_are_kept_where_nothing_was_left_to_compute(main, reads, tmp_path, ends_before_it_is_complete):
    out = tmp_path / "out"
    assert main("predict", reads, *options(out))[0] == 1
    ends_before_it_is_complete.undo()
    before = (out / "telemetry_reads.json").read_bytes()
    assert json.loads(before)["summary"]["batches"] == WINDOWS
    assert main("predict", reads, *options(out), "--resume")[0] == 0
    assert (out / "telemetry_reads.json").read_bytes() == before


def test_copies_of_windows_that_were_done_before_count(main, tmp_path, ends_before_it_is_complete):
    (tmp_path / "p.faa").write_text("".join(f">p{number}\nMKV\n" for number in range(8)))  # windows of 1, 1, 2, 4
    run = ("predict", tmp_path / "p.faa", *options(tmp_path / "out"))
    assert main(*run)[0] == 1
    ends_before_it_is_complete.undo()
    code, said = main(*run, "--resume")
    assert (code, "4 of 8 sequences have the residues of another one in their window" in said) == (0, True)
    manifest = json.loads((tmp_path / "out" / "p_run.json").read_text())
    assert (manifest["counts"]["copies"], manifest["performance"]["copies"]) == (4, 0)  # the latter of the last session


def test_force_takes_away_what_the_run_wrote_and_no_more(main, tmp_path):
    out = tmp_path / "out"
    assert main(*arguments(out))[0] == 0
    assert main("report", out)[0] == 0
    reports = [out / f"performance_report_small{suffix}" for suffix in (".txt", ".html")]
    assert all(path.exists() for path in reports)
    before = (out / NAME).read_bytes()
    assert main(*arguments(out), "--force")[0] == 0
    assert (out / NAME).read_bytes() != before
    assert not any(path.exists() for path in reports)

    # A directory of version 2.0.0, which wrote none; the user has one of the same name.
    manifest = json.loads((out / "small_run.json").read_text())
    del manifest["telemetry"]
    (out / "small_run.json").write_text(json.dumps(manifest))
    for path in reports:
        path.write_text("mine")
    assert main(*arguments(out), "--force")[0] == 0
    assert all(path.read_text() == "mine" for path in reports)


def test_one_that_no_run_has_made_is_not_written_over(main, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / NAME).write_text("mine")
    code, said = main(*arguments(out), "--force")
    assert code == 2
    assert f"{NAME} exists, and no run of virnucpro is recorded in small_run.json" in said
    assert (out / NAME).read_text() == "mine"


def test_odd_names(main, tmp_path):
    for name in ("..fa", "a b<&>.fa", "x" * 200 + ".fa"):
        shutil.copy(DATA / "small.fa", tmp_path / name)
        out = tmp_path / f"out of {name[:9]}"
        assert main("predict", tmp_path / name, "--output-dir", out, "--esm-model", ESM_8M)[0] == 0
        assert (out / f"telemetry_{name[:-3]}.json").exists()
        assert main("report", out)[0] == 0
