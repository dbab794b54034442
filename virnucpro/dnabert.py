"""DNABERT-S features: one mean representation a DNA sequence, from our own model code.

The model is a MosaicBERT: post-LayerNorm, ALiBi instead of position embeddings, gated GELU.
Axes: B sequences in a padded batch, L tokens of its longest ([CLS] and [SEP] included),
D model width, H heads, K = D // H per head, F width of the MLP.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from virnucpro.checkpoints import State, Unfilled, check_sizes, fill, read_hugging_face
from virnucpro.errors import BadWeights
from virnucpro.memory import run_within_memory

BATCH_SEQUENCES = 256


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


def alibi_slopes(heads: int) -> list[float]:
    """Slope of each head's bias -slope * |i - j|.

    For a power of two n: 2^(-8/n), 2^(-16/n), ... Otherwise those of the next lower power of two,
    then every second one of the next higher (Press et al. 2022, as MosaicBERT has it).

    >>> alibi_slopes(12)[7:10]
    [0.00390625, 0.7071067811865476, 0.35355339059327384]
    """
    lower = 2 ** int(math.log2(heads))
    slopes = [2 ** (-8 * (i + 1) / lower) for i in range(lower)]
    return slopes + [2 ** (-4 * (i + 1) / lower) for i in range(0, 2 * (heads - lower), 2)]


class Layer(nn.Module):
    """Attention and gated MLP, each followed by a LayerNorm over its residual sum."""

    def __init__(self, shape: DnabertShape) -> None:
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.Wqkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, shape.norm_eps)
        self.gated_layers = nn.Linear(width, 2 * shape.mlp_width, bias=False)
        self.wo = nn.Linear(shape.mlp_width, width)
        self.mlp_norm = nn.LayerNorm(width, shape.norm_eps)

    def forward(self, x_BLD: Tensor, bias_BHLL: Tensor) -> Tensor:
        qkv_BLHK = self.Wqkv(x_BLD).unflatten(-1, (3, self.heads, -1)).unbind(2)
        q_BHLK, k_BHLK, v_BHLK = (part.transpose(1, 2) for part in qkv_BLHK)
        # scale 1 / sqrt(K): 1 / 8 for the published 64 per head
        y_BHLK = F.scaled_dot_product_attention(q_BHLK, k_BHLK, v_BHLK, attn_mask=bias_BHLL)
        x_BLD = self.attention_norm(x_BLD + self.attention_out(y_BHLK.transpose(1, 2).flatten(2)))
        gate_BLF, value_BLF = self.gated_layers(x_BLD).chunk(2, dim=-1)
        return self.mlp_norm(x_BLD + self.wo(F.gelu(gate_BLF) * value_BLF))


class Dnabert(nn.Module):
    """Encoder without pooler."""

    def __init__(self, shape: DnabertShape) -> None:
        super().__init__()
        self.shape = shape
        self.word_embeddings = nn.Embedding(shape.vocabulary, shape.width)
        self.token_type_embeddings = nn.Embedding(2, shape.width)
        self.norm = nn.LayerNorm(shape.width, shape.norm_eps)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))

    def forward(self, tokens_BL: Tensor, lengths_B: Tensor) -> Tensor:
        """Representations (B, L, D); rows past a sequence's length mean nothing.

        Args:
            tokens_BL: int64; what stands in the padding does not matter.
            lengths_B: int64, tokens of each sequence.
        """
        positions_L = torch.arange(tokens_BL.shape[1], device=tokens_BL.device)
        distance_LL = (positions_L[:, None] - positions_L[None, :]).abs()
        slopes_H = torch.tensor(alibi_slopes(self.shape.heads), device=tokens_BL.device)
        padding_BL = positions_L >= lengths_B[:, None]
        bias_BHLL = (-slopes_H[:, None, None] * distance_LL)[None].masked_fill(padding_BL[:, None, None], -torch.inf)
        x_BLD = self.norm(self.word_embeddings(tokens_BL) + self.token_type_embeddings.weight[0])
        for layer in self.layers:
            x_BLD = layer(x_BLD, bias_BHLL)
        return x_BLD


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
    """Read config.json and the tensors (still on disk) under our names.

    Raises:
        BadWeights: Broken, or not a DNABERT-S.
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
    norm_eps = sizes.pop("norm_eps")
    del sizes["synthetic"]
    check_sizes(sizes, folder / "config.json")
    if not isinstance(norm_eps, float):
        raise BadWeights(f"{folder}/config.json: layer_norm_eps is {norm_eps!r}, not a number. Fetch it again.")
    state = {}
    for name, tensor in tensors.items():
        name = name.removeprefix("bert.")
        if name.startswith(("pooler.", "cls.", "encoder.alibi")):
            continue  # not part of the representation
        for theirs, ours in _NAMES.items():
            name = name.replace(theirs, ours)
        state[name] = tensor
    return shape, state


def make_dnabert(shape: DnabertShape) -> Dnabert:
    """The model, unfilled."""
    with Unfilled():
        return Dnabert(shape)


def load_dnabert(folder: Path, device: torch.device) -> Dnabert:
    """Load the model in float32 on `device`.

    Raises:
        BadWeights: As `read_dnabert`, or tensors that do not fit.
    """
    shape, state = read_dnabert(folder)
    model = make_dnabert(shape)
    fill(model, state, folder, device)
    return model


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load tokenizer.json with its own truncation and padding switched off.

    Raises:
        BadWeights: Missing, broken, or without [CLS] and [SEP].
    """
    path = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise BadWeights(f"{path}: cannot be read as a tokenizer ({error}). Fetch it again.") from error
    if None in (tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")):
        raise BadWeights(f"{path}: no tokens [CLS] and [SEP]; expected DNABERT-S's tokenizer. Fetch it again.")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def tokenize(tokenizer: Tokenizer, sequences: Sequence[str]) -> list[list[int]]:
    """Token ids of each sequence: [CLS], its BPE tokens, [SEP]; letters but ACGT are [UNK] each."""
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    encoded = tokenizer.encode_batch([sequence.upper() for sequence in sequences], add_special_tokens=False)
    return [[cls, *encoding.ids, sep] for encoding in encoded]


@torch.inference_mode()
def dnabert_features(
    model: Dnabert,
    tokenizer: Tokenizer,
    sequences: Sequence[str],
    progress: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Mean representation of each sequence over all its tokens, [CLS] and [SEP] included.

    Args:
        sequences: DNA; batches of 256 in the order given, padded to their longest.
        progress: Called with the number of sequences done since the last call.
    Returns:
        Tensor: float32 (sequences, D) on the host.
    """
    device = model.word_embeddings.weight.device
    features_SD = torch.empty(len(sequences), model.shape.width)

    def run(indices: Sequence[int]) -> None:
        token_ids = tokenize(tokenizer, [sequences[i] for i in indices])
        tokens_BL = nn.utils.rnn.pad_sequence([torch.tensor(ids) for ids in token_ids], batch_first=True).to(device)
        lengths_B = torch.tensor([len(ids) for ids in token_ids]).to(device)
        x_BLD = model(tokens_BL, lengths_B)
        padding_BL = torch.arange(tokens_BL.shape[1], device=device) >= lengths_B[:, None]
        sums_BD = x_BLD.masked_fill(padding_BL[:, :, None], 0).sum(dim=1)
        features_SD[indices[0] : indices[-1] + 1] = (sums_BD / lengths_B[:, None]).cpu()

    for start in range(0, len(sequences), BATCH_SEQUENCES):
        batch = range(start, min(start + BATCH_SEQUENCES, len(sequences)))
        run_within_memory(run, batch)
        progress(len(batch))
    return features_SD
