"""Launch: how a local executor starts, with much under way while torch is imported, which takes long. No torch here."""

from __future__ import annotations

import ctypes
import logging
import threading
from typing import TYPE_CHECKING

from virnucpro.config.compute import ComputeConfig
from virnucpro.engine.compilers import Compilers, compiles
from virnucpro.executors.base import ExecutorConfig
from virnucpro.system import translators
from virnucpro.system.imports import uncollected

if TYPE_CHECKING:
    from virnucpro.executors.local import LocalExecutor

log = logging.getLogger(__name__)


def launch_local(config: ExecutorConfig, device: str, rank: int = 0, expendable: bool = False) -> LocalExecutor:
    """Fork loader processes and compilers, which know nothing of torch; import it, and make a `LocalExecutor`.

    Args:
        expendable: This process may die of what kills its loader processes: another will be started.
    """
    from virnucpro.engine.loader import FrontEnd  # imports tokenizers, which a coordinator does without
    from virnucpro.engine.prefetch import Prefetcher

    prepare, runtime = FrontEnd(config.compute).__getitem__, config.runtime
    ahead, retries = runtime.prefetch_factor, runtime.max_retries_transient
    # What one of several workers compiles, the others find.
    compilers = Compilers(config.compute, device if rank == 0 else "")
    loaders = Prefetcher(prepare, config.num_workers, ahead, retries, expendable)
    try:
        threading.Thread(target=_wake, args=(config.compute, device), daemon=True).start()
        with uncollected():
            from virnucpro.executors.local import LocalExecutor

        translators.stop()
        return LocalExecutor(config, device, rank, loaders, compilers)
    except BaseException:
        compilers.close()
        loaders.close()
        raise


def _wake(config: ComputeConfig, device: str) -> None:
    """Begin with what a GPU will be asked for, while torch is imported; whoever asks hears of what goes wrong."""
    kind, _, number = device.partition(":")
    if kind != "cuda":
        return
    try:
        driver = ctypes.CDLL("libcuda.so.1")  # a call of it lets Python go on
        handle, context = ctypes.c_int(), ctypes.c_void_p()
        if driver.cuInit(0) == 0 and driver.cuDeviceGet(ctypes.byref(handle), int(number or 0)) == 0:
            driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), handle)  # a third of a second
    except (OSError, AttributeError) as error:
        log.debug("No context for %s ahead of torch: %r", device, error)
    if compiles(config, device):
        try:  # a module that imports no torch, and a hash of Triton's library that is made once in a process
            from triton.runtime.cache import triton_key

            triton_key()  # 0.4 s
        except Exception as error:  # another Triton, or none
            log.debug("No Triton ahead of torch: %r", error)
