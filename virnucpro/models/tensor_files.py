"""Tensor files: tensors read from files without running what a file says.

Pickled files go through torch's weights-only unpickler with an allow-list of exact classes; nothing
else is ever unpickled, and no code that lies beside weights is imported.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from virnucpro.errors import BadWeights
from virnucpro.models.language_models import Shape
from virnucpro.models.locate import HUGGING_FACE_FILES

State = dict[str, Tensor]
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def read_pickled(path: Path, allowed: list[Any], mmap: bool = True) -> Any:
    """Read a file written by `torch.save`, memory-mapped where its format allows.

    Args:
        path: The file.
        allowed: Classes, or (class, "module.name") pairs, that it may hold beside tensors.
        mmap: Leave the tensors on disk until they are used.
    Raises:
        BadWeights: Not such a file, cut off, or holding other objects.
    """
    try:
        with torch.serialization.safe_globals(allowed):
            try:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
            except RuntimeError as error:
                if not mmap or "mmap can only be used" not in str(error):
                    raise
                return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise BadWeights(
            f"{path}: refused, for it holds more than weights, or is no weights file at all (a web page? a git-lfs "
            "pointer?). Only plain weight files are read; fetch the published file again."
        ) from error
    except PermissionError as error:
        raise BadWeights(f"{path}: cannot be read ({error.strerror}). Ask its owner for access.") from error
    except (RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError, OSError) as error:
        raise BadWeights(
            f"{path}: damaged or not a PyTorch weights file ({_first_line(error)}). Fetch it again."
        ) from error


def read_safetensors(path: Path) -> tuple[State, dict[str, str]]:
    """Read tensors (memory-mapped) and metadata of a safetensors file.

    Raises:
        BadWeights: Not such a file, or cut off.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise BadWeights(
            f"{path}: damaged or not a safetensors file ({_first_line(error)}). Fetch it again."
        ) from error


def read_hugging_face(folder: Path) -> tuple[dict[str, Any], State]:
    """Read a Hugging Face model folder: config.json and the tensors, sharded or not.

    Raises:
        BadWeights: A file is missing, damaged, or no JSON.
    """
    config = read_json(folder / "config.json")
    source = next((folder / name for name in HUGGING_FACE_FILES if (folder / name).is_file()), None)
    if source is None:
        raise BadWeights(f"{folder}: no weights; expected one of {', '.join(HUGGING_FACE_FILES)}.")
    named: dict[Path, set[str]] = {source: set()}  # tensors by the file that should hold them
    if source.suffix == ".json":
        named = {}
        try:
            for tensor, name in read_json(source)["weight_map"].items():
                named.setdefault(folder / Path(name).name, set()).add(tensor)
        except (KeyError, AttributeError, TypeError) as error:
            raise BadWeights(f"{source}: no index of weight files. Fetch the folder again.") from error
    state: State = {}
    for shard in sorted(named):
        if not shard.is_file():
            raise BadWeights(f"{shard}: missing, though {source.name} names it. Fetch the folder again.")
        held = read_safetensors(shard)[0] if shard.suffix == ".safetensors" else read_pickled(shard, [])
        if not isinstance(held, dict) or not all(isinstance(name, str) for name in held):
            raise BadWeights(f"{shard}: holds no tensors by name. Is it the right file?")
        if lacking := sorted(named[shard] - held.keys()):
            raise BadWeights(
                f"{shard}: lacks {len(lacking)} tensors that {source.name} names (such as {lacking[0]}). "
                "Fetch the folder again."
            )
        state |= held
    return config, state


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        BadWeights: Missing or no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadWeights(f"{path}: cannot be read as JSON ({_first_line(error)}). Fetch it again.") from error
    if not isinstance(content, dict):
        raise BadWeights(f"{path}: expected a JSON object, found {type(content).__name__}. Fetch it again.")
    return content


class Unfilled(TorchFunctionMode):
    """Context in which modules are made without filling their parameters, which stay unused memory.

    The meta device would do as well, but its first use imports 800 modules (2 s).
    """

    _FILLING = (Tensor.uniform_, Tensor.normal_, Tensor.fill_, Tensor.zero_)

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in self._FILLING or getattr(function, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


def check_sizes(shape: Shape, state: State, source: Path, path: Path) -> None:
    """Check the sizes that a checkpoint of a model with attention states, before the model is made.

    Args:
        source: The file that states them; `path` is the whole checkpoint.
    Raises:
        BadWeights: One is no positive whole number, heads do not divide the width, or more layers than tensors.
    """
    for name in (field.name for field in fields(shape) if field.type in (int, "int")):
        if type(size := getattr(shape, name)) is not int or size < 1:
            raise BadWeights(f"{source}: {name} is {size!r}, not a positive whole number. Fetch it again.")
    if shape.width % shape.heads:
        raise BadWeights(f"{source}: {shape.heads} heads do not divide a width of {shape.width}. Fetch it again.")
    if shape.layers > len(state):
        raise BadWeights(f"{path}: {shape.layers} layers, but {len(state)} tensors are there. Fetch it again.")


def check_shapes(expected: dict[str, tuple[int, ...]], state: State, source: Path) -> None:
    """Check that `state` holds the tensors of a model, and no others.

    Raises:
        BadWeights: Names or shapes on either side that the other lacks, or what is no plain tensor of numbers.
    """
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise BadWeights(f"{source}: {name} is no tensor. Is it the right file?")
        plain = value.layout == torch.strided and value.device.type == "cpu"
        if expected.get(name) and not (plain and value.dtype in _FLOATS):  # a mere count, of shape (), is no weight
            raise BadWeights(
                f"{source}: {name} holds no floating-point numbers of 16 to 64 bits. Is it the right file?"
            )
    differences = {
        "missing": expected.keys() - state.keys(),
        "unknown": state.keys() - expected.keys(),
        "of another shape": {name for name in expected.keys() & state.keys() if state[name].shape != expected[name]},
    }
    misfits = [f"{len(names)} {what} (such as {min(names)})" for what, names in differences.items() if names]
    if misfits:
        raise BadWeights(f"{source}: tensors do not fit the model: {', '.join(misfits)}. Is it the right file?")


def layer_shapes(weights: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of LayerNorms and linear layers with a bias, from the shapes of their weights."""
    biases = {f"{name}.bias": shape[:1] for name, shape in weights.items()}
    return {f"{name}.weight": shape for name, shape in weights.items()} | biases


def renamed(name: str, names: dict[str, str]) -> str:
    """A tensor's name with each part that is a key of `names` replaced, in their order."""
    for theirs, ours in names.items():
        name = name.replace(theirs, ours)
    return name


def fill(module: nn.Module, state: State) -> None:
    """Put tensors that have been checked into a module made `Unfilled`."""
    module.load_state_dict(state, assign=True)
    module.eval().requires_grad_(False)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__
