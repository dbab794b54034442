"""Labelled: records of known class, and real weights that every release can read, so that each is judged by them.

The records are pieces of 500 bp of genes whose sources trained nothing; the weights are the encoder that comes with the
package, a DNABERT-S of one random layer, and a classifier that takes its features and multiplies them by zero.
docs/accuracy.md says where all of it comes from.

    python -m benchmarks.support.labelled FOLDER    makes a directory for --weights-dir
"""

from __future__ import annotations

import csv
import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.support import inputs

if TYPE_CHECKING:
    import numpy as np

ROOT = Path(__file__).parents[2]
DATA = ROOT / "benchmarks" / "data" / "labelled"
RECORDS, REFERENCE, CLASSIFIER = DATA / "records.fa", DATA / "reference.tsv", DATA / "esm2.safetensors"
ENCODER = ROOT / "virnucpro" / "models" / "demo" / "virnucpro_t6_8M"
VERSION = "1"  # of the weights: change it when they do
ESM_MODEL = "esm2_t6_8M_UR50D"  # the name that every release has for that shape
VIRUS = "virus"  # how the ids of viral records begin
ON_CPU = 200  # records, as many of either class
DNABERT = {"num_hidden_layers": 1, "intermediate_size": 64}
# Hugging Face's names -> fair-esm's
_NAMES = {
    "esm.embeddings.word_embeddings.": "embed_tokens.",
    "esm.encoder.emb_layer_norm_after.": "emb_layer_norm_after.",
    "esm.encoder.layer.": "layers.",
    "attention.self.query.": "self_attn.q_proj.",
    "attention.self.key.": "self_attn.k_proj.",
    "attention.self.value.": "self_attn.v_proj.",
    "attention.self.rotary_embeddings.": "self_attn.rot_emb.",
    "attention.output.dense.": "self_attn.out_proj.",
    "attention.LayerNorm.": "self_attn_layer_norm.",
    "intermediate.dense.": "fc1.",
    "output.dense.": "fc2.",
    ".LayerNorm.": ".final_layer_norm.",
}


def weights() -> Path:
    """The directory for --weights-dir, made once."""
    return inputs.made_once(f"labelled-v{VERSION}", ["benchmarks.support.labelled"])


def write_weights(folder: Path) -> None:
    """Write what every release reads: a fair-esm file, a folder of DNABERT-S, and a safetensors classifier."""
    import safetensors.torch
    import torch

    from benchmarks.synthetic_weights import DNABERT_WIDTH, write_dnabert

    write_dnabert(folder / "DNABERT-S", **DNABERT)
    config = json.loads((ENCODER / "config.json").read_text(encoding="utf-8"))
    model = Namespace(
        encoder_layers=config["num_hidden_layers"],
        encoder_embed_dim=config["hidden_size"],
        encoder_attention_heads=config["num_attention_heads"],
        token_dropout=config["token_dropout"],
    )
    tensors = safetensors.torch.load_file(ENCODER / "model.safetensors")
    state = {f"encoder.sentence_encoder.{_renamed(name)}": tensor for name, tensor in tensors.items()}
    torch.save({"cfg": {"model": model}, "model": state}, folder / f"{ESM_MODEL}.pt")
    classifier = safetensors.torch.load_file(CLASSIFIER)
    weight_HF = classifier["hidden_layer.weight"]
    classifier["hidden_layer.weight"] = torch.cat([torch.zeros(len(weight_HF), DNABERT_WIDTH), weight_HF], dim=1)
    safetensors.torch.save_file(classifier, folder / "500_model.safetensors", {"chunk_size": "500"})


def _renamed(name: str) -> str:
    for theirs, ours in _NAMES.items():
        name = name.replace(theirs, ours)
    return name


def write_records(path: Path, count: int | None) -> Path:
    """Write the records, or so many of either class, in their order."""
    records, left = RECORDS.read_text(encoding="ascii").split(">")[1:], {True: count, False: count}
    with open(path, "w", encoding="ascii") as file:
        for record in records:
            virus = record.startswith(VIRUS)
            if left[virus] != 0:
                file.write(f">{record}")
                left[virus] = None if left[virus] is None else left[virus] - 1
    return path


def chunk_scores(path: Path) -> dict[str, float]:
    """Chunk -> score of virus, from 0 to 1, of a table as every release writes it, or of the reference."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return {row["Modified_ID"]: (float(row["max_score_1"]) - float(row["max_score_0"]) + 1) / 2 for row in rows}


def judged(scores: dict[str, float], reference: dict[str, float]) -> dict[str, float]:
    """AUROC, and percent of the chunks with the label that they have in float32.

    Raises:
        RuntimeError: Other chunks have scores than in the reference, or one is no number.
    """
    import numpy as np

    if scores.keys() != reference.keys():
        raise RuntimeError(f"{len(scores)} chunks have a score, and {len(reference)} have one in float32.")
    ours_C = np.array([scores[name] for name in reference])
    if not np.isfinite(ours_C).all():
        raise RuntimeError(f"{(~np.isfinite(ours_C)).sum()} of {len(ours_C)} chunks have a score that is no number.")
    theirs_C = np.array(list(reference.values()))
    virus_C = np.array([name.startswith(VIRUS) for name in reference])
    return {"auroc": auroc(virus_C, ours_C), "agreement": 100 * float(((ours_C >= 0.5) == (theirs_C >= 0.5)).mean())}


def auroc(virus_C: np.ndarray, score_C: np.ndarray) -> float:
    """How often a virus has a higher score than another, half of the ties counted (Mann and Whitney)."""
    import numpy as np

    others_C = np.sort(score_C[~virus_C])
    below_C = np.searchsorted(others_C, score_C[virus_C], "left")
    upto_C = np.searchsorted(others_C, score_C[virus_C], "right")
    return float((below_C + upto_C).mean() / 2 / len(others_C))


if __name__ == "__main__":
    write_weights(Path(sys.argv[1]))
