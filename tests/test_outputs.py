"""Where a tool of the benchmarks is to write what it cannot: one line, exit code 1, and what is there stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from surroundings import HANG

from benchmarks import bundle
from benchmarks.site import speed_picture
from benchmarks.synthetic_weights import main as synthetic_weights


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a folder has to be."""
    path = tmp_path / "file"
    path.write_text("mine")
    return path


def test_synthetic_weights(file, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["synthetic_weights", str(file), "--esm-model", "esm2_t6_8M_UR50D"])
    assert synthetic_weights() == 1
    assert capsys.readouterr().err.startswith(f"synthetic_weights: {file} cannot be written: ")
    assert file.read_text() == "mine"


def test_a_bundle(file, capsys):
    assert bundle.main(["--output", str(file)]) == 1
    assert capsys.readouterr().err == f"bundle: {file} cannot be written: File exists.\n"
    assert file.read_text() == "mine"


def test_a_bundle_removes_no_folder_of_others(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bundle, "_write_history", lambda root, path: None)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "mine").write_text("mine")
    assert bundle.main(["--output", str(tmp_path)]) == 1
    assert "and not of an earlier call, which would go. Choose another --output." in capsys.readouterr().err
    assert (tmp_path / "wheels" / "mine").read_text() == "mine"


@pytest.mark.parametrize("option", ["--output", "--work"])
def test_a_run_offline_is_told_before_it_measures(file, tmp_path, option):
    places = {"--output": tmp_path / "output", "--work": tmp_path / "work", option: file}
    words = [str(word) for pair in places.items() for word in pair]
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "offline" / "run.py", "v2.0", "--machine", "toy", *words],
        capture_output=True, text=True, timeout=HANG,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("run.py: ") and "cannot be used: " in done.stderr


def test_pictures(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(speed_picture, "drawn", lambda repo: {Path("docs/pictures/x.svg"): "<svg/>"})
    (tmp_path / "docs").write_text("mine")
    assert speed_picture.main(tmp_path) == 1
    assert capsys.readouterr().err.startswith("speed_picture: ")
    assert (tmp_path / "docs").read_text() == "mine"
