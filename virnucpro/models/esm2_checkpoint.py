"""ESM-2's weights: both published formats, read into one set of tensor names (fair-esm's), still on disk."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from virnucpro.errors import BadWeights
from virnucpro.models import tensor_files
from virnucpro.models.catalog import ESM2_SIZES
from virnucpro.models.language_models import Shape
from virnucpro.models.tensor_files import State, layer_shapes, renamed
from virnucpro.models.tokens import VOCABULARY

# Hugging Face's names -> fair-esm's: within a layer, and of all else
_LAYER_NAMES = {
    "attention.self.query.": "self_attn.q_proj.",
    "attention.self.key.": "self_attn.k_proj.",
    "attention.self.value.": "self_attn.v_proj.",
    "attention.self.rotary_embeddings.": "self_attn.rot_emb.",
    "attention.output.dense.": "self_attn.out_proj.",
    "attention.LayerNorm.": "self_attn_layer_norm.",
    "intermediate.dense.": "fc1.",
    "output.dense.": "fc2.",
    "LayerNorm.": "final_layer_norm.",
}
_NAMES = {
    "embeddings.word_embeddings.": "embed_tokens.",
    "encoder.emb_layer_norm_after.": "emb_layer_norm_after.",
}
# Parts of checkpoints that the representation does not need
_UNUSED = (
    "lm_head.", "contact_head.", "pooler.", "classifier.",
    "embeddings.position_ids", "embeddings.position_embeddings.",
)  # fmt: skip
_UNSTATED = object()  # the width of the MLP where a checkpoint leaves it out: 4 times the model's


@dataclass(frozen=True)
class Esm2Shape(Shape):
    """Size of an ESM-2 and whether it was trained with token dropout (all published ones were)."""

    token_dropout: bool = True


def read_esm2(path: Path) -> tuple[Esm2Shape, State]:
    """Read a checkpoint of either format, under fair-esm's names and memory-mapped.

    Raises:
        BadWeights: Broken, not an ESM-2, or tensors missing, unknown or of another shape.
    """
    source = path / "config.json" if path.is_dir() else path
    shape, mlp_width, tensors = _read_hugging_face(path, source) if path.is_dir() else _read_fair_esm(path)
    tensor_files.check_sizes(shape, tensors, source, path)
    if mlp_width not in (_UNSTATED, 4 * shape.width):
        raise BadWeights(
            f"{source}: {mlp_width!r} in the MLP, but {4 * shape.width} in an ESM-2 of width {shape.width}. "
            "Fetch it again."
        )
    state = _with_rotary({name: tensors[name] for name in tensors if not name.startswith(_UNUSED)}, shape)
    tensor_files.check_shapes(_shapes(shape), state, path)
    return shape, state


def _shapes(shape: Esm2Shape) -> dict[str, tuple[int, ...]]:
    """Every tensor that the representation needs."""
    width, mlp = shape.width, 4 * shape.width
    expected: dict[str, tuple[int, ...]] = {"embed_tokens.weight": (VOCABULARY, width)}
    biased: dict[str, tuple[int, ...]] = {"emb_layer_norm_after": (width,)}
    for number in range(shape.layers):
        layer = f"layers.{number}"
        biased |= {f"{layer}.self_attn_layer_norm": (width,), f"{layer}.final_layer_norm": (width,)}
        biased |= {f"{layer}.self_attn.{name}_proj": (width, width) for name in ("q", "k", "v", "out")}
        biased |= {f"{layer}.fc1": (mlp, width), f"{layer}.fc2": (width, mlp)}
        expected[f"{layer}.self_attn.rot_emb.inv_freq"] = (width // shape.heads // 2,)
    return expected | layer_shapes(biased)


def _read_fair_esm(path: Path) -> tuple[Esm2Shape, object, State]:
    """The shape, the width of the MLP and the tensors, prefixes removed."""
    content = tensor_files.read_pickled(path, [argparse.Namespace])
    try:
        options, state = content["cfg"]["model"], content["model"]
        state = {name.removeprefix("encoder.").removeprefix("sentence_encoder."): state[name] for name in state}
        vars(options)
    except (KeyError, TypeError, AttributeError) as error:
        raise BadWeights(
            f"{path}: no ESM-2 checkpoint of fair-esm (expected 'cfg' with 'model', and 'model'). "
            "Fetch the published .pt file."
        ) from error
    try:
        sizes = options.encoder_layers, options.encoder_embed_dim, options.encoder_attention_heads
        synthetic = bool(getattr(options, "virnucpro_synthetic", False))
        shape = Esm2Shape(*sizes, bool(options.token_dropout), synthetic=synthetic)
    except AttributeError as error:
        raise BadWeights(f"{path}: not an ESM-2 checkpoint ({error}). Fetch the published .pt file.") from error
    return shape, getattr(options, "encoder_ffn_embed_dim", _UNSTATED), state


def _read_hugging_face(folder: Path, source: Path) -> tuple[Esm2Shape, object, State]:
    """The same of a folder, whose config.json is `source`; tensors under fair-esm's names."""
    config, tensors = tensor_files.read_hugging_face(folder)
    try:
        sizes = config["num_hidden_layers"], config["hidden_size"], config["num_attention_heads"]
        synthetic = bool(config.get("virnucpro_synthetic", False))
        shape = Esm2Shape(*sizes, bool(config["token_dropout"]), synthetic=synthetic)
        is_esm2 = config["model_type"] == "esm" and config["position_embedding_type"] == "rotary"
    except KeyError as error:
        raise BadWeights(f"{source}: no {error}; expected an ESM-2's. Fetch the folder again.") from error
    is_esm2 &= config.get("layer_norm_eps", 1e-5) == 1e-5 and not config.get("emb_layer_norm_before")
    is_esm2 &= config.get("hidden_act", "gelu") == "gelu"
    if not is_esm2 or config.get("vocab_size") != 33:
        raise BadWeights(
            f"{source}: not an ESM-2 (expected model_type esm, rotary positions, "
            "33 tokens, layer_norm_eps 1e-5, hidden_act gelu, no emb_layer_norm_before). Fetch the folder again."
        )
    state = {_fair_esm_name(name.removeprefix("esm.")): tensor for name, tensor in tensors.items()}
    return shape, config.get("intermediate_size", _UNSTATED), state


def _fair_esm_name(name: str) -> str:
    """Hugging Face's name of a tensor as fair-esm's; a name of neither comes back as it is, for the message."""
    if not (layer := re.match(r"encoder\.layer\.(\d+)\.", name)):
        return renamed(name, _NAMES)
    rest = name[layer.end() :]
    for theirs, ours in _LAYER_NAMES.items():
        if rest.startswith(theirs):
            return f"layers.{layer[1]}.{ours}{rest.removeprefix(theirs)}"
    return name


def exact_frequencies(head_width: int) -> torch.Tensor:
    """The rotary frequencies that ESM-2 was trained with: float32 (head_width / 2,)."""
    return 1.0 / 10000 ** (torch.arange(0, head_width, 2).float() / head_width)


def _with_rotary(state: State, shape: Esm2Shape) -> State:
    """Give each layer its rotary frequencies: the file's own, else the exact ones.

    The published files hold them rounded to half precision, and fair-esm computes with those, so
    they are part of the weights. Newer Hugging Face files hold them once for all layers.
    """
    shared = state.pop("rotary_embeddings.inv_freq", exact_frequencies(shape.width // shape.heads))
    for layer in range(shape.layers):
        state.setdefault(f"layers.{layer}.self_attn.rot_emb.inv_freq", shared)
    return state


def check_size(shape: Esm2Shape, name: str, path: Path) -> None:
    """Refuse a checkpoint that is not of the size its name says.

    Raises:
        BadWeights: Layers, width or heads differ from ESM2_SIZES[name], or it was trained without token dropout.
    """
    sizes = shape.layers, shape.width, shape.heads
    if sizes != ESM2_SIZES[name]:
        layout = "{} layers x {} with {} heads"
        expected = layout.format(*ESM2_SIZES[name])
        raise BadWeights(f"{path}: {layout.format(*sizes)}, but {name} has {expected}. Is it the right file?")
    if not shape.token_dropout:
        raise BadWeights(f"{path}: without token dropout, with which {name} was trained. Is it the right file?")
