"""Hardware: what a run ran on, and how busy its GPU is. PyTorch is never imported for it."""

from __future__ import annotations

import os
import platform
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import ModuleType
from typing import Any

from virnucpro.system.devices import usable_cpus
from virnucpro.system.packages import version_of

SAMPLE_SECONDS = 0.1  # NVML's own figure covers the last 1/6 to 1 s, so no change is missed


class _NoNvml(Exception):
    """NVML cannot be asked; the message says why."""


@contextmanager
def _nvml() -> Iterator[ModuleType]:
    """Load NVML, and let go of it at the end. Raises _NoNvml."""
    try:
        import pynvml
    except ImportError as error:
        raise _NoNvml("the Python package nvidia-ml-py is not installed") from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise _NoNvml(f"the NVIDIA driver does not answer: {error}") from error
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def capture_hardware_info() -> dict[str, Any]:
    """Describe this host, without its name.

    Returns:
        dict: platform, python, cpu_model, usable_cpus, host_memory_bytes, torch (version), torch_cuda (what PyTorch
        was built for; None unless PyTorch is loaded), driver_cuda (newest CUDA the driver can run), gpus, and reason,
        why gpus is empty, else None. All GPUs of the host are listed, those hidden from CUDA too. What a host or
        GPU does not tell is None.
    """
    torch = sys.modules.get("torch")
    gpus, driver_cuda, reason = _gpus()
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpu_model": _cpu_model(),
        "usable_cpus": usable_cpus(),
        "host_memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "torch": version_of("torch") if torch is None else str(torch.__version__),
        "torch_cuda": None if torch is None else torch.version.cuda,
        "driver_cuda": driver_cuda,
        "gpus": gpus,
        "reason": reason,
    }


def _cpu_model() -> str | None:
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:  # of Linux alone
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or None


def _gpus() -> tuple[list[dict[str, Any]], str | None, str | None]:
    """Each GPU, the driver's CUDA version, and why there is no GPU."""
    try:
        with _nvml() as nvml:

            def ask(question: Callable[..., Any], *arguments: object) -> Any:
                """A GPU need not know everything: a lost one knows nothing, some have no power limit."""
                try:
                    return question(*arguments)
                except nvml.NVMLError:
                    return None

            gpus = []
            for index in range(ask(nvml.nvmlDeviceGetCount) or 0):
                gpu = ask(nvml.nvmlDeviceGetHandleByIndex, index)
                memory = ask(nvml.nvmlDeviceGetMemoryInfo, gpu)
                milliwatts = ask(nvml.nvmlDeviceGetEnforcedPowerLimit, gpu)
                gpus.append(
                    {
                        "name": ask(nvml.nvmlDeviceGetName, gpu),
                        "memory_bytes": None if memory is None else memory.total,
                        "driver": ask(nvml.nvmlSystemGetDriverVersion),
                        "power_limit_watts": None if milliwatts is None else milliwatts / 1000,
                        "temperature_celsius": ask(nvml.nvmlDeviceGetTemperature, gpu, nvml.NVML_TEMPERATURE_GPU),
                        "sm_clock_mhz": ask(nvml.nvmlDeviceGetClockInfo, gpu, nvml.NVML_CLOCK_SM),
                    }
                )
            number = ask(nvml.nvmlSystemGetCudaDriverVersion)  # 12080 is 12.8
            driver_cuda = None if number is None else f"{number // 1000}.{number % 1000 // 10}"
            return gpus, driver_cuda, None if gpus else "the NVIDIA driver lists no GPU"
    except _NoNvml as error:
        return [], None, str(error)


class GpuUtilization:
    """Samples how busy one GPU is, in a thread, between `start` and `stop` or within a ``with`` block.

    NVML counts a GPU as busy while any kernel runs on it, whoever started it and however little of it that fills.

    Args:
        gpu: UUID (``"GPU-..."``; PyTorch's, without the prefix, will do), or the index NVML gives it, which
            CUDA_VISIBLE_DEVICES does not change; None for a worker without a GPU.
        interval: Seconds between samples.
    """

    def __init__(self, gpu: str | int | None, interval: float = SAMPLE_SECONDS) -> None:
        self._gpu = gpu
        self._interval = interval
        self._nvml: ModuleType | None = None
        self._handle: object = None
        self._lock = threading.Lock()
        self._sum, self._count = 0.0, 0
        self._ended = threading.Event()
        self._running = ExitStack()

    def start(self) -> None:
        """Begin to sample; where NVML or the GPU is absent, `read` gives None from now on."""
        if self._gpu is None:
            return
        with suppress(_NoNvml), ExitStack() as stack:
            nvml = stack.enter_context(_nvml())
            with suppress(nvml.NVMLError):
                if isinstance(self._gpu, int):
                    self._handle = nvml.nvmlDeviceGetHandleByIndex(self._gpu)
                else:
                    uuid = self._gpu if self._gpu.startswith(("GPU-", "MIG-")) else f"GPU-{self._gpu}"
                    self._handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
                self._nvml = nvml
                self._ended.clear()
                thread = threading.Thread(target=self._sample_on, name="gpu-utilization", daemon=True)
                thread.start()
                stack.callback(thread.join)
                stack.callback(self._ended.set)
                self._running = stack.pop_all()

    def stop(self) -> None:
        """End the thread and let go of NVML."""
        self._running.close()
        self._nvml = None

    def read(self) -> float | None:
        """Mean utilisation since the last read, percent; None where NVML or the GPU is absent."""
        with self._lock:
            mean, self._sum, self._count = self._sum / self._count if self._count else None, 0.0, 0
        # A batch shorter than the interval: NVML's figure at this moment covers it.
        return self._sample() if mean is None else mean

    def _sample_on(self) -> None:
        while not self._ended.wait(self._interval):
            sample = self._sample()
            if sample is not None:
                with self._lock:
                    self._sum, self._count = self._sum + sample, self._count + 1

    def _sample(self) -> float | None:
        if self._nvml is None:
            return None
        try:
            return float(self._nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu)
        except self._nvml.NVMLError:  # a GPU that fell off the bus, or a MIG slice, which has no such figure
            return None

    def __enter__(self) -> GpuUtilization:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
