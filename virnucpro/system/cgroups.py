"""Control groups: what a container or a batch job may have of its machine, by Linux's files of version 1 or 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def groups(controller: str, proc: Path = PROC, cgroups: Path = CGROUPS) -> Iterator[tuple[int, Path]]:
    """Yield the version and the folder of each group of this process, up to the root: 2 (0::/job) or 1 (7:memory:/job).

    Args:
        controller: As "memory" or "cpu".
        proc, cgroups: Where Linux shows them. What is not there limits nothing.
    """
    with suppress(OSError):
        for line in (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            version, root = (1, cgroups / controller) if controllers else (2, cgroups)
            group = root / path.lstrip("/")
            yield from ((version, each) for each in (group, *group.parents) if each.is_relative_to(root))


def processors(proc: Path = PROC, cgroups: Path = CGROUPS) -> float | None:
    """How many processors' time this process may have (`docker --cpus`, a limit of Kubernetes); None for no limit."""
    least = None
    for version, folder in groups("cpu", proc, cgroups):
        with suppress(OSError, ValueError, ZeroDivisionError):  # "max" is no number: no limit
            if version == 2:
                quota, period = map(int, (folder / "cpu.max").read_text().split())
            else:
                quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
            if quota > 0:  # -1 in version 1: no limit
                least = min(quota / period, least or quota / period)
    return least
