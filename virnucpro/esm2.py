"""ESM-2 features: one mean representation a protein, through fair-esm's own model.

Axes: B proteins in a padded batch, T tokens of its longest (<cls> and <eos> included), D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import esm
import torch
from esm.rotary_embedding import RotaryEmbedding
from torch import Tensor, nn

from virnucpro.checkpoints import State, Unfilled, check_sizes, fill, read_fair_esm, read_hugging_face
from virnucpro.errors import BadWeights
from virnucpro.memory import run_within_memory
from virnucpro.weights import ESM2_SIZES

MAX_RESIDUES = 1024

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
    """Read a checkpoint of either format into fair-esm's tensor names (still on disk).

    Raises:
        BadWeights: Broken, or not an ESM-2.
    """
    return _read_hugging_face(path) if path.is_dir() else _read_fair_esm(path)


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
    if not is_esm2 or config.get("vocab_size") != 33:
        raise BadWeights(
            f"{folder}/config.json: not an ESM-2 (expected model_type esm, rotary positions, "
            "33 tokens, layer_norm_eps 1e-5, no emb_layer_norm_before)."
        )
    check_sizes({"layers": shape.layers, "width": shape.width, "heads": shape.heads}, folder / "config.json")
    state = {}
    for name, tensor in _used({name.removeprefix("esm."): tensors[name] for name in tensors}).items():
        state[_fair_esm_name(name)] = tensor
    return shape, _with_rotary(state, shape)


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
        BadWeights: Layers, width or heads differ from ESM2_SIZES[name].
    """
    found = (shape.layers, shape.width, shape.heads)
    if found != ESM2_SIZES[name]:
        raise BadWeights(
            f"{path}: {found[0]} layers x {found[1]} with {found[2]} heads, but {name} has "
            "{} layers x {} with {} heads. Is it the right file?".format(*ESM2_SIZES[name])
        )


class Rotary(RotaryEmbedding):
    """fair-esm's rotary embedding, with positions that stay exact under autocast.

    On CUDA autocast takes the product of positions and frequencies to bfloat16, which cannot tell
    position 257 from 256. Here the tables are made in float32, then rounded to the queries' type.
    """

    def _update_cos_sin_tables(self, x: Tensor, seq_dimension: int = 1) -> tuple[Tensor, Tensor]:
        if self._cos_cached is not None and self._cos_cached.dtype != x.dtype:
            self._seq_len_cached = None  # made for another type: do not widen what was rounded
        with torch.autocast(x.device.type, enabled=False):
            cos_1TK, sin_1TK = super()._update_cos_sin_tables(x, seq_dimension)
        return cos_1TK.to(x.dtype), sin_1TK.to(x.dtype)


def make_esm2(shape: Esm2Shape) -> esm.ESM2:
    """fair-esm's `ESM2`, unfilled, without its language-model and contact heads."""
    with Unfilled():
        model = esm.ESM2(shape.layers, shape.width, shape.heads, "ESM-1b", shape.token_dropout)
        for layer in model.layers:
            layer.self_attn.rot_emb = Rotary(shape.width // shape.heads)
    model.lm_head, model.contact_head = nn.Identity(), None  # logits and contacts are not asked for
    return model


def load_esm2(path: Path, device: torch.device) -> esm.ESM2:
    """Load an ESM-2 in float32 on `device`.

    Raises:
        BadWeights: As `read_esm2`, or tensors that do not fit.
    """
    shape, state = read_esm2(path)
    model = make_esm2(shape)
    fill(model, state, path, device)
    return model


def batches(proteins: Sequence[str], batch_residues: int) -> Iterator[range]:
    """Yield runs of consecutive proteins whose residues sum up to `batch_residues` at most.

    A protein longer than that is a batch of its own.

    >>> list(batches(["MA", "MKV", "M"], 5))
    [range(0, 2), range(2, 3)]
    """
    start = residues = 0
    for i, protein in enumerate(proteins):
        if i > start and residues + len(protein) > batch_residues:
            yield range(start, i)
            start, residues = i, 0
        residues += len(protein)
    if start < len(proteins):
        yield range(start, len(proteins))


@torch.no_grad()
def esm2_features(
    model: esm.ESM2,
    proteins: Sequence[str],
    batch_residues: int,
    bf16: bool = False,
    keep_casts: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Mean representation of each protein after the final LayerNorm.

    Args:
        model: From `load_esm2`.
        proteins: Residues in ESM-2's alphabet; only the first 1,024 count.
        batch_residues: Residues summed up in a padded batch, in the order given.
        bf16: Autocast to bfloat16; float32 otherwise.
        keep_casts: Cast each weight once in this call instead of once a batch: 2 bytes a parameter
            for 2-5 % of the time (H200, 3B).
        progress: Called with the number of proteins done since the last call.
    Returns:
        Tensor: float32 (proteins, D) on the host; <cls>, <eos> and padding are left out of the means.
    """
    device = model.embed_tokens.weight.device
    to_tokens = model.alphabet.get_batch_converter()
    features_PD = torch.empty(len(proteins), model.embed_dim)
    proteins = [protein[:MAX_RESIDUES] for protein in proteins]

    def run(indices: Sequence[int]) -> None:
        _, _, tokens_BT = to_tokens([("", proteins[i]) for i in indices])
        output = model(tokens_BT.to(device), repr_layers=[model.num_layers])
        x_BTD = output["representations"][model.num_layers]
        for x_TD, i in zip(x_BTD, indices, strict=True):
            # Residue positions start after <cls>.
            features_PD[i] = x_TD[1 : len(proteins[i]) + 1].float().mean(dim=0).cpu()

    # Autocast keeps its copies of leaves that require gradients, and of no others.
    model.requires_grad_(keep_casts)
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for batch in batches(proteins, batch_residues):
            run_within_memory(run, batch)
            progress(len(batch))
    return features_PD
