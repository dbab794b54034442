"""Doctor: what this installation and this machine can do."""

from __future__ import annotations

import platform
from importlib import metadata

import torch

from virnucpro import __version__, attention, fusion
from virnucpro.devices import place, usable_cpus
from virnucpro.recipe import ATTENTIONS

PACKAGES = ("torch", "triton", "flash-attn", "tokenizers", "safetensors", "h5py", "dnaio", "nvidia-ml-py")


def report() -> str:
    """Versions, devices, and for each device the attention backends with the reason where one cannot run."""
    lines = [f"virnucpro {__version__}, Python {platform.python_version()}, {usable_cpus()} CPUs"]
    lines.append("Packages: " + ", ".join(f"{name} {_version(name)}" for name in PACKAGES))
    workers = place(None, True, 1).workers
    for worker in workers:
        lines += _device(torch.device(worker))
    return "\n".join(lines)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def _device(device: torch.device) -> list[str]:
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        head = f"{device}: {found.name}, {found.total_memory / 1e9:.0f} GB, capability {found.major}.{found.minor}"
        dtype = torch.float16
    else:
        head, dtype = "cpu", torch.float32
    lines = [head, f"  precision auto: {'fp16' if device.type == 'cuda' else 'fp32'}"]
    chosen = attention.choose("auto", device, dtype)
    for name in ATTENTIONS:
        reason = attention.unusable(name, device, dtype)
        lines.append(f"  attention {name}: {reason or ('chosen' if name == chosen else 'usable')}")
    lines.append(f"  between matrix products: {fusion.choose(device)[1]}")
    return lines
