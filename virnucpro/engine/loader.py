"""Loader: windows become packs of tokens; what a loader process does (`prefetch`). No torch here.

Axes: S sequences of a window, U that differ, P packs, T tokens of all its packs; A sequences that are audited.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Generic, TypeVar

import numpy as np

from virnucpro.config.compute import ComputeConfig
from virnucpro.engine.audit_sample import drawn
from virnucpro.engine.packing import distinct, pack
from virnucpro.engine.results import WindowResult, blank_result
from virnucpro.models.language_models import LANGUAGE_MODELS, queued
from virnucpro.models.tokens import TOKENISERS, Tokenise
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.window_sequences import Sequences, sequences_of
from virnucpro.reading.windows import Window

Array = TypeVar("Array")  # numpy's, or torch's on a device
Other = TypeVar("Other")


@dataclass(frozen=True)
class ModelPacks(Generic[Array]):
    """A window's sequences for one model, pack after pack; of those that are equal, one."""

    token_ids_T: Array  # of the tokeniser's integers
    cu_seqlens: Array  # int32 (U + P): for each pack the U_p + 1 edges of its sequences, from 0
    order_U: Array  # int64, the number among those that differ of each sequence
    lengths: tuple[tuple[int, ...], ...]  # tokens of each sequence, a tuple a pack
    places_S: Array | None = None  # int64, that number for each place in the window; None where all differ

    def mapped(self, function: Callable[[Array], Other]) -> ModelPacks[Other]:
        """Put each array through a function: onto a device."""
        arrays = (function(array) for array in (self.token_ids_T, self.cu_seqlens, self.order_U))
        return ModelPacks(*arrays, self.lengths, None if self.places_S is None else function(self.places_S))

    @property
    def tokens(self) -> int:
        return len(self.token_ids_T)

    @property
    def distinct(self) -> int:
        return len(self.order_U)


@dataclass(frozen=True)
class AuditPacks(Generic[Array]):
    """The sequences of a window that are computed in 16 bits too."""

    places_A: Array  # int64, in the window or its part
    packs: dict[str, ModelPacks[Array]]  # of each language model that has an 8-bit likeness

    def mapped(self, function: Callable[[Array], Other]) -> AuditPacks[Other]:
        """Put each array through a function: onto a device."""
        return AuditPacks(function(self.places_A), {name: packs.mapped(function) for name, packs in self.packs.items()})


@dataclass(frozen=True)
class PackedWindow:
    """A window ready for the device."""

    blank: WindowResult  # its result as long as nothing is computed
    # Of each language model, in the order of the queue; none where nothing is to do.
    packs: dict[str, ModelPacks[np.ndarray]]
    audit: AuditPacks[np.ndarray] | None = None  # None where nothing of it is audited


class FrontEnd:
    """Chunks to frames to tokens to packs; indexed by the window itself. `seconds`: of each stage, up to now."""

    def __init__(self, config: ComputeConfig) -> None:
        self._config = config
        self._models = queued(config.weights.models)
        assert TOKENISERS.keys() >= {*self._models}, "models/tokens.py lacks a tokeniser"
        self._tokenisers: dict[str, Tokenise] = {}
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def __getitem__(self, window: Window) -> PackedWindow:
        with self._stage("frames" if self._config.kind == InputKind.NUCLEOTIDE else "letters"):
            texts = sequences_of(window, self._config.kind)
        packs = {name: self._packed(name, texts) for name in self._models} if texts.proteins else {}
        audit = self._audited(window, texts) if self._config.audit else None
        return PackedWindow(blank_result(window, texts), packs, audit)

    def _audited(self, window: Window, texts: Sequences) -> AuditPacks[np.ndarray] | None:
        with self._stage("packs"):
            places_A = drawn(window, int(np.unpackbits(texts.open_C).sum()))
        if not len(places_A):
            return None
        proteins, dna = ([each[place] for place in places_A] if each else each for each in (texts.proteins, texts.dna))
        some = replace(texts, proteins=proteins, dna=dna)
        models = [name for name in self._models if LANGUAGE_MODELS[name].eight_bit]
        return AuditPacks(places_A, {name: self._packed(name, some) for name in models})

    def _packed(self, name: str, texts: Sequences) -> ModelPacks[np.ndarray]:
        row = LANGUAGE_MODELS[name]
        if name not in self._tokenisers:
            self._tokenisers[name] = TOKENISERS[name](self._config.weights.models.get(name))
        with self._stage("packs"):
            once, places_S = distinct(getattr(texts, row.reads))
        with self._stage(f"{row.title} tokens"):
            tokens = self._tokenisers[name](once)
        with self._stage("packs"):
            plan = pack(tokens.lengths_S, self._config.token_budget)
        with self._stage(f"{row.title} tokens"):
            token_ids_T = tokens.joined(plan.order_S)
        with self._stage("packs"):
            ends = np.cumsum(plan.sizes_P)
            lengths = tuple(tuple(plan.lengths_S[end - size : end].tolist()) for size, end in zip(plan.sizes_P, ends))
            edges = [edge for pack_lengths in lengths for edge in accumulate(pack_lengths, initial=0)]
            return ModelPacks(token_ids_T, np.array(edges, np.int32), plan.order_S, lengths, places_S)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - begun
