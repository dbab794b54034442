"""ESM-2's weights: both published formats, read into one set of tensor names (fair-esm's), still on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from virnucpro.errors import BadWeights
from virnucpro.models.catalog import ESM2_SIZES
from virnucpro.models.tensor_files import (
    State,
    check_layers,
    check_shapes,
    check_sizes,
    layer_shapes,
    read_fair_esm,
    read_hugging_face,
)
from virnucpro.models.tokens import VOCABULARY

# Hugging Face's names -> fair-esm's, within a layer
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
# Parts of checkpoints that the representation does not need
_UNUSED = (
    "lm_head.", "contact_head.", "pooler.", "classifier.",
    "embeddings.position_ids", "embeddings.position_embeddings.",
)  # fmt: skip


@dataclass(frozen=True)
class Esm2Shape:
    """Size of an ESM-2 and whether it was trained with token dropout (all published ones were)."""

    layers: int
    width: int
    heads: int
    token_dropout: bool = True
    synthetic: bool = False


def read_esm2(path: Path) -> tuple[Esm2Shape, State]:
    """Read a checkpoint of either format, under fair-esm's names and memory-mapped.

    Raises:
        BadWeights: Broken, not an ESM-2, or tensors missing, unknown or of another shape.
    """
    shape, state = _read_hugging_face(path) if path.is_dir() else _read_fair_esm(path)
    check_shapes(_shapes(shape), state, path)
    return shape, state


def _shapes(shape: Esm2Shape) -> dict[str, tuple[int, ...]]:
    """Every tensor that the representation needs."""
    width, mlp = shape.width, 4 * shape.width
    expected: dict[str, tuple[int, ...]] = {"embed_tokens.weight": (VOCABULARY, width)}
    norms, linears = ["emb_layer_norm_after"], {}
    for number in range(shape.layers):
        layer = f"layers.{number}"
        norms += [f"{layer}.self_attn_layer_norm", f"{layer}.final_layer_norm"]
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            linears[f"{layer}.self_attn.{name}"] = (width, width)
        linears |= {f"{layer}.fc1": (mlp, width), f"{layer}.fc2": (width, mlp)}
        expected[f"{layer}.self_attn.rot_emb.inv_freq"] = (width // shape.heads // 2,)
    return expected | layer_shapes(width, norms, linears)


def _read_fair_esm(path: Path) -> tuple[Esm2Shape, State]:
    options, state = read_fair_esm(path)
    try:
        shape = Esm2Shape(
            options.encoder_layers,
            options.encoder_embed_dim,
            options.encoder_attention_heads,
            bool(options.token_dropout),
            bool(getattr(options, "virnucpro_synthetic", False)),
        )
    except AttributeError as error:
        raise BadWeights(f"{path}: not an ESM-2 checkpoint ({error}). Fetch the published .pt file.") from error
    check_sizes({"layers": shape.layers, "width": shape.width, "heads": shape.heads}, path)
    check_layers(shape.layers, state, path)
    _check_mlp(getattr(options, "encoder_ffn_embed_dim", 4 * shape.width), shape, path)
    return shape, _with_rotary(_used(state), shape)


def _read_hugging_face(folder: Path) -> tuple[Esm2Shape, State]:
    config, tensors = read_hugging_face(folder)
    try:
        shape = Esm2Shape(
            config["num_hidden_layers"],
            config["hidden_size"],
            config["num_attention_heads"],
            bool(config["token_dropout"]),
            bool(config.get("virnucpro_synthetic", False)),
        )
        is_esm2 = config["model_type"] == "esm" and config["position_embedding_type"] == "rotary"
    except KeyError as error:
        raise BadWeights(f"{folder}/config.json: no {error}; expected an ESM-2's. Fetch the folder again.") from error
    is_esm2 &= config.get("layer_norm_eps", 1e-5) == 1e-5 and not config.get("emb_layer_norm_before")
    is_esm2 &= config.get("hidden_act", "gelu") == "gelu"
    if not is_esm2 or config.get("vocab_size") != 33:
        raise BadWeights(
            f"{folder}/config.json: not an ESM-2 (expected model_type esm, rotary positions, "
            "33 tokens, layer_norm_eps 1e-5, hidden_act gelu, no emb_layer_norm_before). Fetch the folder again."
        )
    check_sizes({"layers": shape.layers, "width": shape.width, "heads": shape.heads}, folder / "config.json")
    check_layers(shape.layers, tensors, folder)
    _check_mlp(config.get("intermediate_size", 4 * shape.width), shape, folder / "config.json")
    state = {}
    for name, tensor in _used({name.removeprefix("esm."): tensors[name] for name in tensors}).items():
        state[_fair_esm_name(name)] = tensor
    return shape, _with_rotary(state, shape)


def _check_mlp(width: object, shape: Esm2Shape, source: Path) -> None:
    if width != 4 * shape.width:
        raise BadWeights(
            f"{source}: {width!r} in the MLP, but {4 * shape.width} in an ESM-2 of width {shape.width}. Fetch it again."
        )


def _used(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith(_UNUSED)}


def _fair_esm_name(name: str) -> str:
    """Hugging Face's tensor name as fair-esm's; a name of neither comes back as it is."""
    if name.startswith("encoder.layer."):
        number, _, rest = name.removeprefix("encoder.layer.").partition(".")
        for theirs, ours in _LAYER_NAMES.items():
            if rest.startswith(theirs):
                return f"layers.{number}.{ours}{rest.removeprefix(theirs)}"
    return name.replace("embeddings.word_embeddings.", "embed_tokens.").replace(
        "encoder.emb_layer_norm_after.", "emb_layer_norm_after."
    )


def _with_rotary(state: State, shape: Esm2Shape) -> State:
    """Give each layer its rotary frequencies: the file's own, else the exact ones.

    The published files hold them rounded to half precision, and fair-esm computes with those, so
    they are part of the weights. Newer Hugging Face files hold them once for all layers.
    """
    shared = state.pop("rotary_embeddings.inv_freq", None)
    if shared is None:
        dims = torch.arange(0, shape.width // shape.heads, 2).float()
        shared = 1.0 / 10000 ** (dims / (shape.width // shape.heads))
    for layer in range(shape.layers):
        state.setdefault(f"layers.{layer}.self_attn.rot_emb.inv_freq", shared)
    return state


def check_size(shape: Esm2Shape, name: str, path: Path) -> None:
    """Refuse a checkpoint that is not of the size its name says.

    Raises:
        BadWeights: Layers, width or heads differ from ESM2_SIZES[name], or it was trained without token dropout.
    """
    found = (shape.layers, shape.width, shape.heads)
    if found != ESM2_SIZES[name]:
        raise BadWeights(
            f"{path}: {found[0]} layers x {found[1]} with {found[2]} heads, but {name} has "
            "{} layers x {} with {} heads. Is it the right file?".format(*ESM2_SIZES[name])
        )
    if not shape.token_dropout:
        raise BadWeights(f"{path}: without token dropout, with which {name} was trained. Is it the right file?")
