"""Weights: an encoder in a file, in half precision and under Hugging Face's names, with the facts of its training."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.pretraining.encoder import Encoder, Shape

State = dict[str, Tensor]
# Our names -> those of EsmForMaskedLM: outside of layers, and within one
_NAMES = {
    "embedding.": "esm.embeddings.word_embeddings.",
    "norm.": "esm.encoder.emb_layer_norm_after.",
    "head.": "lm_head.dense.",
    "head_norm.": "lm_head.layer_norm.",
    "head_bias": "lm_head.bias",
}
_LAYER_NAMES = {
    "attention_norm": "attention.LayerNorm",
    "out": "attention.output.dense",
    "mlp_norm": "LayerNorm",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
}
_PARTS = ("query", "key", "value")


@dataclass(frozen=True)
class Weights:
    """A file's content. state: float16, under Hugging Face's names. facts: what a training says of itself."""

    state: State
    shape: Shape
    facts: dict[str, Any]

    def encoder(self) -> Encoder:
        """The encoder with these weights, in float32 on the CPU."""
        model = Encoder(self.shape)
        model.load_state_dict({name: tensor.float() for name, tensor in from_hugging_face(self.state).items()})
        return model


def to_hugging_face(state: State) -> State:
    """Weights of an `Encoder` under the names of EsmForMaskedLM."""
    named: State = {}
    for name, tensor in state.items():
        if not name.startswith("layers."):
            ours = next(ours for ours in _NAMES if name.startswith(ours))
            named[_NAMES[ours] + name.removeprefix(ours)] = tensor
            continue
        _, number, module, kind = name.split(".")
        layer = f"esm.encoder.layer.{number}"
        if module == "qkv":
            for part, own in zip(_PARTS, tensor.chunk(3), strict=True):
                named[f"{layer}.attention.self.{part}.{kind}"] = own.clone()
        else:
            named[f"{layer}.{_LAYER_NAMES[module]}.{kind}"] = tensor
    return named


def from_hugging_face(state: State) -> State:
    """What `to_hugging_face` was given."""
    ours: State = {}
    names = {theirs: name for name, theirs in _NAMES.items()}
    layer_names = {theirs: name for name, theirs in _LAYER_NAMES.items()}
    for name, tensor in state.items():
        if not name.startswith("esm.encoder.layer."):
            theirs = next(theirs for theirs in names if name.startswith(theirs))
            ours[names[theirs] + name.removeprefix(theirs)] = tensor
            continue
        number, _, rest = name.removeprefix("esm.encoder.layer.").partition(".")
        module, _, kind = rest.rpartition(".")
        if module in layer_names:
            ours[f"layers.{number}.{layer_names[module]}.{kind}"] = tensor
        elif module == "attention.self.query":
            parts = [state[name.replace("query", part)] for part in _PARTS]
            ours[f"layers.{number}.qkv.{kind}"] = torch.cat(parts)
    return ours


def save(model: Encoder, path: Path, facts: dict[str, Any]) -> None:
    """Write the weights, with numbers and text alone as `facts`.

    Raises:
        ValueError: Half precision cannot hold them.
    """
    state = to_hugging_face({name: tensor.detach().half().cpu() for name, tensor in model.state_dict().items()})
    if not all(tensor.isfinite().all() for tensor in state.values()):
        raise ValueError("Weights are no numbers in half precision: the training went astray. Try a lower rate.")
    save_whole({"state": state, "shape": asdict(model.shape), "facts": facts}, path)


def load(path: Path) -> Weights:
    """Read what `save` wrote."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    return Weights(content["state"], Shape(**content["shape"]), content["facts"])


def save_whole(content: Any, path: Path) -> None:
    """`torch.save`, by which a file has its name only when all is written."""
    unfinished = path.with_name(f"{path.name}.part")
    torch.save(content, unfinished)
    unfinished.replace(path)
