"""DNABERT-S's weights: config.json and tensors, read under our names, still on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from virnucpro.errors import BadWeights
from virnucpro.models.language_models import Shape
from virnucpro.models.tensor_files import State, check_shapes, check_sizes, layer_shapes, read_hugging_face, renamed

WIDTH, HEADS, NORM_EPS = 768, 12, 1e-12  # of the published model


@dataclass(frozen=True)
class DnabertShape(Shape):
    """Sizes from config.json; the published model is 12 x 768 with 12 heads and 3,072 in the MLP."""

    mlp_width: int
    vocabulary: int
    norm_eps: float


# The shape's fields in config.json, in their order
_SIZES = (
    "num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size", "layer_norm_eps",
)  # fmt: skip
_UNUSED = ("pooler.", "cls.", "encoder.alibi")  # not part of the representation
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
    source = folder / "config.json"
    try:
        sizes = [config[name] for name in _SIZES]
    except KeyError as error:
        raise BadWeights(f"{source}: no {error}; expected DNABERT-S's. Fetch the folder again.") from error
    shape = DnabertShape(*sizes, synthetic=bool(config.get("virnucpro_synthetic", False)))
    used = {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}
    state = {renamed(name, _NAMES): used[name] for name in used if not name.startswith(_UNUSED)}
    check_sizes(shape, state, source, folder)
    # What changes no shape, and so no tensor can tell, must be as published.
    published = {"model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": NORM_EPS}
    if shape.width == WIDTH:
        published["num_attention_heads"] = HEADS  # they decide the slopes of ALiBi, too
    for name, value in published.items():
        if config.get(name, value) != value:
            raise BadWeights(f"{source}: {name} is {config[name]!r}, but {value!r} in DNABERT-S. Fetch it again.")
    check_shapes(_shapes(shape), state, folder)
    return shape, state


def _shapes(shape: DnabertShape) -> dict[str, tuple[int, ...]]:
    """Every tensor that the representation needs."""
    width, mlp = shape.width, shape.mlp_width
    expected = {"word_embeddings.weight": (shape.vocabulary, width), "token_type_embeddings.weight": (2, width)}
    biased: dict[str, tuple[int, ...]] = {"norm": (width,)}
    for number in range(shape.layers):
        layer = f"layers.{number}"
        biased |= {f"{layer}.attention_norm": (width,), f"{layer}.mlp_norm": (width,)}
        biased |= {f"{layer}.Wqkv": (3 * width, width), f"{layer}.attention_out": (width, width)}
        biased[f"{layer}.wo"] = (width, mlp)
        expected[f"{layer}.gated_layers.weight"] = (2 * mlp, width)
    return expected | layer_shapes(biased)
