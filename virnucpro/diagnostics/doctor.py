"""Doctor: what this installation and this machine can do, what is wrong, and what to do about it.

Every check stands alone: where one cannot even begin, for a package is broken or there is no GPU, it finds just that.
Nothing is imported here that could be what is broken.
"""

from __future__ import annotations

import importlib
import logging
import platform
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from virnucpro._version import __version__
from virnucpro.config.settings import Settings
from virnucpro.diagnostics.finding import NOTE, OK, PROBLEM, Finding
from virnucpro.diagnostics.memory_needs import available_memory, device_bytes, host_bytes, weight_bytes
from virnucpro.errors import BadRequest, BadWeights, one_line
from virnucpro.models import locate
from virnucpro.models.catalog import AUTO, ESM2_SIZES, PRECISIONS, PUBLISHED_PRECISION
from virnucpro.models.locate import candidates, default_directory, fetch_command, first_model, models_asked_for
from virnucpro.reading.input_kind import InputKind
from virnucpro.system.devices import listed_gpus, usable_cpus
from virnucpro.system.home import home
from virnucpro.system.imports import why_compiled_anew
from virnucpro.system.packages import EVERY, PARTIAL, import_errors, is_older, least_versions, version_of
from virnucpro.weights.digests import AS_PUBLISHED, AS_RECORDED
from virnucpro.weights.inventory import check, check_used, verify
from virnucpro.weights.sources import BY_NAME

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)
GB = 1e9


def examine(settings: Settings, quick: bool = False) -> Iterator[Finding]:
    """Every finding, as soon as it is known.

    Args:
        settings: What a run is to use: weights, model, precision, attention.
        quick: Leave out what takes seconds: the sha256 of the weights, and the self-test.
    """
    errors = import_errors()
    torch = None if "torch" in errors else importlib.import_module("torch")
    checks: list[Callable[[], Iterator[Finding]]] = [
        lambda: _installation(errors), lambda: _gpus(torch), _loaders,
        lambda: _devices(torch, settings, quick), lambda: _weights(settings, quick), lambda: _room(settings),
    ]  # fmt: skip
    for examined in checks:
        try:
            yield from examined()
        except Exception as error:
            log.debug("A check", exc_info=True)
            text = f"this check failed: {one_line(error)}"
            yield Finding(PROBLEM, "doctor", text, "Fix what is named above; if nothing is, please report this.")


def _installation(errors: dict[str, str]) -> Iterator[Finding]:
    yield Finding(OK, "virnucpro", f"{__version__}, Python {platform.python_version()}, {usable_cpus()} CPUs")
    if home() is None:
        yield Finding(NOTE, "home", "none: weights are looked for in ./weights", "Set HOME, or name --weights-dir.")
    required, good = least_versions(), []
    for name, module in EVERY.items():
        version, least = version_of(name), required.get(name)
        if module in errors:
            only = f"; only `{PARTIAL[name]}` needs it" if name in PARTIAL else ""
            advice = f"Install it again: pip install --force-reinstall {name}"
            yield Finding(NOTE if only else PROBLEM, name, f"cannot be imported ({errors[module]}){only}", advice)
        elif version is not None and least is not None and is_older(version, least):
            yield Finding(PROBLEM, name, f"{version}, and {least} is needed", f"pip install '{name}>={least}'")
        else:
            good.append(f"{name} {version or 'of unknown version'}")
    yield Finding(OK, "packages", ", ".join(good))
    if reason := why_compiled_anew():
        advice = "Set XDG_CACHE_HOME to a folder of yours: what Python makes of the source is kept there."
        yield Finding(NOTE, "start-up", f"torch's source is compiled at every start, for seconds: {reason}", advice)


def _gpus(torch: ModuleType | None) -> Iterator[Finding]:
    from virnucpro.system.hardware import capture_hardware_info

    hardware = capture_hardware_info()
    if not hardware["gpus"]:
        yield Finding(
            NOTE, "GPU", f"none: {hardware['reason']}",
            "A run uses the CPU, which takes days with the 3B model. If there is an NVIDIA GPU, install its driver; in "
            "a container add --gpus all (Docker) or --nv (Apptainer).",
        )  # fmt: skip
        return
    cuda = hardware["driver_cuda"]
    for number, gpu in enumerate(hardware["gpus"]):
        memory = "" if gpu["memory_bytes"] is None else f", {gpu['memory_bytes'] / GB:.0f} GB"
        yield Finding(OK, f"GPU {number}", f"{gpu['name']}{memory}, driver {gpu['driver']} (CUDA {cuda} or earlier)")
    if torch is None or torch.cuda.is_available():
        return
    if listed_gpus() == []:
        text = "CUDA_VISIBLE_DEVICES hides all of them, so the CPU is used"
        yield Finding(NOTE, "GPU", text, "Unset it to use a GPU.")
    elif torch.version.cuda is None:
        advice = f"Install a build for CUDA {cuda} or earlier: https://pytorch.org/get-started/locally"
        yield Finding(PROBLEM, "torch", f"{torch.__version__} is built for the CPU only", advice)
    else:
        advice = "Update the driver, or install a torch built for its CUDA: https://pytorch.org/get-started/locally"
        text = f"built for CUDA {torch.version.cuda}; the driver can do {cuda}: no GPU"
        yield Finding(PROBLEM, "torch", text, advice)


def _devices(torch: ModuleType | None, settings: Settings, quick: bool) -> Iterator[Finding]:
    if torch is None:
        yield Finding(PROBLEM, "self-test", "not possible without torch")
        return
    names = [f"cuda:{number}" for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else ["cpu"]
    for name in names:
        yield from _device(torch.device(name), settings, quick)


def _loaders() -> Iterator[Finding]:
    from virnucpro.engine.prefetch import why_none

    if (reason := why_none()) is None:
        yield Finding(OK, "loaders", "processes that prepare windows ahead can be started")
    else:
        advice = "Raise the limits on processes and open files (ulimit -u, ulimit -n)."
        yield Finding(NOTE, "loaders", f"a run prepares its windows by itself, which is slower: {reason}", advice)


def _device(device: torch.device, settings: Settings, quick: bool) -> Iterator[Finding]:
    from virnucpro.config.placement import Placement
    from virnucpro.engine.startup import check_kernels, check_precision
    from virnucpro.models import attention
    from virnucpro.models.ops import choose_ops

    placement = Placement((str(device),))
    precision = placement.precision if settings.precision == AUTO else settings.precision
    row = PRECISIONS[precision]
    esm_model, _ = models_asked_for(settings.esm_model, settings.model_path)
    _, width, heads = ESM2_SIZES[esm_model]
    yield Finding(OK, str(device), f"precision {precision}{' (auto)' if settings.precision == AUTO else ''}")
    chosen = None
    try:
        check_precision(row, device)
        check_kernels(row, device)
        chosen = attention.choose(settings.attention, device, row, [width // heads])
    except BadRequest as error:
        yield Finding(PROBLEM, str(device), str(error))
    for name in attention.BACKENDS:
        if cause := attention.unusable(name, device, row, [width // heads]):
            verdict = NOTE if cause.advice else OK
            yield Finding(verdict, str(device), f"attention {name}: {cause.reason}", cause.advice)
        else:
            yield Finding(OK, str(device), f"attention {name}: {'chosen' if name == chosen else 'usable'}")
    yield Finding(OK, str(device), f"between matrix products: {choose_ops(device, row, width)[1]}")
    yield from _memory(device, settings, precision, placement.token_budget)
    if not quick and chosen is not None:
        yield from _self_test(device, settings, precision)


def _memory(device: torch.device, settings: Settings, precision: str, usual_budget: int) -> Iterator[Finding]:
    esm_model, _ = models_asked_for(settings.esm_model, settings.model_path)
    budget = settings.batch_tokens or usual_budget
    if device.type == "cuda":
        import torch

        needed = device_bytes(esm_model, precision, budget)
        free, total = torch.cuda.mem_get_info(device)
        text = f"{free / GB:.1f} of {total / GB:.1f} GB free, about {needed / GB:.1f} needed for {esm_model}"
        advice = "End what else uses it (nvidia-smi), choose a smaller --esm-model, or lower --batch-tokens."
        yield Finding(OK, str(device), text) if free >= needed else Finding(PROBLEM, str(device), text, advice)
    needed, free = host_bytes(esm_model, precision, device.type == "cuda"), available_memory()
    text = f"{free / GB:.1f} GB free, about {needed / GB:.1f} needed for {esm_model}"
    advice = "Ask the batch system for more memory, or choose a smaller --esm-model."
    yield Finding(OK, "memory", text) if free >= needed else Finding(PROBLEM, "memory", text, advice)


def _self_test(device: torch.device, settings: Settings, precision: str) -> Iterator[Finding]:
    from virnucpro.diagnostics.self_test import self_test

    esm_model, _ = models_asked_for(settings.esm_model, settings.model_path)
    for result in self_test(esm_model, device, precision, settings.attention):
        text = (
            f"{result.model}'s layers, attention {result.attention}, {precision}: error {result.error:.1e}, allowed "
            f"{result.allowed:.1e} ({result.seconds:.1f} s)"
        )
        advice = "Results of this device are wrong. Try --attention sdpa; update the driver and torch; test the GPU."
        yield Finding(OK, "self-test", text) if result.passed else Finding(PROBLEM, "self-test", text, advice)


def _weights(settings: Settings, quick: bool) -> Iterator[Finding]:
    directory = settings.weights_dir or default_directory()
    esm_model, rows = models_asked_for(settings.esm_model, settings.model_path)
    names = [row.weights_name(esm_model) for row in rows]
    classifier = settings.model_path or f"{settings.model_type}_model"
    for model in (*names, classifier):
        try:
            yield from _classifier(model) if isinstance(model, Path) else _model(model, directory, quick)
        except BadWeights as error:
            yield Finding(PROBLEM, "weights", str(error))


def _classifier(path: Path) -> Iterator[Finding]:
    if not path.is_file():
        raise BadWeights(f"{path}: no such file. Check --model-path.")
    check(BY_NAME["500_model"], path)
    yield Finding(OK, "weights", f"{path} (no sha256 is known of it)")


def _model(name: str, directory: Path, quick: bool) -> Iterator[Finding]:
    if (path := first_model(directory, name)) is not None and path == locate.PACKAGED.get(name):
        yield Finding(OK, "weights", f"{name} comes with the program")
    elif path is None:
        where = " or ".join(str(candidate) for candidate in candidates(directory, name))
        yield Finding(PROBLEM, "weights", f"no {name} ({where})", fetch_command(directory, name))
    elif quick:
        yield Finding(OK, "weights", f"{check_used(BY_NAME[name], directory)} (sha256 not looked at)")
    else:
        for file in verify(BY_NAME[name], directory):
            verdict = PROBLEM if file.wrong else OK if file.state in (AS_PUBLISHED, AS_RECORDED) else NOTE
            yield Finding(verdict, "weights", file.wrong or f"{directory / file.path}: {file.state}")


def _room(settings: Settings) -> Iterator[Finding]:
    """Disk for the weights that are missing."""
    directory = settings.weights_dir or default_directory()
    esm_model, rows = models_asked_for(settings.esm_model, settings.model_path)
    names = [row.weights_name(esm_model) for row in rows]
    missing = [name for name in (*names, "300_model", "500_model") if first_model(directory, name) is None]
    # one ESM-2 has no published size; classifiers have none either, but are small
    estimates = {name: weight_bytes(name, PUBLISHED_PRECISION, InputKind.PROTEIN) for name in ESM2_SIZES}
    needed = sum(BY_NAME[name].size or estimates.get(name, 0) for name in missing)
    place = next(folder for folder in (directory, *directory.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    text = f"{free / GB:.1f} GB free in {place}" + (f", {needed / GB:.1f} needed for missing weights" if needed else "")
    advice = "Make room, or choose another --weights-dir."
    yield Finding(OK, "disk", text) if free > needed else Finding(PROBLEM, "disk", text, advice)
