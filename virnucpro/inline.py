"""Inline: the whole run's work on one device, in this process; also the heart of every worker process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing

import torch

from virnucpro.engine import Engine
from virnucpro.errors import BadRequest, one_line
from virnucpro.models import check_models
from virnucpro.outcomes import finish
from virnucpro.prefetch import Prefetcher
from virnucpro.recipe import Facts
from virnucpro.stream import Step, Stream
from virnucpro.utils.hardware import GpuUtilization
from virnucpro.windows import Window
from virnucpro.work import Cost, Deliver, Work

log = logging.getLogger(__name__)


class Inline:
    """A `work.Crew` of one.

    Args:
        loaders: Begun before torch was imported; None to have them begun now.
    """

    def __init__(self, work: Work, device: str, rank: int = 0, loaders: Prefetcher | None = None) -> None:
        self._work, self._device, self._rank = work, torch.device(device), rank
        wanted = work.recipe, work.config, work.num_workers
        self._loaders = Prefetcher.of(*wanted) if loaders is None else loaders
        self._stream: Stream | None = None
        self._stopped = False
        self.failed_ranks: list[int] = []
        if work.threads is not None and device == "cpu":
            torch.set_num_threads(work.threads)

    def check(self) -> Facts:
        return check_models(self._work.recipe)

    def run(self, windows: Iterator[Window | None], deliver: Deliver, ready: Callable[[dict[str, str]], None]) -> None:
        def finished(step: Step, cost: Cost) -> None:
            deliver(finish(step.window, step.outcomes), cost)

        self.steps(windows, finished, ready)

    def steps(
        self,
        windows: Iterable[Window | None],
        deliver: Callable[[Step, Cost], None],
        ready: Callable[[dict[str, str]], None],
        began: Callable[[Window], None] = lambda window: None,
        idle: Callable[[], object] = lambda: None,
    ) -> None:
        """`run`, for windows that come bit by bit; see `stream.Stream`."""
        if self._stopped:
            return
        on_gpu = self._device.type == "cuda"
        self._stream = Stream(
            windows, self._loaders, lambda: self._engine(ready), self._work.config, began=began, idle=idle
        )
        if self._stopped:
            self._stream.stop()
        uuid = str(torch.cuda.get_device_properties(self._device).uuid) if on_gpu else None
        with closing(self._stream), GpuUtilization(uuid) as utilization:
            self._stream.run(lambda step: deliver(step, self._cost(step, utilization.read())))
        if on_gpu:
            log.info(
                "Peak GPU memory on %s: %.1f GB.", self._device, torch.cuda.max_memory_allocated(self._device) / 1e9
            )

    def stop(self) -> None:
        self._stopped = True
        if self._stream is not None:
            self._stream.stop()

    def close(self) -> None:
        """End the loader's processes, if the stream has not."""
        self._loaders.close()

    def _engine(self, ready: Callable[[dict[str, str]], None]) -> Engine:
        if self._device.type == "cuda" and not torch.cuda.is_available():
            raise BadRequest(
                f"The driver lists {self._device}, but torch {torch.__version__} cannot use it. Install a torch that "
                "fits the driver, or have the run use the CPU with CUDA_VISIBLE_DEVICES= before the command."
            )
        try:
            engine = Engine(self._work.recipe, self._device)
        except torch.OutOfMemoryError as error:
            raise BadRequest(
                f"{self._device} has too little memory for the models ({one_line(error)}). "
                "Choose a smaller --esm-model or another GPU."
            ) from error
        name = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "CPU"
        log.info(
            "%s (%s): %s, attention %s, %s.",
            self._device, name, self._work.recipe.precision.upper(), engine.attention, engine.fusion,
        )  # fmt: skip
        ready(
            {
                "attention": engine.attention,
                "steps": type(engine.ops).__name__.lower(),
                "device": name,
                "torch": str(torch.__version__),
            }
        )
        return engine

    def _cost(self, step: Step, utilization: float | None) -> Cost:
        done = step.outcomes
        return Cost(
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
