"""Local executor: the whole run's work on one device, in this process; also the heart of every worker process."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import torch

from virnucpro.config.compute import WeightsInfo
from virnucpro.engine.compilers import Compilers
from virnucpro.engine.events import Began, Computed
from virnucpro.engine.model_runner import ModelRunner
from virnucpro.engine.prefetch import Prefetcher
from virnucpro.engine.results import finish
from virnucpro.engine.startup import check_models
from virnucpro.engine.window_loop import WindowLoop
from virnucpro.errors import BadRequest, one_line
from virnucpro.executors.base import ExecutorConfig, WindowAndCost
from virnucpro.reading.window_source import Source
from virnucpro.reading.windows import Window
from virnucpro.system.hardware import GpuUtilization

log = logging.getLogger(__name__)


class LocalExecutor:
    """A `base.Executor` of one. `load` and `run` may follow each other again: models and loader processes stay.

    Args:
        loaders, compilers: Begun before torch was imported.
    """

    def __init__(
        self, config: ExecutorConfig, device: str, rank: int, loaders: Prefetcher, compilers: Compilers
    ) -> None:
        self._config, self._device, self._rank = config, torch.device(device), rank
        self._loaders, self._compilers = loaders, compilers
        self._loop: WindowLoop | None = None
        self._runner: ModelRunner | None = None
        self._stopped = False
        self.failed_ranks: list[int] = []
        if config.threads is not None and device == "cpu":
            torch.set_num_threads(config.threads)

    def check(self) -> WeightsInfo:
        return check_models(self._config.compute)

    def load(self, source: Source) -> dict[str, str]:
        if len(self._loaders):  # of a run that was left
            self._loaders.restart()
        self._loop = WindowLoop(source, self._loaders, self._config.runtime)
        if self._stopped:
            self._loop.stop()
        runner = self._runner = self._runner or self._load_models()
        runner.begin()
        name = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "CPU"
        log.info(
            "%s (%s): %s, attention %s, %s.",
            self._device, name, self._config.compute.precision.upper(), runner.attention, runner.fusion,
        )  # fmt: skip
        return {
            "attention": runner.attention,
            "steps": type(runner.ops).__name__.lower(),
            "device": name,
            "torch": str(torch.__version__),
        }

    def run(self) -> Iterator[WindowAndCost]:
        for window, event in self.events():
            if isinstance(event, Computed):
                yield finish(window, event.results), event.cost

    def events(self) -> Iterator[tuple[Window, Began | Computed]]:
        """`run`, with the beginnings of windows, and with parts of windows as they are; see `WindowLoop.run`."""
        assert self._loop is not None and self._runner is not None, "not loaded"
        on_gpu = self._device.type == "cuda"
        uuid = str(torch.cuda.get_device_properties(self._device).uuid) if on_gpu else None
        with GpuUtilization(uuid) as utilization:
            yield from self._loop.run(self._runner, self._rank, utilization.read)
        if on_gpu:
            peak = torch.cuda.max_memory_allocated(self._device) / 1e9
            log.info("Peak GPU memory on %s: %.1f GB.", self._device, peak)

    def stop(self) -> None:
        self._stopped = True
        if self._loop is not None:
            self._loop.stop()

    def close(self) -> None:
        """End the loader's processes, and let go of the models; nothing can be run any more."""
        self._compilers.close()
        self._loaders.close()
        self._runner = self._loop = None

    def _load_models(self) -> ModelRunner:
        if self._device.type == "cuda" and not torch.cuda.is_available():
            raise BadRequest(
                f"The driver lists {self._device}, but torch {torch.__version__} cannot use it. Install a torch that "
                "fits the driver, or have the run use the CPU with CUDA_VISIBLE_DEVICES= before the command."
            )
        try:
            return ModelRunner(self._config.compute, self._device, self._compilers.wait)
        except torch.OutOfMemoryError as error:
            raise BadRequest(
                f"{self._device} has too little memory for the models ({one_line(error)}). "
                "Choose a smaller --esm-model or another GPU."
            ) from error
