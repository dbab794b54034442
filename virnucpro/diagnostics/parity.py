"""Parity: some of the user's own sequences in the precision of a run and in float32, side by side.

The reference is this code where nothing is shared with a fast run: FP32, PyTorch's own steps and attention, every
sequence by itself. That it computes what fair-esm and Hugging Face compute is what the tests are for.
"""

from __future__ import annotations

import gc
import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from virnucpro.config.compute import ComputeConfig, compute_config
from virnucpro.config.placement import place
from virnucpro.config.settings import Settings
from virnucpro.diagnostics import layer_costs
from virnucpro.diagnostics.comparison import Agreement, cosines, relative_errors
from virnucpro.diagnostics.memory_needs import device_bytes
from virnucpro.engine.loader import FrontEnd
from virnucpro.engine.model_runner import ModelRunner
from virnucpro.engine.results import FinishedWindow, finish
from virnucpro.engine.startup import check_models
from virnucpro.errors import BadInput
from virnucpro.models.catalog import PRECISIONS, REFERENCE_PRECISION
from virnucpro.models.language_models import LANGUAGE_MODELS
from virnucpro.models.locate import find_weights
from virnucpro.reading.input_files import InputFiles
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.reads import read_records
from virnucpro.reading.sampling import sample
from virnucpro.reading.windows import Piece, Window
from virnucpro.reporting.progress import InferenceProgressReporter
from virnucpro.weights.digests import WeightDigests

log = logging.getLogger(__name__)
ALONE = 64  # chunks or proteins computed one by one between two moves of the progress bar


@dataclass(frozen=True)
class SampleFeatures:
    """Features, and scores of nucleotides, of all S sequences; NaN where one failed.

    how: in words. kept: of 8-bit products, what `layer_costs.features` gives for `layer_costs.some` of the pieces.
    """

    windows: list[FinishedWindow]
    how: str
    kept: list[np.ndarray] = field(default_factory=list)

    def joined(self, field: str) -> np.ndarray:
        """An array of all windows; empty if no window has one."""
        arrays = [array for window in self.windows if (array := getattr(window, field)) is not None]
        return np.concatenate(arrays) if arrays else np.empty((0, 2), np.float32)

    def features(self, model: str) -> np.ndarray:
        """Join the features of a language model, of all windows."""
        return np.concatenate([window.features[model] for window in self.windows if model in window.features])

    def of_pieces(self, which: slice) -> np.ndarray:
        """Tell which sequences are of some of the pieces: bool (S,)."""
        sequences_R = np.concatenate([window.frames_R() for window in self.windows])
        chosen_R = np.zeros(len(sequences_R), bool)
        chosen_R[which] = True
        return np.repeat(chosen_R, sequences_R)

    def failures(self) -> dict[int, str]:
        """Why a sequence failed, by its place."""
        failed: dict[int, str] = {}
        before = 0
        for window in self.windows:
            failed |= {before + place: reason for place, reason in window.failures.items()}
            before += window.sequences
        return failed

    def chunks_S(self) -> np.ndarray:
        """Number of the chunk that a frame is of, from 0, chunks without a frame left out."""
        frames_C = np.unpackbits(self.joined("open_C").astype(np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.int64)
        frames_C = frames_C[frames_C > 0]
        return np.repeat(np.arange(len(frames_C)), frames_C)


def measure(
    settings: Settings, count: int, begin: Callable[[], None] = lambda: None
) -> tuple[Agreement, dict[str, Any]]:
    """Compute a sample of the input twice and compare the results.

    Args:
        settings: As of a run; on one device.
        count: Chunks, or proteins, to draw from the input.
        begin: Called when all is known to be good, before anything is computed.
    Returns:
        The agreement, and what was compared, for the record.
    Raises:
        BadInput, BadRequest: As a run. BadInput also where no sequence is left to compare.
    """
    files = InputFiles(settings.inputs, settings.input_type)
    asked = settings.weights_dir, settings.esm_model, settings.model_type, settings.model_path
    with (
        files.spooled(Path(tempfile.gettempdir())),
        WeightDigests(weights := find_weights(*asked, files.kind)) as digests,
    ):
        (path,), kind = settings.inputs, files.kind
        placement = place(settings.gpus, parallel=False, workers_per_gpu=None)
        config = replace(compute_config(settings, kind, weights, placement), keep_features=True, audit=False)
        if config.precision == REFERENCE_PRECISION:
            log.warning(
                "The precision is float32 already, so only packing and attention are compared. Give --precision."
            )
        info = check_models(config)
        digests.check()
        if info.synthetic:
            log.warning("These weights are synthetic (random): real ones may agree better or worse.")
        pieces = sample(read_records(*files.paths, path, kind), kind, info.chunk_size, count)
        if not pieces:
            raise BadInput(f"{path}: no record has a sequence, so there is nothing to compare.")
        begin()
        device = torch.device(placement.workers[0])
        exact = {"precision": REFERENCE_PRECISION, "attention": "sdpa", "plain": True}
        reference = replace(config, **exact, token_budget=1, buffer_size=ALONE, deterministic=True)
        what = "Proteins" if kind == InputKind.PROTEIN else "Chunks"
        again = layer_costs.passes(config.esm_model) if PRECISIONS[config.precision].quantised else []
        total = 2 * len(pieces) + len(again) * len(pieces[layer_costs.some(pieces)])
        with InferenceProgressReporter(total, settings.show_progress, what) as bar:
            ours = compute(config, device, pieces, bar.update)
            theirs = compute(reference, _device_for(reference, device), pieces, bar.update)
        digests.result()  # nothing is said of weights that turn out to be wrong
        if not info.synthetic:
            digests.warn()
    names = [name for window in ours.windows for name in window.sequence_names(kind)]
    if not names:
        raise BadInput(f"{path}: none of {len(pieces)} chunks has an open frame, so there is nothing to compare.")
    models = {name for window in ours.windows for name in window.features}  # none where all failed
    pairs = {name: (ours.features(name), theirs.features(name)) for name in LANGUAGE_MODELS if name in models}
    alike = {name: cosines(*pair) for name, pair in pairs.items()}
    errors = {name: relative_errors(*pair) for name, pair in pairs.items()}
    agreement = Agreement(names, alike, theirs.failures() | ours.failures(), errors=errors)
    if ours.kept:
        exact_SD = theirs.features("esm2")[theirs.of_pieces(layer_costs.some(pieces))]
        agreement = replace(agreement, layer_costs=layer_costs.costs(ours.kept, exact_SD))
    if kind == InputKind.NUCLEOTIDE:
        scores_S2, reference_S2 = ours.joined("scores_S2"), theirs.joined("scores_S2")
        agreement = replace(agreement, scores_S2=scores_S2, reference_S2=reference_S2, chunks_S=ours.chunks_S())
    about = {
        "input": path,
        "drawn": len(pieces),
        "precision": config.precision,
        "compared": ours.how,
        "reference": theirs.how,
        "esm_model": config.esm_model,
        "synthetic_weights": info.synthetic,
    }
    return agreement, about


def _device_for(config: ComputeConfig, device: torch.device) -> torch.device:
    """The same, if it has room for float32."""
    if device.type == "cuda":
        needed = device_bytes(config.esm_model, REFERENCE_PRECISION, 1, config.kind)
        free, _ = torch.cuda.mem_get_info(device)
        if needed > free:
            log.warning(
                "The reference takes %.0f GB, and %s has %.0f GB free: it is computed on the CPU, which takes long.",
                needed / 1e9, device, free / 1e9,
            )  # fmt: skip
            return torch.device("cpu")
    return device


def compute(
    config: ComputeConfig, device: torch.device, pieces: Sequence[Piece], done: Callable[[int], None]
) -> SampleFeatures:
    """Compute pieces by one config on one device, which is free again afterwards.

    Args:
        done: Told how many pieces were finished.
    Raises:
        BadWeights, BadRequest: As `ModelRunner`.
    """
    runner, front_end = ModelRunner(config, device), FrontEnd(config)
    windows = []
    for window in _windows(pieces, config.buffer_size):
        windows.append(finish(window, [runner.submit(front_end[window]).result()]))
        done(len(window.pieces))
    kept: list[np.ndarray] = []
    if PRECISIONS[config.precision].quantised:
        fewer = pieces[layer_costs.some(pieces)]
        again = [front_end[window] for window in _windows(fewer, config.buffer_size)]
        kept = layer_costs.features(runner, again, lambda: done(len(fewer)))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    packed = "every sequence by itself" if config.deterministic else f"packs of up to {config.token_budget:,} tokens"
    how = f"{config.precision} on {name}, attention {runner.attention}, {runner.fusion}, {packed}"
    del runner
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return SampleFeatures(windows, how, kept)


def _windows(pieces: Sequence[Piece], size: int) -> list[Window]:
    parts = [tuple(pieces[first : first + size]) for first in range(0, len(pieces), size)]
    return [Window(index, part) for index, part in enumerate(parts)]
