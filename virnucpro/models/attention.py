"""Attention over a pack: no sequence sees another. One interface, and a row of `BACKENDS` for each implementation.

Axes: T tokens of the pack, S sequences, H heads, K width of a head; L tokens of one sequence.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from virnucpro.errors import BadRequest
from virnucpro.models.catalog import ATTENTIONS, AUTO, Precision
from virnucpro.models.ops import cannot_compile
from virnucpro.models.pack import Pack

# Queries, keys and values (T, H, K) each, rotated where positions are rotary; the pack; ALiBi's slopes -> (T, H, K)
Attend = Callable[[Tensor, Tensor, Tensor, Pack, Tensor | None], Tensor]


@dataclass(frozen=True)
class Unusable:
    """Why a backend cannot run here."""

    reason: str
    advice: str = ""  # what would let it run; empty where nothing is wrong with the machine


# The device, the precision and the widths of heads -> why they do not suffice
Requirement = Callable[[torch.device, Precision, Iterable[int]], Unusable | None]


@dataclass(frozen=True)
class Backend:
    """A row of `BACKENDS` says how attention is computed, and where it can be.

    A new one touches two files beside its kernel's own: this (a function and a row) and `catalog.py` (its name).
    """

    name: str
    load: Callable[[], Attend]
    requirements: tuple[Requirement, ...] = ()  # asked in this order
    compiles: bool = False  # at its first call, which a start makes while weights are being read


def varlen(q_THK: Tensor, k_THK: Tensor, v_THK: Tensor, pack: Pack, slopes_H: Tensor | None = None) -> Tensor:
    """torch's own variable-length kernel; it has no ALiBi, so with slopes `sdpa` takes over."""
    if slopes_H is not None:
        return sdpa(q_THK, k_THK, v_THK, pack, slopes_H)
    from torch.nn.attention.varlen import varlen_attn

    cu, longest = pack.cu_seqlens_S1, pack.max_seqlen
    return varlen_attn(q_THK, k_THK, v_THK, cu, cu, longest, longest)


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


def _triton() -> Attend:
    from virnucpro.models.attention_triton import packed_attention

    return packed_attention


def _recent_gpu(device: torch.device, precision: Precision, head_widths: Iterable[int]) -> Unusable | None:
    if device.type != "cuda":
        return Unusable("needs a CUDA GPU")
    if precision.activations not in ("float16", "bfloat16"):
        return Unusable("computes in FP16 or BF16 only")
    if torch.cuda.get_device_capability(device) < (8, 0):
        return Unusable("needs compute capability 8.0 (Ampere) or later")
    return None


def _triton_kernel(device: torch.device, precision: Precision, head_widths: Iterable[int]) -> Unusable | None:
    if reason := cannot_compile(device):
        advice = "Install a C compiler (gcc) and Python's headers: the run is slower without."
        return Unusable(f"Triton cannot compile here ({reason})", advice)
    from virnucpro.models.attention_triton import supports

    unfit = [width for width in head_widths if not supports(width)]
    return Unusable(f"has no heads of {unfit[0]}") if unfit else None


def _installed(module: str, *_: object) -> Unusable | None:
    with suppress(ImportError):  # of what the module stands in
        if importlib.util.find_spec(module):
            return None
    return Unusable(f"{module} is not installed")


BACKENDS = {
    row.name: row
    for row in (  # in order of preference
        Backend("triton", _triton, (_recent_gpu, _triton_kernel), compiles=True),
        Backend("varlen", lambda: varlen, (_recent_gpu, partial(_installed, "torch.nn.attention.varlen"))),
        Backend("sdpa", lambda: sdpa),
    )
}
assert tuple(BACKENDS) == ATTENTIONS, "the catalogue names other backends, or in another order"


def unusable(name: str, device: torch.device, precision: Precision, head_widths: Iterable[int] = ()) -> Unusable | None:
    """Why a backend cannot run with this device, precision and widths of heads; None if it can."""
    answers = (requirement(device, precision, head_widths) for requirement in BACKENDS[name].requirements)
    return next(filter(None, answers), None)


def choose(
    name: str, device: torch.device, precision: Precision, head_widths: Iterable[int] = (), failed: Iterable[str] = ()
) -> str:
    """The backend to use: the one asked for, or with "auto" the first usable one in the order of `BACKENDS`.

    Args:
        failed: Backends that have been tried without success.
    Raises:
        BadRequest: The one asked for is unknown or cannot run here.
    """
    if name == AUTO:
        untried = (each for each in BACKENDS if each not in failed)
        return next(each for each in untried if unusable(each, device, precision, head_widths) is None)
    if name not in BACKENDS:
        raise BadRequest(f"--attention {name} is unknown. Choose one of {', '.join((AUTO, *BACKENDS))}.")
    if cause := unusable(name, device, precision, head_widths):
        raise BadRequest(f"--attention {name} cannot run here: {cause.reason}. Leave it to --attention {AUTO}.")
    return name
