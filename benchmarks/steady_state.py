"""Steady state: seconds for 10,000 proteins on one GPU, beside two other ways to the same embeddings.

    python -m benchmarks.steady_state WEIGHTS_DIR

In one process, one after the other, on the proteins of `workloads.proteins`: this package; fair-esm in FP16 with
proteins sorted by length and padded, 4,096 tokens a batch; Hugging Face's EsmModel in FP16 with sdpa, sorted, padded,
32,768 tokens a batch. Models are loaded and warm before the clock starts. The last two run on a random sample.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.workloads import proteins

BUFFER_SIZE = 2048  # proteins of a window, as on a GPU
WARM_UP = 600  # proteins
SAMPLE = 2_000  # proteins for the padded ways; sorted and random, so that seconds scale with their number


def packed(weights: Path, esm_model: str, repeats: int, precision: str, token_budget: int) -> dict[str, float]:
    """This package: loader, packs and engine, results on the host."""
    import logging

    import torch

    from virnucpro.devices import LOADERS
    from virnucpro.inline import Inline
    from virnucpro.pipeline.runtime_config import RuntimeConfig
    from virnucpro.reads import Read
    from virnucpro.recipe import Recipe
    from virnucpro.utils.totals import percentile_95
    from virnucpro.weights import WeightPaths
    from virnucpro.windows import windows
    from virnucpro.work import Cost, Work

    paths = WeightPaths(weights / f"{esm_model}.pt", None, None)
    recipe = Recipe("protein", paths, esm_model, None, precision, "auto", token_budget, keep_features=True)
    work = Work(recipe, RuntimeConfig(), LOADERS, None, logging.INFO)
    reads = (Read(f"{i}_{name}", residues) for i in range(repeats) for name, residues in proteins(10_000))
    costs: list[tuple[float, Cost]] = []
    begun = time.perf_counter()
    Inline(work, "cuda:0").run(
        windows(reads, "protein", 0, BUFFER_SIZE, token_budget),
        lambda window, cost: costs.append((time.perf_counter(), cost)),
        lambda backends: print(f"virnucpro: {backends}"),
    )
    steady = costs[4:]  # the first windows are small, and compile and load what the first call needs
    sequences = sum(cost.sequences for _, cost in steady)
    seconds = steady[-1][0] - costs[3][0]
    return {
        "s per 10K": 1e4 * seconds / sequences,
        "first features s": costs[0][0] - begun,
        "device busy s per 10K": 1e4 * sum(cost.device_seconds for _, cost in steady) / sequences,
        "idle between windows %": 100 * sum(cost.idle_seconds for _, cost in steady) / seconds,
        "p95 loader wait ms": 1000 * percentile_95(cost.wait for _, cost in steady),
        "packing %": 100 * sum(c.tokens for _, c in steady) / sum(c.packs * token_budget for _, c in steady),
        "peak GPU memory GB": torch.cuda.max_memory_allocated() / 1e9,
    }


def _batches(sample: list[str], tokens: int) -> Iterator[list[str]]:
    """Sorted by length, padded to `tokens` at most."""
    batch: list[str] = []
    for protein in sorted(sample, key=len):
        if batch and (len(batch) + 1) * (len(protein) + 2) > tokens:
            yield batch
            batch = []
        batch.append(protein)
    yield batch


def _timed(embed: Callable[[list[str]], None], tokens: int) -> dict[str, float]:
    import torch

    sample = random.Random(0).sample([residues for _, residues in proteins(10_000)], SAMPLE)
    for batch in list(_batches(sample[:WARM_UP], tokens))[::4]:
        embed(batch)
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for batch in _batches(sample, tokens):
        embed(batch)
    torch.cuda.synchronize()
    return {"s per 10K": 1e4 * (time.perf_counter() - begun) / SAMPLE}


def fair_esm(weights: Path, esm_model: str) -> dict[str, float]:
    """fair-esm's own model, loader and batch converter."""
    import torch
    from esm.pretrained import load_model_and_alphabet_core

    torch.serialization.add_safe_globals([argparse.Namespace])
    content = torch.load(weights / f"{esm_model}.pt", weights_only=True, mmap=True)
    model, alphabet = load_model_and_alphabet_core(esm_model, content, None)
    model = model.eval().half().cuda()
    to_tokens = alphabet.get_batch_converter()

    @torch.no_grad()
    def embed(batch: list[str]) -> None:
        _, _, tokens_BT = to_tokens([("", protein) for protein in batch])
        x_BTD = model(tokens_BT.cuda(), repr_layers=[model.num_layers])["representations"][model.num_layers]
        for x_TD, protein in zip(x_BTD, batch, strict=True):
            x_TD[1 : len(protein) + 1].float().mean(dim=0)

    return _timed(embed, 4096)


def hugging_face(weights: Path, esm_model: str) -> dict[str, float]:
    """transformers' EsmModel of the same size, random weights of its own."""
    import torch
    from esm.data import Alphabet
    from transformers import EsmConfig, EsmModel

    from benchmarks.synthetic_weights import ESM2_SIZES

    layers, width, heads = ESM2_SIZES[esm_model]
    config = EsmConfig(
        vocab_size=33, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * width, max_position_embeddings=1026, position_embedding_type="rotary",
        token_dropout=True, mask_token_id=32, pad_token_id=1, attn_implementation="sdpa",
    )  # fmt: skip
    with torch.device("cuda"):
        model = EsmModel(config, add_pooling_layer=False).eval().half()
    alphabet = Alphabet.from_architecture("ESM-1b")

    @torch.no_grad()
    def embed(batch: list[str]) -> None:
        longest = max(map(len, batch)) + 2
        rows = [[0, *map(alphabet.get_idx, protein), 2] + [1] * (longest - len(protein) - 2) for protein in batch]
        tokens_BT = torch.tensor(rows).cuda()
        real_BT = tokens_BT != 1
        x_BTD = model(tokens_BT, attention_mask=real_BT.long()).last_hidden_state
        real_BT = real_BT & (tokens_BT != 0) & (tokens_BT != 2)
        (x_BTD.float() * real_BT[..., None]).sum(dim=1) / real_BT.sum(dim=1, keepdim=True)

    return _timed(embed, 32768)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights", type=Path, help="directory with the ESM-2 checkpoint as fair-esm publishes it")
    parser.add_argument("--esm-model", default="esm2_t36_3B_UR50D", help="default: %(default)s")
    parser.add_argument("--precision", default="fp16", help="of this package; default: %(default)s")
    parser.add_argument("--repeats", type=int, default=2, help="of the 10,000 proteins; default: %(default)s")
    parser.add_argument("--batch-tokens", type=int, default=16384, help="in a pack; default: %(default)s")
    parser.add_argument("--only", choices=("packed", "fair-esm", "hugging-face"), help="default: all three")
    given = parser.parse_args()
    import torch

    ways = {
        "packed": lambda: packed(given.weights, given.esm_model, given.repeats, given.precision, given.batch_tokens),
        "fair-esm": lambda: fair_esm(given.weights, given.esm_model),
        "hugging-face": lambda: hugging_face(given.weights, given.esm_model),
    }
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {given.esm_model}, proteins-10k")
    for name, way in ways.items():
        if given.only in (None, name):
            print(f"{name:13}", ", ".join(f"{what} {value:.2f}" for what, value in way().items()), flush=True)
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
