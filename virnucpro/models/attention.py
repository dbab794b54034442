"""Attention over a pack: no sequence sees another. One interface, four implementations.

Axes: T tokens of the pack, S sequences, H heads, K width of a head; L tokens of one sequence.

    name        device  types       from
    triton      CUDA    FP16, BF16  attention_kernel: turns queries and keys on the way, has ALiBi
    varlen      CUDA    FP16, BF16  torch.nn.attention.varlen, FlashAttention-2 inside torch
    flash-attn  CUDA    FP16, BF16  the package flash-attn, if installed; has ALiBi
    sdpa        any     any         torch's scaled_dot_product_attention over neighbours of like length
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from virnucpro.errors import BadRequest
from virnucpro.models.catalog import ATTENTIONS, AUTO
from virnucpro.models.ops import Ops, cannot_compile
from virnucpro.models.pack import Pack, Tables

# Queries, keys and values (T, 3, H, K); the pack; tables for rotary positions; ALiBi's slopes -> (T, H, K)
Attend = Callable[[Tensor, Pack, Tables | None, Tensor | None], Tensor]


def varlen(q_THK: Tensor, k_THK: Tensor, v_THK: Tensor, pack: Pack, slopes_H: Tensor | None = None) -> Tensor:
    """torch's own variable-length kernel; it has no ALiBi, so with slopes `sdpa` takes over."""
    if slopes_H is not None:
        return sdpa(q_THK, k_THK, v_THK, pack, slopes_H)
    from torch.nn.attention.varlen import varlen_attn

    cu, longest = pack.cu_seqlens_S1, pack.max_seqlen
    return varlen_attn(q_THK, k_THK, v_THK, cu, cu, longest, longest)


def flash_attn(q_THK: Tensor, k_THK: Tensor, v_THK: Tensor, pack: Pack, slopes_H: Tensor | None = None) -> Tensor:
    """The flash-attn package's variable-length kernel; its ALiBi is symmetric, as DNABERT-S's is."""
    from flash_attn import flash_attn_varlen_func

    cu, longest = pack.cu_seqlens_S1, pack.max_seqlen
    y_THK: Tensor = flash_attn_varlen_func(q_THK, k_THK, v_THK, cu, cu, longest, longest, alibi_slopes=slopes_H)
    return y_THK


def sdpa(q_THK: Tensor, k_THK: Tensor, v_THK: Tensor, pack: Pack, slopes_H: Tensor | None = None) -> Tensor:
    """Softmax(q k^T / sqrt(K) - slope |i - j|) v, group by group.

    Returns:
        Tensor: (T, H, K), of the queries' type.
    """
    bias_HLL = None if slopes_H is None else alibi_bias(slopes_H, pack.max_seqlen).to(q_THK.dtype)
    y_THK = torch.empty_like(v_THK)
    for group in pack.groups:
        own = slice(group.first, group.first + group.tokens)
        shape = (group.count, group.longest)
        bias = None if bias_HLL is None else bias_HLL[None, :, : group.longest, : group.longest]
        if group.gather_NL is None:
            q_NLHK, k_NLHK, v_NLHK = (part[own].unflatten(0, shape) for part in (q_THK, k_THK, v_THK))
        else:
            q_NLHK, k_NLHK, v_NLHK = (part[group.gather_NL] for part in (q_THK, k_THK, v_THK))
            blank = torch.zeros((), dtype=q_THK.dtype, device=q_THK.device) if bias is None else bias
            bias = blank.masked_fill(group.padding_NL[:, None, None], -torch.inf)
        y_NHLK = F.scaled_dot_product_attention(
            q_NLHK.transpose(1, 2), k_NLHK.transpose(1, 2), v_NLHK.transpose(1, 2), attn_mask=bias
        )
        y_RHK = y_NHLK.transpose(1, 2).flatten(0, 1)
        y_THK[own] = y_RHK if group.scatter_T is None else y_RHK[group.scatter_T]
    return y_THK


def alibi_bias(slopes_H: Tensor, length: int) -> Tensor:
    """Bias -slope |i - j| of each head: float32 (H, L, L)."""
    places_L = torch.arange(length, device=slopes_H.device)
    return -slopes_H[:, None, None] * (places_L[:, None] - places_L).abs()


_PLAIN = {"varlen": varlen, "flash-attn": flash_attn, "sdpa": sdpa}


def make(name: str, ops: Ops) -> Attend:
    """The attention of a backend; those that cannot turn queries and keys have it done by `ops` first."""
    if name == "triton":
        from virnucpro.models.attention_triton import packed_attention

        return packed_attention
    plain = _PLAIN[name]

    def attend(qkv_T3HK: Tensor, pack: Pack, rotary: Tables | None, slopes_H: Tensor | None) -> Tensor:
        parts = qkv_T3HK.unbind(1) if rotary is None else ops.rotate(qkv_T3HK, *pack.angles(rotary))
        return plain(*parts, pack, slopes_H)

    return attend


def unusable(name: str, device: torch.device, dtype: torch.dtype, head_widths: Iterable[int] = ()) -> str | None:
    """Why a backend cannot run with this device, type and widths of heads; None if it can."""
    if name == "sdpa":
        return None
    if device.type != "cuda":
        return "needs a CUDA GPU"
    if dtype not in (torch.float16, torch.bfloat16):
        return "computes in FP16 or BF16 only"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "needs compute capability 8.0 (Ampere) or later"
    if name == "triton":
        if reason := cannot_compile(device):
            return f"Triton cannot compile here ({reason})"
        from virnucpro.models.attention_triton import supports

        unfit = [width for width in head_widths if not supports(width)]
        return f"has no heads of {unfit[0]}" if unfit else None
    module = {"varlen": "torch.nn.attention.varlen", "flash-attn": "flash_attn"}[name]
    try:
        found = importlib.util.find_spec(module) is not None
    except ImportError:
        found = False
    return None if found else f"{module} is not installed"


def choose(
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    head_widths: Iterable[int] = (),
    failed: Iterable[str] = (),
) -> str:
    """The backend to use: the one asked for, or with "auto" the first usable one in the order of ATTENTIONS.

    Args:
        failed: Backends that have been tried in vain.
    Raises:
        BadRequest: The one asked for is unknown or cannot run here.
    """
    if name == AUTO:
        tried = (each for each in ATTENTIONS if each not in failed)
        return next(each for each in tried if unusable(each, device, dtype, head_widths) is None)
    if name not in ATTENTIONS:
        raise BadRequest(f"--attention {name} is unknown. Choose one of {', '.join((AUTO, *ATTENTIONS))}.")
    if reason := unusable(name, device, dtype, head_widths):
        raise BadRequest(f"--attention {name} cannot run here: {reason}. Leave it to --attention {AUTO}.")
    return name
