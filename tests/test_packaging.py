"""Packaging: what the wheel and the source distribution hold, and that what is installed of them runs."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from surroundings import HANG

import virnucpro

pytest.importorskip("build")
DEBIANS_PYTHON = "3.11.2"  # of Debian 12, the oldest that the constraints are for
NAME = f"virnucpro-{virnucpro.__version__}"
INFO = f"{NAME}.dist-info"


def tracked(folder: str = ".") -> list[str]:
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", folder], capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def built(source: Path, folder: Path, *kinds: str) -> Path:
    """Build what `kinds` say of a source tree, without the network."""
    command = [sys.executable, "-m", "build", "--no-isolation", *kinds, "--outdir", folder, source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def held(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution of the tracked files."""
    source = tmp_path_factory.mktemp("source")
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, source / name)
    return built(source, tmp_path_factory.mktemp("made"), "--sdist", "--wheel")


@pytest.fixture(scope="module")
def wheel(made: Path) -> Path:
    return made / f"{NAME}-py3-none-any.whl"


@pytest.fixture(scope="module")
def unpacked(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution's tree."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(made / f"{NAME}.tar.gz") as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # not before Python 3.11.4
        archive.extractall(folder)
    return folder / NAME


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    return Parser().parsestr(held(wheel)[f"{INFO}/METADATA"].decode())


def test_there_is_one_wheel_for_every_platform_and_one_source_distribution(made):
    assert sorted(path.name for path in made.iterdir()) == [f"{NAME}-py3-none-any.whl", f"{NAME}.tar.gz"]


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = held(wheel).keys()
    package = tracked("virnucpro")
    assert {"virnucpro/py.typed", "virnucpro/reporting/report_page.html", "virnucpro/__main__.py"} <= set(package)
    assert sorted(name for name in names if not name.startswith(f"{INFO}/")) == sorted(package)
    about = {name.removeprefix(f"{INFO}/") for name in names if name.startswith(f"{INFO}/")}
    assert about == {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt"}


def test_the_wheel_has_the_command_and_the_licence(wheel):
    files = held(wheel)
    assert files[f"{INFO}/entry_points.txt"].decode().strip() == "[console_scripts]\nvirnucpro = virnucpro.cli:run"
    assert files[f"{INFO}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()


def test_the_metadata_says_what_it_is_and_needs(metadata):
    assert (metadata["Name"], metadata["Version"]) == ("virnucpro", virnucpro.__version__)
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] == "MIT"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert metadata.get_all("Provides-Extra") == ["bench", "test", "docs"]
    classifiers = metadata.get_all("Classifier")
    assert {"Typing :: Typed", "Topic :: Scientific/Engineering :: Bio-Informatics"} <= set(classifiers)
    assert metadata["Home-page"] is None and metadata.get_all("Project-URL") is None  # no address is known to stay
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()


def test_an_extra_is_needed_for_what_only_developers_use(metadata):
    needed = [each for each in metadata.get_all("Requires-Dist") if "extra ==" not in each]
    assert any(each.startswith("torch>=") for each in needed)
    assert not [each for each in needed if each.startswith(("pytest", "asv", "fair-esm", "mkdocs"))]


def test_the_source_distribution_holds_the_package_and_what_is_to_be_read_with_it(unpacked):
    files = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    own = {name for name in files if not name.startswith("virnucpro.egg-info/")}
    around = {"setup.py", "setup.cfg", "PKG-INFO", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"}
    assert own == {*tracked("virnucpro"), *around}
    for name in own - {"setup.cfg", "PKG-INFO"}:
        assert (unpacked / name).read_bytes() == (ROOT / name).read_bytes(), name


def test_the_source_distribution_builds_the_same_wheel(unpacked, wheel, tmp_path):
    again = built(unpacked, tmp_path, "--wheel") / wheel.name
    assert held(again) == held(wheel)


def test_what_is_installed_from_the_wheel_runs_outside_the_checkout(wheel, tmp_path):
    target = tmp_path / "installed"
    options = ["--quiet", "--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check", "--target", target]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, wheel], check=True, timeout=HANG)
    environment = os.environ | {"PYTHONPATH": str(target)}

    def said(*command: object) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=HANG)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    where = said(sys.executable, "-c", "import virnucpro; print(virnucpro.__file__)")
    assert Path(where) == target / "virnucpro" / "__init__.py"
    version = said(sys.executable, "-m", "virnucpro", "--version")
    assert version.split()[-1] == virnucpro.__version__
    assert said(target / "bin" / "virnucpro", "--version") == version


def test_what_is_pinned_takes_the_python_of_debian():
    lines = (ROOT / ".ci" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {(pin.name, str(pin.specifier)) for pin in map(Requirement, [line for line in lines if line[0] != "#"])}
    there = [one for one in importlib.metadata.distributions() if (one.name, f"=={one.version}") in pinned]
    needs = {f"{one.name} {one.version}": one.metadata.get("Requires-Python", "") for one in there}
    assert len(needs) > 30
    assert {name: need for name, need in needs.items() if DEBIANS_PYTHON not in SpecifierSet(need)} == {}
