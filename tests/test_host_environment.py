"""The asv plugin for machines without network: the host's packages, the commit's package, nothing fetched."""

from __future__ import annotations

import json
import platform
import sys
from importlib import metadata
from pathlib import Path

import pytest
from asv.config import Config
from asv.environment import EnvironmentUnavailable, get_environment_class, get_environments
from asv.plugins.virtualenv import Virtualenv

from benchmarks.asv_plugins.host_environment import HostEnvironment, differences

PYTHON = ".".join(platform.python_version_tuple()[:2])
TORCH = metadata.version("torch")  # 2.13.0+cpu, for example


def config(folder: Path, environment_type: str, requirements: dict[str, list[str]]) -> Config:
    settings = {"repo": ".", "environment_type": environment_type, "env_dir": str(folder), "pythons": [PYTHON]}
    return Config.from_json(settings | {"matrix": {"req": requirements}})


@pytest.mark.parametrize(
    ("python", "requirements", "expected"),
    [
        (PYTHON, {"torch": TORCH, "pip+numpy": ""}, []),
        (PYTHON, {"torch": TORCH.split("+")[0]}, []),  # as asv.conf.json has it
        ("2.7", {}, [f"Python is {PYTHON}, not 2.7"]),
        (PYTHON, {"torch": "0.1", "no-such-thing": "1"}, [f"torch is {TORCH}, not 0.1", "no-such-thing is missing"]),
    ],
    ids=["its own", "without a label", "another Python", "other packages"],
)
def test_a_host_that_is_not_what_is_asked_for_says_so(python, requirements, expected):
    assert differences(python, requirements) == expected


def test_the_environment_has_the_hosts_packages_after_its_own(tmp_path):
    (environment,) = get_environments(config(tmp_path, "host", {"torch": [TORCH]}), None)
    environment.create()
    own = Path(environment.run(["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())
    (own / "tabulate.py").write_text("", encoding="utf-8")  # the host has it, too
    seen = environment.run(
        ["-c", "import json, numpy, tabulate; print(json.dumps([numpy.__file__, tabulate.__file__]))"]
    )

    import numpy

    assert json.loads(seen) == [numpy.__file__, str(own / "tabulate.py")]


def test_its_name_makes_a_plain_file_name(tmp_path):
    (environment,) = get_environments(config(tmp_path, "host", {"torch": [TORCH]}), None)
    assert environment.name == f"host-py{PYTHON}-torch{TORCH.replace('+', '_')}"
    assert environment.requirements == {"torch": TORCH}
    assert environment._executable == sys.executable


def test_without_the_packages_there_is_no_environment(tmp_path):
    with pytest.raises(EnvironmentUnavailable, match=r"cannot be the environment: torch is .*, not 0\.1\."):
        HostEnvironment(config(tmp_path, "host", {}), PYTHON, {"torch": "0.1"}, {})


@pytest.mark.parametrize(("environment_type", "expected"), [("host", HostEnvironment), ("virtualenv", Virtualenv)])
def test_it_is_used_only_when_named(tmp_path, environment_type, expected):
    assert get_environment_class(config(tmp_path, environment_type, {}), PYTHON) is expected
