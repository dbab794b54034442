"""Attention over packs: `sdpa` against plain attention sequence by sequence, and which backend runs where.

Axes: T tokens of a pack, H heads, K width of a head; N tokens of one sequence.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packing import pack_of, precision_of
from references import worst
from torch import Tensor

from virnucpro.errors import BadRequest
from virnucpro.models import attention
from virnucpro.models.attention import Unusable, choose, sdpa, unusable
from virnucpro.models.dnabert_s import alibi_slopes

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
HEADS, WIDTH = 3, 8
FP32, FP16, BF16 = torch.float32, torch.float16, torch.bfloat16


def random_pack(lengths):
    """A pack of these lengths, and queries, keys and values for it: float32 (3, T, H, K)."""
    generator = torch.Generator().manual_seed(len(lengths))
    return pack_of([[5] * length for length in lengths]), torch.randn(
        3, sum(lengths), HEADS, WIDTH, generator=generator
    )


def plainly(qkv_3THK: Tensor, lengths: list[int], slopes_H: Tensor | None) -> Tensor:
    """Softmax(q k^T / sqrt(K) - slope |i - j|) v for one sequence and head at a time: (T, H, K)."""
    rows = []
    for part_3NHK in qkv_3THK.split(lengths, dim=1):
        places = torch.arange(part_3NHK.shape[1])
        heads = []
        for head, (q_NK, k_NK, v_NK) in enumerate(part_3NHK.permute(2, 0, 1, 3)):
            logits_NN = q_NK @ k_NK.T / math.sqrt(WIDTH)
            if slopes_H is not None:
                logits_NN = logits_NN - slopes_H[head] * (places[:, None] - places).abs()
            heads.append(logits_NN.softmax(dim=1) @ v_NK)
        rows.append(torch.stack(heads, dim=1))
    return torch.cat(rows)


LENGTHS = {
    "one": [5],
    "one token": [1],
    "equal": [4, 4, 4],
    "like": [9, 8, 8],
    "unlike": [1, 30, 2],
    "groups of all kinds": [40, 38, 36, 20, 20, 20, 7, 3, 3, 1, 1],
    "ascending": [1, 2, 3, 16, 17, 18],
}


@pytest.mark.parametrize("alibi", [False, True])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_sdpa_is_plain_attention(lengths, alibi):
    slopes_H = torch.tensor(alibi_slopes(HEADS)) if alibi else None
    pack, qkv_3THK = random_pack(lengths)
    found = sdpa(*qkv_3THK, pack, slopes_H)
    assert found.dtype == FP32
    # Rounding of a sum of K products, then of a weighted mean of N values
    allowed = torch.finfo(FP32).eps * (WIDTH + max(lengths)) * worst(qkv_3THK[2])
    assert worst(found - plainly(qkv_3THK.double(), lengths, slopes_H)) <= allowed


def groups_of(lengths):
    return [
        (group.first, group.tokens, group.count, group.longest) for group in pack_of([[5] * n for n in lengths]).groups
    ]


@pytest.mark.parametrize(
    "lengths, groups",
    [
        ([4, 4], [(0, 8, 2, 4)]),
        ([8, 7], [(0, 15, 2, 8)]),  # an eighth shorter is like enough
        ([8, 6], [(0, 8, 1, 8), (8, 6, 1, 6)]),
        ([7, 8], [(0, 15, 2, 8)]),
        ([6, 8], [(0, 6, 1, 6), (6, 8, 1, 8)]),
        ([80, 75, 70, 69], [(0, 225, 3, 80), (225, 69, 1, 69)]),  # like the longest, not like the neighbour
    ],
)
def test_groups(lengths, groups):
    assert groups_of(lengths) == groups


def test_a_group_of_like_lengths_says_where_tokens_go_and_come_from():
    (group,) = pack_of([[5] * 8, [6] * 7]).groups
    assert group.padding_NL.tolist() == [[False] * 8, [False] * 7 + [True]]
    assert group.gather_NL.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 12, 13, 14, 14]]
    assert group.scatter_T.tolist() == [*range(8), *range(8, 15)]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30))
def test_groups_cover_every_sequence_once_and_in_order(lengths):
    sequence = token = 0
    for first, tokens, count, longest in groups_of(lengths):
        own = lengths[sequence : sequence + count]
        assert (first, tokens, longest) == (token, sum(own), max(own))
        sequence, token = sequence + count, token + tokens
    assert sequence == len(lengths)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=12), st.booleans(), st.data())
def test_no_sequence_sees_another(lengths, alibi, data):
    slopes_H = torch.tensor(alibi_slopes(HEADS)) if alibi else None
    pack, qkv_3THK = random_pack(lengths)
    before = sdpa(*qkv_3THK, pack, slopes_H)
    changed = data.draw(st.integers(0, len(lengths) - 1))
    own = slice(sum(lengths[:changed]), sum(lengths[: changed + 1]))
    qkv_3THK[:, own] += 1
    after = sdpa(*qkv_3THK, pack, slopes_H)
    assert torch.equal(after[: own.start], before[: own.start])
    assert torch.equal(after[own.stop :], before[own.stop :])
    assert not torch.equal(after[own], before[own])


def test_a_pack_knows_the_place_of_every_token():
    pack = pack_of([[5, 6], [7], [8, 9, 10]])
    assert pack.cu_seqlens_S1.tolist() == [0, 2, 3, 6]
    assert pack.max_seqlen == 3
    assert pack.sequence_T.tolist() == [0, 0, 1, 2, 2, 2]
    assert pack.positions_T.tolist() == [0, 1, 0, 0, 1, 2]
    cos = torch.tensor([[1.0], [0.5], [0.25]])
    assert [table.flatten().tolist() for table in pack.angles((cos, -cos))] == [
        [1.0, 0.5, 1.0, 1.0, 0.5, 0.25],
        [-1.0, -0.5, -1.0, -1.0, -0.5, -0.25],
    ]


def test_split():
    first, rest = pack_of([[5, 6], [7], [8, 9, 10]]).split(1)
    assert (first.token_ids_T.tolist(), first.cu_seqlens_S1.tolist(), first.lengths) == ([5, 6], [0, 2], (2,))
    assert (rest.token_ids_T.tolist(), rest.cu_seqlens_S1.tolist(), rest.lengths) == ([7, 8, 9, 10], [0, 1, 4], (1, 3))
    assert rest.positions_T.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize(
    "name, device, dtype, capability, reason",
    [
        ("sdpa", CPU, FP32, None, None),
        ("sdpa", CUDA, FP32, (7, 5), None),
        ("triton", CPU, FP16, None, "needs a CUDA GPU"),
        ("varlen", CPU, FP16, None, "needs a CUDA GPU"),
        ("varlen", CUDA, FP32, (9, 0), "computes in FP16 or BF16 only"),
        ("varlen", CUDA, FP16, (7, 5), "needs compute capability 8.0 (Ampere) or later"),
        ("varlen", CUDA, BF16, (8, 0), None),
        ("varlen", CUDA, FP16, (9, 0), "torch.nn.attention.varlen is not installed"),
        ("triton", CUDA, FP16, (9, 0), "Triton cannot compile here (no C compiler)"),
    ],
)
def test_why_a_backend_cannot_run(monkeypatch, name, device, dtype, capability, reason):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(attention, "cannot_compile", lambda device: "no C compiler")
    monkeypatch.setattr(attention.importlib.util, "find_spec", lambda module: object() if dtype == BF16 else None)
    cause = unusable(name, device, precision_of(dtype))
    assert (cause and cause.reason) == reason


def test_a_missing_compiler_is_told_with_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(attention, "cannot_compile", lambda device: "no C compiler")
    assert unusable("triton", CUDA, precision_of(FP16)) == Unusable(
        "Triton cannot compile here (no C compiler)",
        "Install a C compiler (gcc) and Python's headers: the run is slower without.",
    )
    assert unusable("triton", CPU, precision_of(FP16)).advice == ""


@pytest.mark.parametrize(
    "device, dtype, capability, chosen",
    [
        (CPU, FP32, None, "sdpa"),
        (CPU, FP16, None, "sdpa"),
        (CUDA, FP32, (9, 0), "sdpa"),
        (CUDA, FP16, (9, 0), "varlen"),
    ],
)
def test_auto_takes_the_first_that_can_run(monkeypatch, device, dtype, capability, chosen):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(attention, "cannot_compile", lambda device: "no C compiler")
    monkeypatch.setattr(attention.importlib.util, "find_spec", lambda module: object())
    assert choose("auto", device, precision_of(dtype)) == chosen


def test_asking_for_what_cannot_run_is_an_error():
    assert choose("sdpa", CPU, precision_of(FP32)) == "sdpa"
    with pytest.raises(BadRequest, match=r"--attention varlen cannot run here: needs a CUDA GPU. Leave it to"):
        choose("varlen", CPU, precision_of(FP32))
    with pytest.raises(BadRequest, match=r"--attention flash is unknown. Choose one of auto, triton, varlen"):
        choose("flash", CPU, precision_of(FP32))
