"""Loader: windows become packs of tokens, in CPU processes that never touch CUDA.

Axes: S sequences of a window, P packs, T tokens of all its packs.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from virnucpro.children import follow_the_parent
from virnucpro.packs import Packing, pack
from virnucpro.recipe import Recipe
from virnucpro.sequences import sequences_of
from virnucpro.tokens import dnabert_tokens, esm2_tokens, load_tokenizer
from virnucpro.windows import Window


@dataclass(frozen=True)
class Packs:
    """A window's sequences for one model, pack after pack.

    token_ids_T: uint8 (ESM-2) or int16 (DNABERT-S). cu_seqlens: int32 (S + P), for each pack the S_p + 1 edges of
    its sequences, from 0. order_S: int64, place in the window of each sequence. lengths: tokens of each, a tuple
    a pack.
    """

    token_ids_T: Tensor
    cu_seqlens: Tensor
    order_S: Tensor
    lengths: tuple[tuple[int, ...], ...]

    @property
    def tokens(self) -> int:
        return len(self.token_ids_T)

    def map(self, change: Callable[[Tensor], Tensor]) -> Packs:
        """The same packs with `change` applied to each tensor, such as a copy to the device."""
        return Packs(change(self.token_ids_T), change(self.cu_seqlens), change(self.order_S), self.lengths)


@dataclass(frozen=True)
class Prepared:
    """A window ready for the device: its packs, and what the host keeps of it; see `sequences.Sequences`."""

    index: int
    only: tuple[int, int] | None
    open_C: np.ndarray
    sequences: int
    cut: int
    unknown: int
    esm2: Packs | None  # None where there is nothing to do
    dnabert: Packs | None


class FrontEnd(Dataset[Any]):
    """Chunks to frames to tokens to packs; indexed by the window itself."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._tokenizer: Tokenizer | None = None

    def __getitem__(self, window: Window | None) -> Prepared | None:
        """None, for which nothing is done, lets a source say that it has nothing at the moment."""
        if window is None:
            return None
        found = sequences_of(window, self._recipe.kind)
        esm2 = dnabert = None
        if found.proteins:
            esm2 = self._esm2_packs(found.proteins)
            dnabert = self._dnabert_packs(found.dna) if found.dna else None
        if get_worker_info() is not None:
            assert not torch.cuda.is_initialized(), "a loader process has used CUDA"
        count = len(found.proteins)
        return Prepared(window.index, window.only, found.open_C, count, found.cut, found.unknown, esm2, dnabert)

    def _esm2_packs(self, proteins: list[bytes]) -> Packs:
        plan = pack(np.array([len(protein) + 2 for protein in proteins]), self._recipe.token_budget)
        tokens = bytearray(esm2_tokens([proteins[i] for i in plan.order_S]))
        return _packs(torch.frombuffer(tokens, dtype=torch.uint8), plan)

    def _dnabert_packs(self, dna: list[str]) -> Packs:
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self._recipe.weights.dnabert)
        ids = dnabert_tokens(self._tokenizer, dna)
        plan = pack(np.array([len(tokens) for tokens in ids]), self._recipe.token_budget)
        return _packs(torch.tensor([token for i in plan.order_S for token in ids[i]], dtype=torch.int16), plan)


def _packs(token_ids_T: Tensor, plan: Packing) -> Packs:
    ends = np.cumsum(plan.sizes_P)
    lengths = tuple(tuple(plan.lengths_S[end - size : end].tolist()) for size, end in zip(plan.sizes_P, ends))
    edges = [edge for pack_lengths in lengths for edge in accumulate(pack_lengths, initial=0)]
    return Packs(token_ids_T, torch.tensor(edges, dtype=torch.int32), torch.from_numpy(plan.order_S), lengths)


def load(
    front_end: FrontEnd, windows: Iterable[Window | None], num_workers: int, prefetch_factor: int
) -> Iterator[Prepared | None]:
    """Prepared windows in order, each made ahead of its turn by `num_workers` processes (0: by this one, in turn)."""
    options: dict[str, Any] = {}
    if num_workers:
        # Forked before CUDA starts, so that they cost no second import of torch and inherit no CUDA context. (Those
        # that replace dead ones are forked later; torch refuses them any use of CUDA.)
        options = {
            "prefetch_factor": prefetch_factor,
            "multiprocessing_context": "fork",
            "worker_init_fn": _begin_worker,
            "persistent_workers": True,
        }
    before = signal.getsignal(signal.SIGCHLD)
    prepared = iter(
        DataLoader(
            front_end,
            sampler=windows,  # the "indices" are the windows themselves, read only as they are needed
            batch_size=None,
            num_workers=num_workers,
            collate_fn=_as_it_is,
            **options,
        )
    )
    if num_workers and before is not None and threading.current_thread() is threading.main_thread():
        # torch's handler raises an error wherever this process happens to be when a loader process dies, be it in the
        # middle of writing a file. Without it `next` finds out, within 5 s.
        signal.signal(signal.SIGCHLD, before)
    return prepared


def _as_it_is(prepared: Prepared | None) -> Prepared | None:
    return prepared


def _begin_worker(number: int) -> None:
    """First thing in a loader process: signals are the parent's business, and CUDA is out of bounds."""
    follow_the_parent()  # else it would keep open the pipes of a parent that was killed
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # by which torch ends it
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads would take the other processes' cores
