"""Synthetic weights: seeded random values in the exact file formats that are published.

    python -m benchmarks.synthetic_weights DIR --esm-model esm2_t36_3B_UR50D

Real shapes, so that speed and memory are real, and real formats, so that the real loading code runs.
The verdicts of a run with them mean nothing, and the files say so (`virnucpro_synthetic`).
Exit codes: 0 written, 1 could not be written, 2 bad command line.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.support.output import outlive_readers

# name: (layers, width, attention heads), fair-esm's published sizes
ESM2_SIZES = {
    "esm2_t6_8M_UR50D": (6, 320, 20),
    "esm2_t12_35M_UR50D": (12, 480, 20),
    "esm2_t30_150M_UR50D": (30, 640, 20),
    "esm2_t33_650M_UR50D": (33, 1280, 20),
    "esm2_t36_3B_UR50D": (36, 2560, 40),
    "esm2_t48_15B_UR50D": (48, 5120, 40),
}
ESM2_TOKENS = 33
DNABERT_FILES = Path(__file__).parent / "data" / "dnabert_s"
DNABERT_WIDTH, HIDDEN = 768, 512
MARK = "virnucpro_synthetic"


class Random:
    """Named tensors from one seeded stream, drawn on `device` and handed over on the CPU."""

    def __init__(self, seed: int, device: str, dtype: torch.dtype) -> None:
        self.generator = torch.Generator(device).manual_seed(seed)
        self.dtype = dtype

    def matrix(self, rows: int, columns: int) -> Tensor:
        """Standard deviation 1 / sqrt(columns): activations keep their size from layer to layer."""
        values = torch.randn(rows, columns, generator=self.generator, device=self.generator.device)
        return (values / math.sqrt(columns)).to(self.dtype).cpu()

    def linear(self, name: str, rows: int, columns: int) -> dict[str, Tensor]:
        return {f"{name}.weight": self.matrix(rows, columns), f"{name}.bias": self.matrix(1, rows)[0] * 0.1}

    def norm(self, name: str, width: int) -> dict[str, Tensor]:
        weight = 1 + 0.1 * self.matrix(1, width)[0] * math.sqrt(width)
        return {f"{name}.weight": weight, f"{name}.bias": self.matrix(1, width)[0] * math.sqrt(width) * 0.1}


def fair_esm_state(layers: int, width: int, heads: int, seed: int = 0, device: str = "cpu") -> dict[str, Tensor]:
    """Tensors of an ESM-2 under the published ``.pt`` file's names, half precision throughout."""
    random = Random(seed, device, torch.half)
    state = {"encoder.sentence_encoder.embed_tokens.weight": random.matrix(ESM2_TOKENS, width) * math.sqrt(width)}
    rotary = (1 / 10000 ** (torch.arange(0, width // heads, 2).float() / (width // heads))).half()
    for number in range(layers):
        layer = f"encoder.sentence_encoder.layers.{number}"
        for projection in "kvq":
            state |= random.linear(f"{layer}.self_attn.{projection}_proj", width, width)
        state |= random.linear(f"{layer}.self_attn.out_proj", width, width)
        state[f"{layer}.self_attn.rot_emb.inv_freq"] = rotary.clone()
        state |= random.norm(f"{layer}.self_attn_layer_norm", width)
        state |= random.linear(f"{layer}.fc1", 4 * width, width)
        state |= random.linear(f"{layer}.fc2", width, 4 * width)
        state |= random.norm(f"{layer}.final_layer_norm", width)
    state |= random.norm("encoder.sentence_encoder.emb_layer_norm_after", width)
    state["encoder.lm_head.weight"] = state["encoder.sentence_encoder.embed_tokens.weight"]
    state["encoder.lm_head.bias"] = torch.zeros(ESM2_TOKENS, dtype=torch.half)
    state |= random.linear("encoder.lm_head.dense", width, width)
    state |= random.norm("encoder.lm_head.layer_norm", width)
    return state


def write_fair_esm(path: Path, layers: int, width: int, heads: int, seed: int = 0, device: str = "cpu") -> None:
    """Write a ``.pt`` file as fair-esm publishes them: options in a Namespace, tensors in half precision."""
    options = argparse.Namespace(
        arch="esm2",
        encoder_layers=layers,
        encoder_embed_dim=width,
        encoder_ffn_embed_dim=4 * width,
        encoder_attention_heads=heads,
        token_dropout=True,
        **{MARK: True},
    )
    torch.save({"cfg": {"model": options}, "model": fair_esm_state(layers, width, heads, seed, device)}, path)


# fair-esm's names -> Hugging Face's, within a layer
_HUGGING_FACE = {
    "self_attn.q_proj": "attention.self.query",
    "self_attn.k_proj": "attention.self.key",
    "self_attn.v_proj": "attention.self.value",
    "self_attn.rot_emb": "attention.self.rotary_embeddings",
    "self_attn.out_proj": "attention.output.dense",
    "self_attn_layer_norm": "attention.LayerNorm",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
    "final_layer_norm": "LayerNorm",
}


def write_hugging_face_esm(
    folder: Path, layers: int, width: int, heads: int, seed: int = 0, device: str = "cpu"
) -> None:
    """Write a folder as Hugging Face publishes ESM-2 (`EsmForMaskedLM`): same values, float32, safetensors."""
    from safetensors.torch import save_file

    state = {}
    for name, tensor in fair_esm_state(layers, width, heads, seed, device).items():
        name = name.removeprefix("encoder.").removeprefix("sentence_encoder.")
        if name.startswith("layers."):
            _, number, rest = name.split(".", 2)
            part, _, kind = rest.rpartition(".")
            name = f"esm.encoder.layer.{number}.{_HUGGING_FACE[part]}.{kind}"
        elif name.startswith("emb_layer_norm_after."):
            name = f"esm.encoder.{name}"
        elif name == "embed_tokens.weight":
            name = "esm.embeddings.word_embeddings.weight"
        elif name == "lm_head.weight":
            continue  # tied to the embeddings, which published files do not repeat
        state[name] = tensor.float().contiguous()
    config = {
        "architectures": ["EsmForMaskedLM"],
        "attention_probs_dropout_prob": 0.0,
        "emb_layer_norm_before": False,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "layer_norm_eps": 1e-05,
        "mask_token_id": 32,
        "max_position_embeddings": 1026,
        "model_type": "esm",
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "pad_token_id": 1,
        "position_embedding_type": "rotary",
        "token_dropout": True,
        "torch_dtype": "float32",
        "vocab_size": ESM2_TOKENS,
        MARK: True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def write_dnabert(folder: Path, seed: int = 0, device: str = "cpu", **sizes: int) -> None:
    """Write a folder like DNABERT-S's: its own config.json and tokenizer files, random pytorch_model.bin.

    Args:
        sizes: Other values for config.json, such as num_hidden_layers, for small tests.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in DNABERT_FILES.glob("*.json"):
        shutil.copy(file, folder)
    config = json.loads((folder / "config.json").read_text()) | sizes | {MARK: True}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    width, mlp = config["hidden_size"], config["intermediate_size"]
    random = Random(seed, device, torch.float32)
    state = {
        "embeddings.word_embeddings.weight": random.matrix(config["vocab_size"], width) * math.sqrt(width),
        "embeddings.token_type_embeddings.weight": random.matrix(config["type_vocab_size"], width),
    }
    state |= random.norm("embeddings.LayerNorm", width)
    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{number}"
        state |= random.linear(f"{layer}.attention.self.Wqkv", 3 * width, width)
        state |= random.linear(f"{layer}.attention.output.dense", width, width)
        state |= random.norm(f"{layer}.attention.output.LayerNorm", width)
        state[f"{layer}.mlp.gated_layers.weight"] = random.matrix(2 * mlp, width)
        state |= random.linear(f"{layer}.mlp.wo", width, mlp)
        state |= random.norm(f"{layer}.mlp.layernorm", width)
    state |= random.linear("pooler.dense", width, width)
    torch.save(state, folder / "pytorch_model.bin")


class MLPClassifier(nn.Module):
    """The published classifier's attributes; ReLU is functional there and holds nothing."""

    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.hidden_layer = nn.Linear(features, hidden)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.output_layer = nn.Linear(hidden, classes)
        self.dropout = nn.Dropout(0.5)


def classifier(features: int, seed: int = 0) -> MLPClassifier:
    """A classifier with random weights and running statistics."""
    random = Random(seed, "cpu", torch.float32)
    model = MLPClassifier(features, HIDDEN, 2)
    state = random.linear("hidden_layer", HIDDEN, features) | random.linear("output_layer", 2, HIDDEN)
    state |= random.norm("bn1", HIDDEN)
    state |= {"bn1.running_mean": torch.zeros(HIDDEN), "bn1.running_var": torch.ones(HIDDEN)}
    model.load_state_dict(state | {"bn1.num_batches_tracked": torch.tensor(1)})
    model.virnucpro_synthetic = True
    return model.eval()


def write_classifier(path: Path, features: int, seed: int = 0) -> None:
    """Write a ``.pth`` as published: the whole module, pickled, of a class named ``__main__.MLPClassifier``."""
    main = sys.modules["__main__"]
    had, earlier = hasattr(main, "MLPClassifier"), getattr(main, "MLPClassifier", None)
    module, MLPClassifier.__module__, main.MLPClassifier = MLPClassifier.__module__, "__main__", MLPClassifier
    try:
        torch.save(classifier(features, seed), path)
    finally:
        MLPClassifier.__module__ = module
        if had:
            main.MLPClassifier = earlier
        else:
            del main.MLPClassifier


def write_weights(directory: Path, esm_model: str, form: str = "fair-esm", seed: int = 0, device: str = "cpu") -> None:
    """Write all that ``virnucpro predict --weights-dir`` needs, for both chunk sizes."""
    directory.mkdir(parents=True, exist_ok=True)
    size = ESM2_SIZES[esm_model]
    if form == "fair-esm":
        write_fair_esm(directory / f"{esm_model}.pt", *size, seed, device)
    else:
        write_hugging_face_esm(directory / esm_model, *size, seed, device)
    write_dnabert(directory / "DNABERT-S", seed, device)
    for chunk_size in (300, 500):
        write_classifier(directory / f"{chunk_size}_model.pth", DNABERT_WIDTH + size[1], seed)


def main() -> int:
    parser = argparse.ArgumentParser(description="Write synthetic weights: random values in the published formats.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--esm-model", choices=ESM2_SIZES, default="esm2_t36_3B_UR50D", help="default: %(default)s")
    parser.add_argument(
        "--format", choices=("fair-esm", "hugging-face"), default="fair-esm", help="of ESM-2; default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="that draws the values; default: %(default)s",
    )
    arguments = parser.parse_args()
    try:
        write_weights(arguments.directory, arguments.esm_model, arguments.format, arguments.seed, arguments.device)
    except (OSError, RuntimeError) as error:  # RuntimeError: how torch.save says that a disk is full
        print(f"synthetic_weights: {arguments.directory} cannot be written: {error}", file=sys.stderr)
        return 1
    print(arguments.directory)
    return 0


if __name__ == "__main__":
    outlive_readers()
    sys.exit(main())
