"""Reference: the same numbers in float32 from plain code, one sequence at a time; what errors are measured by.

ESM-2 by fair-esm itself; the rest from the description of the method, without the package. Written for reading.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import workloads
from benchmarks.support import inputs
from benchmarks.support.inputs import Workload
from benchmarks.synthetic_weights import DNABERT_WIDTH, classifier

_RESIDUES = {codon: residue for residue, codons in workloads.CODONS.items() for codon in codons.split()}
_COMPLEMENT = str.maketrans("ACGT", "TGCA")


def fair_esm_features(path: Path, proteins: list[str], device: str = "cpu") -> Tensor:
    """fair-esm's own loader and model in float32, each protein by itself: (proteins, D)."""
    from esm.pretrained import load_model_and_alphabet_core

    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(path, weights_only=True, mmap=True)
    with torch.device(device):  # filling 3 billion parameters with random numbers first takes no time there
        model, alphabet = load_model_and_alphabet_core("esm2", content, None)
    model.eval()
    to_tokens = alphabet.get_batch_converter()
    rows = []
    with torch.no_grad():
        for protein in proteins:
            tokens = to_tokens([("", protein)])[2].to(device)
            x = model(tokens, repr_layers=[model.num_layers])["representations"][model.num_layers]
            rows.append(x[0, 1:-1].mean(dim=0).cpu())
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


def chunks(dna: str, size: int = workloads.CHUNK_SIZE) -> list[str]:
    """Pieces of `size` bp without a gap; they overlap as evenly as whole numbers allow."""
    count = -(-len(dna) // size)
    surplus = count * size - len(dna)
    each = surplus // count
    more = surplus - each * (count - 1)
    starts = [i * size - (i * each + min(i, more)) for i in range(count)]
    return [dna[start : start + size] for start in starts]


def open_frames(dna: str) -> list[tuple[str, str, str]]:
    """Name (F1 to R3), protein and nucleotides of each frame without a stop, of upper-case ACGT."""
    found = []
    for letter, strand in (("F", dna), ("R", dna.translate(_COMPLEMENT)[::-1])):
        for k in range(3):
            codons = [strand[i : i + 3] for i in range(k, len(strand) - 2, 3)]
            if codons and all(codon in _RESIDUES for codon in codons):
                protein = "".join(_RESIDUES[codon] for codon in codons)
                found.append((f"{letter}{k + 1}", protein, strand[k : k + 3 * len(protein) + 1]))
    return found


def sample(workload: Workload, kind: str) -> list[tuple[str, str]]:
    """Records of the input, evenly from its beginning to its end."""
    text = inputs.fasta(workload, kind).read_text(encoding="ascii")
    records = [record.split("\n", 1) for record in text[1:].split("\n>")]
    step = max(1, len(records) // workload.sample)
    return [(name, sequence.replace("\n", "")) for name, sequence in records[::step]]


def protein_embeddings(workload: Workload) -> dict[str, np.ndarray]:
    """Name -> float32 (D,) of a sample of the proteins; computed once and kept."""

    def compute() -> dict[str, Tensor]:
        records = sample(workload, "proteins")
        features_PD = fair_esm_features(_esm2(workload), [sequence for _, sequence in records], workload.device)
        return {name: features_PD[i] for i, (name, _) in enumerate(records)}

    return {name: row.numpy() for name, row in _kept(workload, "proteins", compute).items()}


def frame_scores(workload: Workload, kind: str) -> dict[str, float]:
    """Frame -> score as a virus, of a sample of the records; computed once and kept."""

    def compute() -> dict[str, Tensor]:
        records = sample(workload, kind)
        if kind == "contigs":
            records = records[:: max(1, len(records) // 8)]  # each has several chunks
        frames = [
            (f"{name}_chunk_{number}{frame}", protein, dna)
            for name, sequence in records
            for number, chunk in enumerate(chunks(sequence), start=1)
            for frame, protein, dna in open_frames(chunk)
        ]
        esm2_SD = fair_esm_features(_esm2(workload), [protein for _, protein, _ in frames], workload.device)
        dnabert_SE = _dnabert(inputs.weights(workload) / "DNABERT-S", [dna for *_, dna in frames], workload.device)
        mlp = classifier(DNABERT_WIDTH + esm2_SD.shape[1])
        with torch.no_grad():
            x_SH = torch.relu(mlp.bn1(mlp.hidden_layer(torch.cat([dnabert_SE, esm2_SD], dim=1))))
            scores_S = mlp.output_layer(x_SH).softmax(dim=1)[:, 1]
        return {name: scores_S[i] for i, (name, *_) in enumerate(frames)}

    return {name: float(score) for name, score in _kept(workload, kind, compute).items()}


def _esm2(workload: Workload) -> Path:
    return inputs.weights(workload) / f"{workload.esm_model}.pt"


def _dnabert(folder: Path, dna: list[str], device: str) -> Tensor:
    """float32 (sequences, 768)."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    content = torch.load(folder / "pytorch_model.bin", weights_only=True)
    state = {name: tensor.to(device) for name, tensor in content.items()}
    with torch.no_grad():
        return torch.stack([dnabert_features(state, tokenizer.encode(each).ids, 12, 12) for each in dna])


def _kept(workload: Workload, kind: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """From a safetensors file, written at the first call."""
    from safetensors.torch import load_file, save_file

    name = f"reference-v{workloads.VERSION}.{inputs.WEIGHTS_VERSION}-{workload.name}-{kind}-{workload.sample}"
    path = inputs.cache() / f"{name}.safetensors"
    if not path.exists():
        unfinished = path.with_suffix(f".{os.getpid()}")
        save_file({name: tensor.clone().contiguous() for name, tensor in compute().items()}, unfinished)
        os.replace(unfinished, path)
    return load_file(path)
