"""`asv compare` with results of several machines: which it takes, in a toy repository."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import toy_suite

pytest.importorskip("asv", reason="asv is not installed: pip install '.[bench]'")


@pytest.fixture
def toy(tmp_path: Path):
    """A function: machine and releases that it has results of -> what `asv compare v1.0 v2.0 ...` says."""
    folder = tmp_path / "a toy"  # a space, as in many a home
    commits = toy_suite.make(folder)

    def compare(measured: dict[str, list[str]], *options: str):
        for machine, releases in measured.items():
            for release in releases:
                seconds = toy_suite.figures(toy_suite.GPU[release], "gpu-10k", newest=False)
                toy_suite.results(folder, machine, commits[release], seconds)
        return toy_suite.asv(folder, "compare", "v1.0", "v2.0", *options, home=tmp_path)

    return compare


@pytest.mark.parametrize("other, releases, chosen", [
    ("elsewhere", ["v1.0"], "there"),
    ("here", ["v1.0", "v2.0"], "here"),
    ("here", ["v2.0"], "there"),
])  # fmt: skip
def test_the_machine_that_has_both_is_chosen_this_one_first(toy, other, releases, chosen):
    names = {"here": platform.node()}
    done, chosen = toy({"there": ["v1.0", "v2.0"], names.get(other, other): releases}), names.get(chosen, chosen)
    assert done.returncode == 0, done.stderr
    assert f"Comparing the results of machine {chosen};" in done.stdout + done.stderr
    assert "230" in done.stdout and "29" in done.stdout and "0.13" in done.stdout


def test_a_machine_that_is_named_is_taken(toy):
    done = toy({"a": ["v1.0", "v2.0"], "b": ["v1.0", "v2.0"]}, "--machine", "b")
    assert done.returncode == 0 and "Comparing the results" not in done.stdout + done.stderr


def test_the_only_machine_needs_no_choice(toy):
    done = toy({"a": ["v1.0", "v2.0"]})
    assert done.returncode == 0 and "Comparing the results" not in done.stdout + done.stderr


@pytest.mark.parametrize("measured, said", [
    ({"a": ["v1.0", "v2.0"], "b": ["v1.0", "v2.0"]}, "v1.0 and v2.0 were measured on a, b. Choose with --machine."),
    ({"a": ["v1.0"], "b": ["v2.0"]}, "Not measured: v2.0 on a: the nearest that was is "),
])  # fmt: skip
def test_no_choice_is_an_error_of_one_line(toy, measured, said):
    done = toy(measured)
    assert done.returncode == 1 and said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_asvs_pip_is_held_to_our_constraints(monkeypatch, tmp_path):
    """The variable is set when the plugin is imported; pip reads it, spaces in the path and all."""
    import subprocess
    import sys

    folder = tmp_path / "a toy"
    toy_suite.make(folder)
    script = "import os, benchmarks.asv_plugins.run_choice; print(os.environ['PIP_CONSTRAINT'])"
    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)
    said = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert said == (folder / ".ci" / "constraints.txt").as_uri() and "%20" in said
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--no-deps", "click==1.0"]
    environment = {"PIP_CONSTRAINT": said, "PATH": "/usr/bin:/bin"}
    refused = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "The user requested (constraint) click==" in refused.stdout + refused.stderr
