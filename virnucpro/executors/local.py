"""Local executor: the whole run's work on one device, in this process; also the heart of every worker process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from virnucpro.config.compute import WeightsInfo
from virnucpro.engine.model_runner import ModelRunner
from virnucpro.engine.prefetch import Prefetcher
from virnucpro.engine.results import WindowResult, finish
from virnucpro.engine.startup import check_models
from virnucpro.engine.window_loop import Begun, Step, WindowLoop
from virnucpro.errors import BadRequest, one_line
from virnucpro.executors.base import ExecutorConfig, WindowAndCost, WindowCost
from virnucpro.reading.window_source import Source
from virnucpro.reading.windows import Window
from virnucpro.system.hardware import GpuUtilization

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Computed:
    """A window, or a part of one, that the device has finished: its outcomes (one, or those of its parts)."""

    window: Window
    outcomes: list[WindowResult]
    cost: WindowCost


class LocalExecutor:
    """A `work.Executor` of one. `load` and `run` may follow each other again: models and loader processes stay.

    Args:
        loaders: Begun before torch was imported; None to have them begun now.
    """

    def __init__(self, work: ExecutorConfig, device: str, rank: int = 0, loaders: Prefetcher | None = None) -> None:
        self._work, self._device, self._rank = work, torch.device(device), rank
        wanted = work.recipe, work.config, work.num_workers
        self._loaders = Prefetcher.of(*wanted) if loaders is None else loaders
        self._stream: WindowLoop | None = None
        self._engine: ModelRunner | None = None
        self._stopped = False
        self.failed_ranks: list[int] = []
        if work.threads is not None and device == "cpu":
            torch.set_num_threads(work.threads)

    def check(self) -> WeightsInfo:
        return check_models(self._work.recipe)

    def load(self, source: Source) -> dict[str, str]:
        if len(self._loaders):  # of a run that was left
            self._loaders.restart()
        self._stream = WindowLoop(source, self._loaders, self._work.config)
        if self._stopped:
            self._stream.stop()
        engine = self._engine = self._engine or self._loaded()
        name = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "CPU"
        log.info(
            "%s (%s): %s, attention %s, %s.",
            self._device, name, self._work.recipe.precision.upper(), engine.attention, engine.fusion,
        )  # fmt: skip
        return {
            "attention": engine.attention,
            "steps": type(engine.ops).__name__.lower(),
            "device": name,
            "torch": str(torch.__version__),
        }

    def run(self) -> Iterator[WindowAndCost]:
        for event in self.events():
            if isinstance(event, Computed):
                yield finish(event.window, event.outcomes), event.cost

    def events(self) -> Iterator[Begun | Computed]:
        """`run`, with the parts of windows as they are, and with their beginnings; see `stream.WindowLoop`."""
        assert self._stream is not None and self._engine is not None, "not loaded"
        on_gpu = self._device.type == "cuda"
        uuid = str(torch.cuda.get_device_properties(self._device).uuid) if on_gpu else None
        with GpuUtilization(uuid) as utilization:
            for event in self._stream.run(self._engine):
                if isinstance(event, Begun):
                    yield event
                else:
                    yield Computed(event.window, event.outcomes, self._cost(event, utilization.read()))
        if on_gpu:
            log.info(
                "Peak GPU memory on %s: %.1f GB.", self._device, torch.cuda.max_memory_allocated(self._device) / 1e9
            )

    def stop(self) -> None:
        self._stopped = True
        if self._stream is not None:
            self._stream.stop()

    def close(self) -> None:
        """End the loader's processes, and let go of the models; nothing can be run any more."""
        self._loaders.close()
        self._engine = self._stream = None

    def _loaded(self) -> ModelRunner:
        if self._device.type == "cuda" and not torch.cuda.is_available():
            raise BadRequest(
                f"The driver lists {self._device}, but torch {torch.__version__} cannot use it. Install a torch that "
                "fits the driver, or have the run use the CPU with CUDA_VISIBLE_DEVICES= before the command."
            )
        try:
            return ModelRunner(self._work.recipe, self._device)
        except torch.OutOfMemoryError as error:
            raise BadRequest(
                f"{self._device} has too little memory for the models ({one_line(error)}). "
                "Choose a smaller --esm-model or another GPU."
            ) from error

    def _cost(self, step: Step, utilization: float | None) -> WindowCost:
        done = step.outcomes
        return WindowCost(
            rank=self._rank,
            device=str(self._device),
            tokens=sum(outcome.tokens for outcome in done),
            packs=sum(outcome.packs for outcome in done),
            capacity=sum(outcome.capacity for outcome in done),
            sequences=sum(outcome.sequences for outcome in done),
            seconds=step.seconds,
            wait=step.starved,
            device_seconds=sum(outcome.seconds for outcome in done),
            idle_seconds=step.idle,
            utilization=utilization,
            queue_depth=self._stream.queue_depth,
        )
