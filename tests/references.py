"""Plain references: one sequence at a time, no padding, written for reading."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor


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


def assert_equal_within_float32(found: Tensor, expected: Tensor) -> None:
    """Max |difference| <= 1e-4 and cosine > 0.99999 for every row."""
    assert found.dtype == torch.float32
    assert found.shape == expected.shape
    assert worst(found - expected) <= 1e-4
    assert torch.cosine_similarity(found, expected).min() > 0.99999


def worst(error: Tensor) -> float:
    """The largest absolute value."""
    return float(error.abs().max())
