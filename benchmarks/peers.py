"""Peers: other ways to the same embeddings, as their users run them, on the same proteins and GPU."""

from __future__ import annotations

import random
from collections.abc import Callable

from benchmarks import history
from benchmarks.measured import Measured
from benchmarks.support import inputs
from benchmarks.support.inputs import Workload
from benchmarks.support.padded import batches, fair_esm, first_proteins, padded_tokens, seconds_per_10k
from benchmarks.support.skip import Skip

SAMPLE = 2000  # proteins, random and then sorted by length, so that seconds scale with their number


def transformers(work: Workload, precision: str) -> Callable[[list[str]], object]:
    """Hugging Face's EsmModel with sdpa, of the same size, random weights of its own.

    Raises:
        Skip: The package is not installed.
    """
    from importlib.util import find_spec

    if find_spec("transformers") is None:
        raise Skip("needs the package transformers, which is not installed here.")
    import torch
    from esm.data import Alphabet
    from transformers import EsmConfig, EsmModel

    from benchmarks.synthetic_weights import ESM2_SIZES

    layers, width, heads = ESM2_SIZES[work.esm_model]
    config = EsmConfig(
        vocab_size=33, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * width, max_position_embeddings=1026, position_embedding_type="rotary",
        token_dropout=True, mask_token_id=32, pad_token_id=1, attn_implementation="sdpa",
    )  # fmt: skip
    with torch.device(work.device):
        model = EsmModel(config, add_pooling_layer=False).eval()
    model = model.half() if precision == "fp16" else model
    alphabet = Alphabet.from_architecture("ESM-1b")

    @torch.no_grad()
    def embed(batch: list[str]) -> object:
        longest = max(map(len, batch)) + 2
        rows = [[0, *map(alphabet.get_idx, protein), 2] + [1] * (longest - len(protein) - 2) for protein in batch]
        tokens_BT = torch.tensor(rows).to(work.device)
        real_BT = tokens_BT != 1
        x_BTD = model(tokens_BT, attention_mask=real_BT.long()).last_hidden_state
        real_BT = real_BT & (tokens_BT != 0) & (tokens_BT != 2)
        return ((x_BTD.float() * real_BT[..., None]).sum(dim=1) / real_BT.sum(dim=1, keepdim=True)).cpu()

    return embed


# peer: how to make it, and padded tokens in a batch, which is what each is fastest with on an H200
PEERS = {"fair-esm": (fair_esm, 4096), "transformers": (transformers, 32768)}


class Peers(Measured):
    """Sorted by length and padded, FP16; models loaded and warm. The commit does not matter:
    measured at each release, they show how far the machine itself drifts."""

    params = (["gpu-10k", "cpu-small"], list(PEERS))
    param_names = ("workload", "peer")
    figures = {"seconds_per_10k": "s per 10,000 proteins"}

    def measure(self, workload: str, peer: str) -> dict[str, float | None]:
        work = inputs.require(workload)
        history.require_release()
        make, tokens = PEERS[peer]
        if work.device == "cpu":
            raise Skip("peers are compared on a GPU, where their users run them.")
        sample = random.Random(0).sample(first_proteins(10_000), SAMPLE)
        made = list(batches(sorted(sample, key=len), padded_tokens, tokens))
        return {"seconds_per_10k": seconds_per_10k(make(work, "fp16"), made, work.device)}
