"""Host environment: the packages of the Python that runs asv, and the commit under test; nothing is fetched.

For a machine without network, and for tests that have no time to install torch: `asv run -E host`, or
"environment_type": "host". The name of the environment holds the versions of the matrix, so the host must have them.
"""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from pathlib import Path

from asv.config import Config
from asv.environment import EnvironmentUnavailable
from asv.plugins.virtualenv import Virtualenv
from packaging.specifiers import SpecifierSet

PURELIB = "import sysconfig; print(sysconfig.get_path('purelib'))"


class HostEnvironment(Virtualenv):
    """An empty virtual environment that sees the host's packages after its own.

    asv picks an environment class by the type that its configuration names, so this one is used only when named.
    """

    tool_name = "host"

    def __init__(self, conf: Config, python: str, requirements: dict[str, str], tagged_env_vars: dict) -> None:
        """
        Raises:
            EnvironmentUnavailable: The host has another Python, or other packages than `requirements`.
        """
        complaints = differences(python, requirements)
        if complaints:
            raise EnvironmentUnavailable(f"This host cannot be the environment: {'; '.join(complaints)}.")
        super().__init__(conf, python, requirements, tagged_env_vars)
        self._executable = sys.executable  # not any other python3.x on PATH: compiled packages must fit

    @property
    def name(self) -> str:
        """Part of file names. `+`, as in torch 2.11.0+cu130, is refused by some ways of bringing files back."""
        return super().name.replace("+", "_")

    def _install_requirements(self) -> None:
        site_packages = self.run_executable("python", ["-c", PURELIB]).strip()
        # Entries of a .pth file go to the end of sys.path, so the commit under test wins over a copy on the host; and
        # .pth files in those folders are not read, so an editable install on the host does not interfere.
        lines = "".join(f"{folder}\n" for folder in package_folders())
        Path(site_packages, "host.pth").write_text(lines, encoding="utf-8")


def differences(python: str, requirements: dict[str, str]) -> list[str]:
    """In what this Python is not what is asked for; a version without a local label (+cpu) stands for any label."""
    running = ".".join(platform.python_version_tuple()[:2])
    found = [] if python == running else [f"Python is {running}, not {python}"]
    for requirement, wanted in requirements.items():
        package = requirement.removeprefix("pip+")
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            found.append(f"{package} is missing")
            continue
        if wanted and not SpecifierSet(f"=={wanted}").contains(version, prereleases=True):
            found.append(f"{package} is {version}, not {wanted}")
    return found


def package_folders() -> list[str]:
    """Folders of sys.path that packages are installed in: not the standard library, not the working directory."""
    return [str(Path(entry).resolve()) for entry in dict.fromkeys(sys.path) if any(Path(entry).glob("*.dist-info"))]
