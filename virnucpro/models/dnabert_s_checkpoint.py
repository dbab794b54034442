"""DNABERT-S's weights: config.json and tensors, read under our names, still on disk."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from virnucpro.errors import BadWeights
from virnucpro.models.tensor_files import (
    State,
    check_layers,
    check_shapes,
    check_sizes,
    layer_shapes,
    read_hugging_face,
)

WIDTH, HEADS, NORM_EPS = 768, 12, 1e-12  # of the published model


@dataclass(frozen=True)
class DnabertShape:
    """Sizes from config.json; the published model is 12 x 768 with 12 heads and 3,072 in the MLP."""

    layers: int
    width: int
    heads: int
    mlp_width: int
    vocabulary: int
    norm_eps: float
    synthetic: bool = False


# The published names -> ours
_NAMES = {
    "embeddings.word_embeddings.": "word_embeddings.",
    "embeddings.token_type_embeddings.": "token_type_embeddings.",
    "embeddings.LayerNorm.": "norm.",
    "encoder.layer.": "layers.",
    ".attention.self.Wqkv.": ".Wqkv.",
    ".attention.output.dense.": ".attention_out.",
    ".attention.output.LayerNorm.": ".attention_norm.",
    ".mlp.gated_layers.": ".gated_layers.",
    ".mlp.wo.": ".wo.",
    ".mlp.layernorm.": ".mlp_norm.",
}


def read_dnabert(folder: Path) -> tuple[DnabertShape, State]:
    """Read config.json and the tensors, under our names and memory-mapped.

    Raises:
        BadWeights: Broken, not a DNABERT-S, or tensors missing, unknown or of another shape.
    """
    config, tensors = read_hugging_face(folder)
    try:
        shape = DnabertShape(
            config["num_hidden_layers"],
            config["hidden_size"],
            config["num_attention_heads"],
            config["intermediate_size"],
            config["vocab_size"],
            config["layer_norm_eps"],
            bool(config.get("virnucpro_synthetic", False)),
        )
    except KeyError as error:
        raise BadWeights(f"{folder}/config.json: no {error}; expected DNABERT-S's. Fetch the folder again.") from error
    sizes = asdict(shape)
    del sizes["norm_eps"], sizes["synthetic"]
    check_sizes(sizes, folder / "config.json")
    _check_published(config, shape, folder / "config.json")
    state = {}
    for name, tensor in tensors.items():
        name = name.removeprefix("bert.")
        if name.startswith(("pooler.", "cls.", "encoder.alibi")):
            continue  # not part of the representation
        for theirs, ours in _NAMES.items():
            name = name.replace(theirs, ours)
        state[name] = tensor
    check_layers(shape.layers, state, folder)
    check_shapes(_shapes(shape), state, folder)
    return shape, state


def _check_published(config: dict[str, Any], shape: DnabertShape, path: Path) -> None:
    """Check what the tensors cannot tell, for it changes no shape: it must be as published.

    Raises:
        BadWeights: Names what differs.
    """
    expected = {"model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": NORM_EPS}
    if shape.width == WIDTH:
        expected["num_attention_heads"] = HEADS  # they decide the slopes of ALiBi, too
    for name, value in expected.items():
        if config.get(name, value) != value:
            raise BadWeights(f"{path}: {name} is {config[name]!r}, but {value!r} in DNABERT-S. Fetch it again.")


def _shapes(shape: DnabertShape) -> dict[str, tuple[int, ...]]:
    """Every tensor that the representation needs."""
    width, mlp = shape.width, shape.mlp_width
    expected = {"word_embeddings.weight": (shape.vocabulary, width), "token_type_embeddings.weight": (2, width)}
    norms, linears = ["norm"], {}
    for number in range(shape.layers):
        layer = f"layers.{number}"
        norms += [f"{layer}.attention_norm", f"{layer}.mlp_norm"]
        linears[f"{layer}.Wqkv"] = (3 * width, width)
        linears[f"{layer}.attention_out"] = (width, width)
        linears[f"{layer}.wo"] = (width, mlp)
        expected[f"{layer}.gated_layers.weight"] = (2 * mlp, width)
    return expected | layer_shapes(width, norms, linears)
