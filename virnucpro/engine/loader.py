"""Loader: windows become packs of tokens; what a loader process does (`prefetch`). No torch here.

Axes: S sequences of a window, P packs, T tokens of all its packs.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, chain

import numpy as np
from tokenizers import Tokenizer

from virnucpro.config.compute import ComputeConfig
from virnucpro.engine.packing import PackPlan, pack
from virnucpro.engine.results import WindowResult
from virnucpro.models.tokens import dnabert_tokens, esm2_tokens, load_tokenizer
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.window_sequences import sequences_of
from virnucpro.reading.windows import Window


@dataclass(frozen=True)
class ModelPacks:
    """A window's sequences for one model, pack after pack.

    token_ids_T: uint8 (ESM-2) or int16 (DNABERT-S). cu_seqlens: int32 (S + P), for each pack the S_p + 1 edges of
    its sequences, from 0. order_S: int64, place in the window of each sequence. lengths: tokens of each, a tuple
    a pack.
    """

    token_ids_T: np.ndarray
    cu_seqlens: np.ndarray
    order_S: np.ndarray
    lengths: tuple[tuple[int, ...], ...]

    @property
    def tokens(self) -> int:
        return len(self.token_ids_T)


@dataclass(frozen=True)
class PackedWindow:
    """A window ready for the device: its packs, and what the host keeps of it; see `sequences.Sequences`."""

    index: int
    only: tuple[int, int] | None
    open_C: np.ndarray
    sequences: int
    cut: int
    unknown: int
    esm2: ModelPacks | None  # None where there is nothing to do
    dnabert: ModelPacks | None

    @property
    def blank(self) -> WindowResult:
        """Its result as long as nothing is computed."""
        return WindowResult(self.index, self.only, self.open_C, self.sequences, self.cut, self.unknown)


class FrontEnd:
    """Chunks to frames to tokens to packs; indexed by the window itself. `seconds`: of each stage, up to now."""

    def __init__(self, recipe: ComputeConfig) -> None:
        self._recipe = recipe
        self._tokenizer: Tokenizer | None = None
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def __getitem__(self, window: Window) -> PackedWindow:
        with self._stage("frames" if self._recipe.kind == InputKind.NUCLEOTIDE else "letters"):
            found = sequences_of(window, self._recipe.kind)
        esm2 = dnabert = None
        if found.proteins:
            esm2 = self._esm2_packs(found.proteins)
            dnabert = self._dnabert_packs(found.dna) if found.dna else None
        count = len(found.proteins)
        return PackedWindow(window.index, window.only, found.open_C, count, found.cut, found.unknown, esm2, dnabert)

    def _esm2_packs(self, proteins: list[bytes]) -> ModelPacks:
        with self._stage("packs"):
            plan = pack(np.array([len(protein) + 2 for protein in proteins]), self._recipe.token_budget)
        with self._stage("ESM-2 tokens"):
            tokens = bytearray(esm2_tokens([proteins[i] for i in plan.order_S]))
        with self._stage("packs"):
            return _packs(np.frombuffer(tokens, np.uint8), plan)

    def _dnabert_packs(self, dna: list[str]) -> ModelPacks:
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self._recipe.weights.dnabert)
        with self._stage("DNABERT-S tokens"):
            ids = dnabert_tokens(self._tokenizer, dna)
        with self._stage("packs"):
            plan = pack(np.array([len(tokens) for tokens in ids]), self._recipe.token_budget)
            return _packs(np.fromiter(chain.from_iterable(ids[i] for i in plan.order_S), np.int16), plan)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - begun


def _packs(token_ids_T: np.ndarray, plan: PackPlan) -> ModelPacks:
    ends = np.cumsum(plan.sizes_P)
    lengths = tuple(tuple(plan.lengths_S[end - size : end].tolist()) for size, end in zip(plan.sizes_P, ends))
    edges = [edge for pack_lengths in lengths for edge in accumulate(pack_lengths, initial=0)]
    return ModelPacks(token_ids_T, np.array(edges, np.int32), plan.order_S, lengths)
