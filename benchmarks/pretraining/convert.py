"""Convert: an encoder into a folder in Hugging Face's format, which virnucpro and transformers load."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file

from benchmarks.pretraining.alphabet import MASK, PAD, VOCABULARY
from benchmarks.pretraining.weights import Weights, load


def convert(source: Path, folder: Path) -> None:
    """Write a file of `weights.save` as EsmForMaskedLM, in half precision; config.json tells the facts of its training.

    Raises:
        OSError: It cannot be read or written.
    """
    weights = load(source)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.contiguous() for name, tensor in weights.state.items()}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config(weights), indent=2) + "\n", encoding="utf-8")


def config(weights: Weights) -> dict[str, object]:
    """What transformers wants to know of an ESM-2 like this."""
    shape = weights.shape
    return {
        "architectures": ["EsmForMaskedLM"], "model_type": "esm", "vocab_size": VOCABULARY,
        "num_hidden_layers": shape.layers, "hidden_size": shape.width, "num_attention_heads": shape.heads,
        "intermediate_size": 4 * shape.width, "hidden_act": "gelu", "layer_norm_eps": 1e-5,
        "position_embedding_type": "rotary", "max_position_embeddings": 1026, "emb_layer_norm_before": False,
        "token_dropout": True, "pad_token_id": PAD, "mask_token_id": MASK, "initializer_range": 0.02,
        "attention_probs_dropout_prob": 0.0, "hidden_dropout_prob": 0.0, "classifier_dropout": None,
        "is_folding_model": False, "esmfold_config": None, "vocab_list": None, "use_cache": True,
        "tie_word_embeddings": True, "torch_dtype": "float16", "virnucpro_pretraining": weights.facts,
    }  # fmt: skip
