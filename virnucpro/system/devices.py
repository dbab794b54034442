"""Devices: the processors and GPUs that this process may use. No torch here: who only coordinates does without."""

from __future__ import annotations

import os
import re
import sys
from itertools import takewhile

from virnucpro.system import cgroups


def usable_cpus() -> int:
    """Processors this process may run on, or has the time of: a cluster job often gets fewer than the host has."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(there, int(cgroups.processors() or there)))


def visible_gpus() -> int:
    """How many GPUs CUDA will show, asked of the driver's library without starting CUDA."""
    if "torch" in sys.modules:
        import torch

        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    listed = listed_gpus()
    if listed == []:
        return 0
    try:
        import pynvml

        pynvml.nvmlInit()
        count: int = pynvml.nvmlDeviceGetCount()
    except Exception:  # no driver, no GPU, or a broken installation of either
        return 0
    if listed is None:
        return count
    # CUDA stops at the first that does not exist, and shows one part of a divided GPU.
    shown = list(takewhile(lambda name: not isinstance(name, int) or name < count, listed))
    return min(1, len(shown)) if str(shown[:1]).startswith("['MIG-") else len(shown)


def listed_gpus() -> list[int | str] | None:
    """What CUDA_VISIBLE_DEVICES names, read as CUDA does; None where it is not set.

    Indices, of which what follows the digits is ignored; or UUIDs, which begin with ``GPU-`` or ``MIG-``. The list ends
    at the first that is neither (-1, nothing, Slurm's NoDevFiles), and one named twice leaves none.
    """
    text = os.environ.get("CUDA_VISIBLE_DEVICES")
    if text is None:
        return None
    names = text.split(",")
    listed: list[int | str]
    if (kind := names[0][:4]) in ("GPU-", "MIG-"):
        listed = [*takewhile(lambda name: name.startswith(kind), names)]
    else:
        numbers = takewhile(bool, (re.match(r"\s*\+?\d+", name) for name in names))
        listed = [int(number[0]) for number in numbers if number]
    return listed if len(set(listed)) == len(listed) else []
