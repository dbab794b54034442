"""Fit: the loop that trains until the time is over, says how it goes, and leaves files that are whole at any moment."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.pretraining import weights
from benchmarks.pretraining.training import Training

PEAK_FLOPS = 989e12  # of an H100 or H200 in BF16, by its datasheet
AHEAD = 2  # steps that a GPU may have waiting, so that the clock by which the rate falls is that of the GPU


@dataclass(frozen=True)
class Files:
    """What a training leaves. log: JSON, a line for each time that it was looked at, appended to."""

    encoder: Path
    checkpoint: Path
    log: Path

    def save(self, training: Training) -> None:
        """Write the checkpoint, and the encoder as it is."""
        weights.save_whole(training.state(), self.checkpoint)
        weights.save(training.model, self.encoder, training.facts())

    def restore(self, training: Training) -> None:
        """Go on from the checkpoint; raises as `Training.restore`."""
        training.restore(torch.load(self.checkpoint, map_location=training.device, weights_only=True))


def fit(
    training: Training, files: Files, log_every: float = 10, save_every: float = 120,
    stop: Callable[[], bool] = lambda: False,
) -> None:  # fmt: skip
    """Train to the end of the recipe, or until `stop` says so; either way the files tell the state at the end.

    The clock runs while the encoder is judged and saved, too.

    Args:
        log_every, save_every: Seconds.
    Raises:
        ValueError: The loss is no number; the last checkpoint stays.
    """
    earlier, begun = training.elapsed, time.monotonic()
    last_log, last_save, last_tokens = begun, begun, training.tokens
    losses, events = list[Tensor](), deque[Any]()
    while True:
        now = time.monotonic()
        training.elapsed = earlier + now - begun
        over = stop() or training.progress >= 1
        if losses and (over or now - last_log >= log_every):
            loss = float(torch.stack(losses).mean())  # waits for the device
            speed = (training.tokens - last_tokens) / max(time.monotonic() - last_log, 1e-9)
            _log(row(training, loss, speed), files.log)
            losses, last_log, last_tokens = [], time.monotonic(), training.tokens
            if over or last_log - last_save >= save_every:
                training.elapsed = earlier + last_log - begun
                files.save(training)
                last_save = last_log = time.monotonic()
        if over:
            return
        losses.append(training.take_step())
        if training.on_gpu:
            events.append(torch.cuda.Event())
            events[-1].record()
            if len(events) > AHEAD:
                events.popleft().synchronize()


def row(training: Training, loss: float, speed: float) -> dict[str, float]:
    """How it goes.

    Args:
        loss: Of the steps since the last row. speed: Tokens a second, padding included.
    Raises:
        ValueError: A loss is no number.
    """
    held_out = training.evaluate()
    if not math.isfinite(loss + held_out):
        raise ValueError(f"After {training.step:,} steps the loss is no number. Try a lower rate, or a longer warm-up.")
    told = {
        "seconds": round(training.elapsed, 1), "step": training.step, "tokens": training.tokens,
        "epoch": round(training.batches.epochs, 2), "loss": round(loss, 4), "held_out_loss": round(held_out, 4),
        "held_out_perplexity": round(math.exp(held_out), 3), "rate": float(f"{training.rate:.3g}"),
        "tokens_per_s": round(speed),
    }  # fmt: skip
    if training.on_gpu:
        flops = training.model.shape.flops(training.batches.attended)
        told |= {
            "mfu": round(speed * flops / PEAK_FLOPS, 4),
            "gib": round(torch.cuda.max_memory_allocated() / 2**30, 1),
        }
    return told


def _log(told: dict[str, float], path: Path) -> None:
    line = json.dumps(told)
    print(line, flush=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")
