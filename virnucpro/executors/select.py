"""Select: which executor a run has. No torch here."""

from __future__ import annotations

import logging

from virnucpro.config.compute import ComputeConfig
from virnucpro.config.placement import Placement
from virnucpro.config.runtime import RuntimeConfig
from virnucpro.executors.base import Executor, ExecutorConfig
from virnucpro.executors.launch import launch_local
from virnucpro.system.devices import usable_cpus
from virnucpro.system.processes import why_no_children

log = logging.getLogger(__name__)


def make_executor(
    compute: ComputeConfig, runtime: RuntimeConfig, placement: Placement, num_workers: int | None, apart: bool
) -> Executor:
    """Choose the executor for these devices.

    Args:
        num_workers: Loader processes of each worker; None for the runtime's number, or else the placement's.
        apart: Not even one device is used by this process itself; nor is one that is watched by the clock.
    """
    devices = placement.workers
    local = len(devices) == 1 and not apart and runtime.timeout_per_attempt is None
    if not local and (reason := why_no_children()):
        log.warning("Using %s alone, and no timeout_per_attempt: %s.", devices[0], reason)
        devices, local = devices[:1], True
    loaders = next((each for each in (num_workers, runtime.num_workers) if each is not None), placement.loaders)
    threads = None
    if not placement.on_gpu and (len(devices) > 1 or compute.deterministic):
        # How many threads share a sum decides its last bits.
        threads = 1 if compute.deterministic else max(1, usable_cpus() // len(devices))
    config = ExecutorConfig(compute, runtime, loaders, threads, logging.getLogger().level)
    if local:
        return launch_local(config, devices[0])
    from virnucpro.executors.coordinator import Coordinator

    return Coordinator(config, devices)
