"""The attention kernel against plain attention; most of it needs a GPU: python -m pytest tests/test_attention_triton.py

Axes: T tokens of a pack, H heads, K width of a head; N tokens of one sequence.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from virnucpro.models.dnabert_s import alibi_slopes
from virnucpro.models.pack import Pack

kernel = pytest.importorskip("virnucpro.models.attention_triton", reason="needs Triton, which is not installed here")

LENGTHS = [[1], [7, 7], [1, 300, 2], [128, 64, 65, 1024], [100, 128, 90]]
# heads, width, whether ALiBi: the published ESM-2 with 8M, 150M, 650M, 3B and 15B, and DNABERT-S
MODELS = [
    (20, 16, False),
    (20, 32, False),
    (20, 64, False),
    (40, 64, False),
    (40, 128, False),
    (12, 64, True),
    (12, 64, False),
]


class Case:
    """A pack of random queries, keys and values on the GPU."""

    def __init__(self, lengths: list[int], heads: int, width: int, alibi: bool, dtype: torch.dtype) -> None:
        self.lengths, self.width = lengths, width
        generator = torch.Generator().manual_seed(sum(lengths))
        self.qkv_T3HK = torch.randn(sum(lengths), 3, heads, width, generator=generator).to("cuda", dtype)
        self.slopes_H = torch.tensor(alibi_slopes(heads), device="cuda") if alibi else None

    def by_kernel(self, qkv_T3HK: Tensor) -> Tensor:
        edges = torch.tensor([0, *self.lengths], device="cuda").cumsum(0).int()
        pack = Pack(torch.zeros(len(qkv_T3HK), dtype=torch.int32, device="cuda"), edges, tuple(self.lengths))
        return kernel.packed_attention(*qkv_T3HK.unbind(1), pack, self.slopes_H)

    def plainly(self, qkv_T3HK: Tensor) -> Tensor:
        """One sequence at a time, in the type of the input throughout."""
        return torch.cat([self._one(qkv_N3HK) for qkv_N3HK in qkv_T3HK.split(self.lengths)])

    def _one(self, qkv_N3HK: Tensor) -> Tensor:
        places_N = torch.arange(len(qkv_N3HK), device="cuda")
        q_HNK, k_HNK, v_HNK = (part.transpose(0, 1) for part in qkv_N3HK.unbind(1))
        scores_HNN = q_HNK @ k_HNK.transpose(1, 2) / math.sqrt(self.width)
        if self.slopes_H is not None:
            distances_NN = (places_N[:, None] - places_N).abs()
            scores_HNN -= (self.slopes_H[:, None, None] * distances_NN).to(scores_HNN.dtype)
        return (scores_HNN.softmax(dim=-1) @ v_HNK).transpose(0, 1)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
@pytest.mark.parametrize(("heads", "width", "alibi"), MODELS)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_the_kernel_errs_little_more_than_plain_attention_of_its_type(lengths, heads, width, alibi, dtype):
    case = Case(lengths, heads, width, alibi, dtype)
    exact = case.plainly(case.qkv_T3HK.float())
    allowed = 2 * (case.plainly(case.qkv_T3HK) - exact).abs().max()  # flash-attention's own rule
    found = case.by_kernel(case.qkv_T3HK)
    assert found.dtype == dtype
    assert found.is_contiguous()
    assert (found - exact).abs().max() <= allowed


@pytest.mark.gpu
@pytest.mark.parametrize("lengths", [[70, 3, 130, 64, 1], [60, 3, 64], [128, 100, 3]], ids=str)
@pytest.mark.parametrize("alibi", [False, True])
def test_no_sequence_sees_another(lengths, alibi):
    """Not even a neighbour that is not a number, which a weight of zero would still let through."""
    case = Case(lengths, 12, 64, alibi, torch.float16)
    before = case.by_kernel(case.qkv_T3HK).split(lengths)
    for changed in range(len(lengths)):
        qkv_T3HK = case.qkv_T3HK.clone()
        qkv_T3HK.split(lengths)[changed].fill_(torch.nan)
        after = case.by_kernel(qkv_T3HK).split(lengths)
        assert after[changed].isnan().all()
        others = [other for other in range(len(lengths)) if other != changed]
        assert all(torch.equal(before[other], after[other]) for other in others)


@pytest.mark.gpu
def test_the_host_waits_for_nothing():
    case = Case([300, 7], 20, 64, False, torch.float16)
    edges = torch.tensor([0, 300, 307], device="cuda", dtype=torch.int32)
    case.by_kernel(case.qkv_T3HK)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        pack = Pack(edges, edges, (300, 7))
        kernel.packed_attention(*case.qkv_T3HK.unbind(1), pack)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_width_that_is_no_power_of_two_is_left_to_others():
    assert [width for width in (8, 16, 24, 32, 64, 80, 128, 256) if kernel.supports(width)] == [16, 32, 64, 128]
