"""Peers: other ways to the same embeddings, as their users run them, on the same proteins and GPU."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from importlib.util import find_spec
from itertools import accumulate
from typing import Any

from benchmarks import history
from benchmarks.measured import Measured
from benchmarks.support import inputs
from benchmarks.support.inputs import Workload
from benchmarks.support.padded import batches, fair_esm, first_proteins, padded_tokens, seconds_per_10k
from benchmarks.support.skip import Skip

NO_TRANSFORMERS = "needs the package transformers, which is not installed here."
SAMPLE = 2000  # proteins, random and then sorted by length, so that seconds scale with their number


def transformers(work: Workload, precision: str) -> Callable[[list[str]], object]:
    """Hugging Face's EsmModel with sdpa, on padded batches.

    Raises:
        Skip: The package is not installed.
    """
    model, tokens_of = _esm_model(work, precision, "sdpa")
    import torch

    @torch.no_grad()
    def embed(batch: list[str]) -> object:
        longest = max(map(len, batch)) + 2
        rows = [tokens_of(protein) + [1] * (longest - len(protein) - 2) for protein in batch]
        tokens_BT = torch.tensor(rows).to(work.device)
        real_BT = tokens_BT != 1
        x_BTD = model(tokens_BT, attention_mask=real_BT.long()).last_hidden_state
        real_BT = real_BT & (tokens_BT != 0) & (tokens_BT != 2)
        return ((x_BTD.float() * real_BT[..., None]).sum(dim=1) / real_BT.sum(dim=1, keepdim=True)).cpu()

    return embed


def packed_transformers(work: Workload, precision: str) -> Callable[[list[str]], object]:
    """The same model without padding: a batch is one row, its positions begin anew with each protein, and attention is
    FlashAttention's, by PyTorch's own `varlen_attn`, for `flash_attention_2` needs a package that is rarely there.

    Raises:
        Skip: transformers is not installed, or it or PyTorch is older than that.
    """
    model, tokens_of = _esm_model(work, precision, _registered_varlen())
    import torch

    @torch.no_grad()
    def embed(batch: list[str]) -> object:
        lengths = [len(protein) + 2 for protein in batch]
        tokens_1T = torch.tensor([[token for protein in batch for token in tokens_of(protein)]]).to(work.device)
        places_1T = torch.cat([torch.arange(length) for length in lengths])[None].to(work.device)
        cu_S1 = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32).to(work.device)
        x_TD = model(
            tokens_1T, position_ids=places_1T, cu_seq_lens_q=cu_S1, cu_seq_lens_k=cu_S1, max_length_q=max(lengths),
            max_length_k=max(lengths),
        ).last_hidden_state[0]  # fmt: skip
        residues_RD = x_TD[(tokens_1T[0] != 0) & (tokens_1T[0] != 2)].float()
        counts_S = torch.tensor([length - 2 for length in lengths]).to(work.device)
        return torch.segment_reduce(residues_RD, "mean", lengths=counts_S).cpu()

    return embed


def _registered_varlen() -> str:
    """The name by which transformers knows an attention over a packed row, made of `varlen_attn`."""
    if find_spec("transformers") is None:
        raise Skip(NO_TRANSFORMERS)
    import transformers

    if not hasattr(transformers, "AttentionInterface"):
        raise Skip(f"needs transformers with AttentionInterface; {transformers.__version__} is older.")
    if find_spec("torch.nn.attention.varlen") is None:
        raise Skip("needs torch.nn.attention.varlen, which this PyTorch does not have.")
    from torch.nn.attention import varlen

    takes_scale = "scale" in inspect.signature(varlen.varlen_attn).parameters

    def attend(module, q_1HTK, k_1HTK, v_1HTK, mask, scaling, cu_seq_lens_q, max_length_q, **_):
        """EsmModel has scaled the queries already (scaling is 1); a `varlen_attn` that takes no scale divides again."""
        q_THK, k_THK, v_THK = (part[0].transpose(0, 1) for part in (q_1HTK, k_1HTK, v_1HTK))
        if not takes_scale:
            q_THK = q_THK * (scaling * q_THK.shape[-1] ** 0.5)
        options = {"scale": scaling} if takes_scale else {}
        cu, longest = cu_seq_lens_q, max_length_q
        return varlen.varlen_attn(q_THK, k_THK, v_THK, cu, cu, longest, longest, **options)[None], None

    transformers.AttentionInterface.register("virnucpro_varlen", attend)
    return "virnucpro_varlen"


def _esm_model(work: Workload, precision: str, attention: str) -> tuple[Any, Callable[[str], list[int]]]:
    """EsmModel of the workload's size, random weights of its own, and what makes a protein its tokens."""
    if find_spec("transformers") is None:
        raise Skip(NO_TRANSFORMERS)
    import torch
    from esm.data import Alphabet
    from transformers import EsmConfig, EsmModel

    from benchmarks.synthetic_weights import ESM2_SIZES

    layers, width, heads = ESM2_SIZES[work.esm_model]
    config = EsmConfig(
        vocab_size=33, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * width, max_position_embeddings=1026, position_embedding_type="rotary",
        token_dropout=True, mask_token_id=32, pad_token_id=1, attn_implementation=attention,
    )  # fmt: skip
    with torch.device(work.device):
        model = EsmModel(config, add_pooling_layer=False).eval()
    alphabet = Alphabet.from_architecture("ESM-1b")
    return (model.half() if precision == "fp16" else model), lambda protein: [0, *map(alphabet.get_idx, protein), 2]


def tokens(batch: list[str]) -> int:
    """Without padding."""
    return sum(len(protein) + 2 for protein in batch)


# peer: how to make it; the measure of a batch, and how much of it a batch has: padded, what each is fastest with on an
# H200; packed, what our own packs have
PEERS = {
    "fair-esm": (fair_esm, padded_tokens, 4096),
    "transformers": (transformers, padded_tokens, 32768),
    "transformers packed": (packed_transformers, tokens, 16_384),
}


class Peers(Measured):
    """Sorted by length, FP16; models loaded and warm. The commit does not matter:
    measured at each release, they show how far the machine itself drifts."""

    params = (["gpu-10k", "cpu-small"], list(PEERS))
    param_names = ("workload", "peer")
    figures = {"seconds_per_10k": "s per 10,000 proteins"}

    def measure(self, workload: str, peer: str) -> dict[str, float | None]:
        work = inputs.require(workload)
        history.require_release()
        make, cost, most = PEERS[peer]
        if work.device == "cpu":
            raise Skip("peers are compared on a GPU, where their users run them.")
        sample = random.Random(0).sample(first_proteins(10_000), SAMPLE)
        made = list(batches(sorted(sample, key=len), cost, most))
        return {"seconds_per_10k": seconds_per_10k(make(work, "fp16"), made, work.device)}
