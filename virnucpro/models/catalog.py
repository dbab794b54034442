"""Catalogue: the models, sizes, precisions and attention backends that can be asked for. No torch here."""

from __future__ import annotations

AUTO = "auto"
PRECISIONS = ("fp32", "bf16", "fp16")
ATTENTIONS = ("triton", "varlen", "flash-attn", "sdpa")  # in order of preference; see `attention`
# name: (layers, width, attention heads), fair-esm's published sizes
ESM2_SIZES = {
    "esm2_t6_8M_UR50D": (6, 320, 20),
    "esm2_t12_35M_UR50D": (12, 480, 20),
    "esm2_t30_150M_UR50D": (30, 640, 20),
    "esm2_t33_650M_UR50D": (33, 1280, 20),
    "esm2_t36_3B_UR50D": (36, 2560, 40),
    "esm2_t48_15B_UR50D": (48, 5120, 40),
}
DNABERT_S = "DNABERT-S"
CHUNK_SIZES = (300, 500)  # bp, of the published classifiers
MODEL_TYPES = ("300", "500", "custom")  # of the classifier: its chunk size in bp, or a file
