"""Plain references: one sequence at a time, no padding, written for reading."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from esm.pretrained import load_model_and_alphabet_core
from torch import Tensor


def fair_esm_features(path: Path, proteins: list[str]) -> Tensor:
    """fair-esm's own loader and model in float32, each protein by itself: (proteins, D)."""
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(path, weights_only=True)
    model, alphabet = load_model_and_alphabet_core("esm2", content, None)
    model.eval()
    to_tokens = alphabet.get_batch_converter()
    rows = []
    with torch.no_grad():
        for protein in proteins:
            tokens = to_tokens([("", protein)])[2]
            x = model(tokens, repr_layers=[model.num_layers])["representations"][model.num_layers]
            rows.append(x[0, 1:-1].mean(dim=0))
    return torch.stack(rows)


def hugging_face_features(
    folder: Path, proteins: list[str], dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> Tensor:
    """`transformers.EsmModel`, weights and arithmetic in `dtype`, each protein by itself: float32 (proteins, D)."""
    from esm.data import Alphabet
    from transformers import EsmModel

    exact = EsmModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.float32)
    frequencies = next(value for name, value in exact.named_buffers() if name.endswith("inv_freq"))
    model = exact.eval().to(device, dtype)
    for module in model.modules():
        if hasattr(module, "inv_freq"):
            module.inv_freq = frequencies.to(device)  # positions stay exact, or the bound would be a loose one
    alphabet = Alphabet.from_architecture("ESM-1b")
    rows = []
    with torch.no_grad():
        for protein in proteins:
            tokens = torch.tensor([[0, *(alphabet.get_idx(residue) for residue in protein), 2]], device=device)
            x = model(tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
            rows.append(x[0, 1:-1].float().mean(dim=0).cpu())
    return torch.stack(rows)


def dnabert_features(state: dict[str, Tensor], token_ids: list[int], layers: int, heads: int) -> Tensor:
    """DNABERT-S from its description, head by head, on the published tensor names, in their type: float32 (D,)."""
    x = state["embeddings.word_embeddings.weight"][token_ids] + state["embeddings.token_type_embeddings.weight"][0]
    width = x.shape[1]
    x = F.layer_norm(x, (width,), *_norm(state, "embeddings.LayerNorm"), eps=1e-12)
    size = width // heads
    places = torch.arange(len(x), device=x.device)
    distance = (places[:, None] - places).abs().to(x.dtype)
    slopes = [2.0**-i for i in range(1, 9)] + [2.0 ** -(i + 0.5) for i in range(4)]
    for number in range(layers):
        name = f"encoder.layer.{number}"
        qkv = F.linear(x, *_linear(state, f"{name}.attention.self.Wqkv"))
        y = []
        for head in range(heads):
            q, k, v = (qkv[:, part * width + head * size :][:, :size] for part in range(3))
            y.append((q @ k.T / math.sqrt(size) - slopes[head] * distance).softmax(dim=1) @ v)
        dense = F.linear(torch.cat(y, dim=1), *_linear(state, f"{name}.attention.output.dense"))
        x = F.layer_norm(x + dense, (width,), *_norm(state, f"{name}.attention.output.LayerNorm"), eps=1e-12)
        g = x @ state[f"{name}.mlp.gated_layers.weight"].T
        half = g.shape[1] // 2
        gelu = g[:, :half] * 0.5 * (1 + torch.erf(g[:, :half] / math.sqrt(2)))
        out = F.linear(gelu * g[:, half:], *_linear(state, f"{name}.mlp.wo"))
        x = F.layer_norm(x + out, (width,), *_norm(state, f"{name}.mlp.layernorm"), eps=1e-12)
    return x.float().mean(dim=0).cpu()


def _linear(state: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    return state[f"{name}.weight"], state[f"{name}.bias"]


_norm = _linear


def assert_equal_within_float32(found: Tensor, expected: Tensor) -> None:
    """Max |difference| <= 1e-4 and cosine > 0.99999 for every row."""
    assert found.dtype == torch.float32
    assert found.shape == expected.shape
    assert worst(found - expected) <= 1e-4
    assert torch.cosine_similarity(found, expected).min() > 0.99999


def worst(error: Tensor) -> float:
    """The largest absolute value."""
    return float(error.abs().max())
