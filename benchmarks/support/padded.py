"""Padded: fair-esm's own model over padded batches, the way to the same embeddings that packing replaced."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext

from benchmarks import workloads
from benchmarks.support import inputs
from benchmarks.support.inputs import Workload

WARM_UP = 3  # batches, the largest


def batches(proteins: list[str], cost: Callable[[list[str]], int], most: int) -> Iterator[list[str]]:
    """Consecutive proteins for as long as a batch costs `most` at most; one that costs more is a batch of its own."""
    batch: list[str] = []
    for protein in proteins:
        if batch and cost([*batch, protein]) > most:
            yield batch
            batch = []
        batch.append(protein)
    if batch:
        yield batch


def residues(batch: list[str]) -> int:
    """v1.0's measure of a batch: it knows nothing of padding."""
    return sum(map(len, batch))


def padded_tokens(batch: list[str]) -> int:
    return len(batch) * (max(map(len, batch)) + 2)


def seconds_per_10k(embed: Callable[[list[str]], object], made: list[list[str]], device: str) -> float:
    """Time for all batches, after a few that are not counted; a sample of the proteins stands for the whole."""
    import torch

    def finish() -> None:
        if device != "cpu":
            torch.cuda.synchronize()

    if device != "cpu":  # which has neither an allocator nor kernels to warm up
        for batch in sorted(made, key=padded_tokens)[-WARM_UP:]:
            embed(batch)
    finish()
    begun = time.perf_counter()
    for batch in made:
        embed(batch)
    finish()
    return 1e4 * (time.perf_counter() - begun) / sum(map(len, made))


def fair_esm(work: Workload, precision: str, one_by_one: bool = False) -> Callable[[list[str]], object]:
    """Its model, loader and batch converter.

    Args:
        precision: "fp32", "bf16" (autocast over float32 weights, as v1.0 does) or "fp16" (weights, too).
        one_by_one: Bring each mean to the host by itself, as v1.0 does; else those of a batch together.
    Returns:
        A function that embeds a batch.
    """
    import torch
    from esm.pretrained import load_model_and_alphabet_core

    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(inputs.weights(work) / f"{work.esm_model}.pt", weights_only=True, mmap=True)
    with torch.device(work.device):
        model, alphabet = load_model_and_alphabet_core(work.esm_model, content, None)
    model = model.eval().to(torch.half if precision == "fp16" else torch.float32)
    model.lm_head = torch.nn.Identity()  # its logits are not asked for
    to_tokens = alphabet.get_batch_converter()
    kind = work.device.split(":")[0]
    # Leaves that require gradients are cast once, not at each use: v1.0 does so where the GPU has room.
    model.requires_grad_(precision == "bf16")

    @torch.no_grad()
    def embed(batch: list[str]) -> object:
        tokens_BT = to_tokens([("", protein) for protein in batch])[2].to(work.device)
        x_BTD = model(tokens_BT, repr_layers=[model.num_layers])["representations"][model.num_layers]
        means = (x_TD[1 : len(p) + 1].float().mean(dim=0) for x_TD, p in zip(x_BTD, batch, strict=True))
        return [mean_D.cpu() for mean_D in means] if one_by_one else torch.stack(list(means)).cpu()

    # Entered once and for good, for leaving it forgets the casts; this process does nothing else.
    (torch.autocast(kind, torch.bfloat16) if precision == "bf16" else nullcontext()).__enter__()
    return embed


def first_proteins(count: int) -> list[str]:
    """The first of proteins-10k; its lengths are drawn for all 10,000, so that these are the workload's own."""
    return [sequence for _, (_, sequence) in zip(range(count), workloads.proteins(10_000), strict=False)]
