"""Streaming: embed proteins with a model that stays loaded, and see what each window of them took.

No file is written and none is checked: `virnucpro.embed` resumes, retries in other processes and uses all GPUs; this
is for scripts and benchmarks that have their own way with all that.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from virnucpro.config.compute import ComputeConfig
from virnucpro.config.placement import GPU_SEQUENCES, GPU_TOKENS, Placement
from virnucpro.config.runtime import RuntimeConfig
from virnucpro.engine.events import WindowCost
from virnucpro.errors import BadRequest
from virnucpro.executors.base import ExecutorConfig
from virnucpro.executors.launch import launch_local
from virnucpro.models.catalog import AUTO, ESM2_SIZES, PRECISIONS
from virnucpro.models.locate import WeightPaths, find_weights, named_directory
from virnucpro.reading.input_files import InputFiles
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.reads import Read
from virnucpro.reading.window_source import AtHand
from virnucpro.reading.windows import windows
from virnucpro.system.devices import visible_gpus

if TYPE_CHECKING:
    from virnucpro.executors.local import LocalExecutor


@dataclass(frozen=True)
class EmbeddedWindow:
    """Consecutive proteins, embedded."""

    names: list[str]  # of those with residues
    embeddings: np.ndarray  # float32 (names, width); NaN where it failed
    failures: dict[str, str]  # why, by name
    cost: WindowCost  # tokens, seconds, waiting


class Embedder(AbstractContextManager["Embedder"]):
    """ESM-2 on one device, with its loader processes.

    Args:
        weights_dir: With the weights; None for VIRNUCPRO_WEIGHTS, or where the command line looks without it.
        esm_model: A key of `virnucpro.models.catalog.ESM2_SIZES`.
        device: "cuda:0", "cuda:1", ... or "cpu"; None for the first GPU, or the CPU if there is none.
        precision: "fp16", "bf16", "fp32" or "int8"; "auto" is fp16 on a GPU, fp32 on the CPU. 8 bits are not audited
            here: `virnucpro.predict` does that, and `virnucpro parity` compares them with float32.
        attention: As `--attention` of the command line.
        token_budget: Most tokens of a pack; None for the device's.
        buffer_size: Most proteins of a window; None for the device's.
        loaders: Processes that prepare windows; 0 for none, None for the device's.
        threads: Of the CPU; None for torch's own choice.
        plain: PyTorch's own steps between matrix products even where fused ones run.
    Raises:
        virnucpro.errors.BadRequest: There is no such precision, or the weights are missing. What else the weights or
            the device cannot do is told by the first `embed`.
    """

    def __init__(
        self,
        weights_dir: str | os.PathLike[str] | None = None,
        esm_model: str = "esm2_t36_3B_UR50D",
        *,
        device: str | None = None,
        precision: str = AUTO,
        attention: str = AUTO,
        token_budget: int | None = None,
        buffer_size: int | None = None,
        loaders: int | None = None,
        threads: int | None = None,
        plain: bool = False,
    ) -> None:
        if precision not in (AUTO, *PRECISIONS):
            raise BadRequest(f"precision is {precision!r}. Choose one of {', '.join((AUTO, *PRECISIONS))}.")
        placement = Placement((device or ("cuda:0" if visible_gpus() else "cpu"),))
        self._compute = ComputeConfig(
            kind=InputKind.PROTEIN,
            weights=find_weights(named_directory(weights_dir), esm_model, "", None, InputKind.PROTEIN),
            esm_model=esm_model,
            chunk_size=None,
            precision=placement.precision if precision == AUTO else precision,
            attention=attention,
            token_budget=token_budget or placement.token_budget,
            buffer_size=buffer_size or placement.buffer_size,
            keep_features=True,
            plain=plain,
        )
        processes = placement.loaders if loaders is None else loaders
        config = ExecutorConfig(self._compute, RuntimeConfig(), processes, threads, logging.getLogger().level)
        self._executor: LocalExecutor = launch_local(config, placement.workers[0])
        self._under_way: Iterator[EmbeddedWindow] = iter(())
        self.backends: dict[str, str] = {}  # attention, steps, device and torch, once a model is loaded

    def embed(self, proteins: Iterable[tuple[str, str]]) -> Iterator[EmbeddedWindow]:
        """Embed proteins; the model is loaded at the first call.

        Args:
            proteins: Names and residues, read as they are needed; of a protein over 1,024 residues the first 1,024
                count. Whatever an earlier call has not been asked for yet is dropped.
        Yields:
            Windows in order, each as soon as it is done. The first ones are small.
        Raises:
            virnucpro.errors.BadRequest: The weights cannot be used, or the device cannot do what was asked for.
        """
        getattr(self._under_way, "close", lambda: None)()
        self._under_way = self._embed(proteins)
        return self._under_way

    def _embed(self, proteins: Iterable[tuple[str, str]]) -> Iterator[EmbeddedWindow]:
        reads = (Read(name, residues) for name, residues in proteins)
        source = AtHand(windows(reads, InputKind.PROTEIN, 0, self._compute.buffer_size, self._compute.token_budget))
        self.backends = self._executor.load(source)
        for window, cost in self._executor.run():
            names = list(window.sequence_names(InputKind.PROTEIN))
            embeddings_SD = window.features.get("esm2")
            if embeddings_SD is None:  # none of them has residues
                embeddings_SD = np.zeros((0, ESM2_SIZES[self._compute.esm_model][1]), np.float32)
            yield EmbeddedWindow(names, embeddings_SD, {names[i]: why for i, why in window.failures.items()}, cost)

    def close(self) -> None:
        """End the loader processes, and let go of the model."""
        self._executor.close()

    def __exit__(self, *error: object) -> None:
        self.close()


@dataclass(frozen=True)
class Preparation:
    """What a file became on its way to the GPU, on one core."""

    sequences: int  # frames or proteins
    packs: list[tuple[int, ...]]  # ESM-2's: tokens of each sequence, but of equal ones in a window of one
    main_seconds: dict[str, float]  # of the stages that are the main process's in a run
    loader_seconds: dict[str, float]  # of those that its loader processes share


def prepare(
    path: str,
    tokenizer: str | os.PathLike[str] | None = None,
    *,
    chunk_size: int = 500,
    token_budget: int = GPU_TOKENS,
    buffer_size: int = GPU_SEQUENCES,
) -> Preparation:
    """Make all packs of a file in this process, and time each stage; no GPU and no weights are needed.

    Args:
        path: FASTA or FASTQ.
        tokenizer: A folder with DNABERT-S's tokenizer.json; DNA needs it.
        chunk_size: bp.
        token_budget: Most tokens of a pack, as on a GPU.
        buffer_size: Most sequences of a window, as on a GPU.
    Raises:
        virnucpro.errors.BadInput, virnucpro.errors.BadRequest: The file or the tokenizer cannot be used.
    """
    from virnucpro.engine.loader import FrontEnd  # imports tokenizers

    begun = time.perf_counter()
    files = InputFiles([path])
    kind = files.survey.kind
    if kind == InputKind.NUCLEOTIDE and tokenizer is None:
        raise BadRequest(f"{path} is DNA: give the folder with DNABERT-S's tokenizer.json.")
    surveyed = time.perf_counter()
    every_window = list(windows(files.reads(), kind, chunk_size, buffer_size, token_budget))
    cut = time.perf_counter()
    models = {"esm2": Path()} if kind == InputKind.PROTEIN else {"dnabert_s": Path(tokenizer or ""), "esm2": Path()}
    weights = WeightPaths(models, None)
    front_end = FrontEnd(ComputeConfig(kind, weights, "", chunk_size, "fp16", AUTO, token_budget, buffer_size, False))
    packed = [front_end[window] for window in every_window]
    packs = [lengths for each in packed if each.packs for lengths in each.packs["esm2"].lengths]
    seconds = {"survey": surveyed - begun, "reading, windows": cut - surveyed}
    return Preparation(sum(each.blank.sequences for each in packed), packs, seconds, dict(front_end.seconds))
