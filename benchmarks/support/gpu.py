"""GPU: what NVML tells of the first visible one while something else is measured."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

try:
    import pynvml
except ImportError:
    pynvml = None  # there is no GPU then, as far as `Watch.first` knows

COOL_DOWN = 30  # s without work before a release is measured, so that heat cannot favour the one before
_INTERVAL = 0.1  # s between samples
_BUSY = 50  # percent: clocks are read when the GPU is used more than that
_A_CONTEXT = 2**27  # bytes: a program that uses a GPU holds more
# NVML's bits for why a clock is held down; "power_cap" is the GPU's own limit, which fast programs run into.
SLOWED_BY = {
    "clocks_setting": 0x2, "power_cap": 0x4, "hardware": 0x8, "heat": 0x20, "hardware_heat": 0x40, "power_brake": 0x80,
}  # fmt: skip
POWER_LIMITS = {"power_limit": "EnforcedPowerLimit", "default_power_limit": "PowerManagementDefaultLimit"}  # watts


def visible() -> bool:
    """Whether NVML lists a GPU and CUDA_VISIBLE_DEVICES does not hide it. Imports no torch."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return False
    return Watch.first() is not None


def memory_used() -> int | None:
    """Bytes, of the first visible GPU, by whatever process; None without one."""
    watch = Watch()
    return None if watch._device is None else watch._memory()


def joules() -> float | None:
    """That the first visible GPU has used since its driver was loaded; None where NVML does not tell."""
    device = Watch.first()
    millijoules = None if device is None else _ask(pynvml.nvmlDeviceGetTotalEnergyConsumption, device)
    return None if millijoules is None else millijoules / 1000


class Watch:
    """Sample the first visible GPU in a thread, for as long as the `with` block runs.

    Figures of a machine without a GPU are None.
    """

    def __init__(self) -> None:
        self._device = self.first()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._clocks: list[int] = []
        self._samples, self._throttled = 0, dict.fromkeys(SLOWED_BY, 0)
        self.start_temperature = self.hottest = None  # degrees Celsius
        self.peak_memory = None  # bytes, above what was in use before

    @staticmethod
    def first():
        """NVML's handle of the first visible GPU, or None."""
        try:
            pynvml.nvmlInit()
            chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
            if chosen.startswith("GPU-"):
                return pynvml.nvmlDeviceGetHandleByUUID(chosen)
            return pynvml.nvmlDeviceGetHandleByIndex(int(chosen))
        except Exception:  # no package, no driver, no such GPU: NVML raises its own kinds
            return None

    @property
    def sm_clock(self) -> float | None:
        """Mean MHz of the multiprocessors under load."""
        return sum(self._clocks) / len(self._clocks) if self._clocks else None

    def facts(self) -> dict | None:
        """Which GPU this is, and in what state it was; None without one. What NVML does not tell is None."""
        if self._device is None:
            return None
        milliwatts = (_ask(getattr(pynvml, f"nvmlDeviceGet{name}"), self._device) for name in POWER_LIMITS.values())
        return {
            "name": _ask(pynvml.nvmlDeviceGetName, self._device),
            "uuid": _ask(pynvml.nvmlDeviceGetUUID, self._device),
            "driver": _ask(pynvml.nvmlSystemGetDriverVersion),
            **{name: watts and watts / 1000 for name, watts in zip(POWER_LIMITS, milliwatts)},
            "start_temperature": self.start_temperature,
            "hottest": self.hottest,
            "sm_clock": self.sm_clock,
            # shares of the samples in which the clock was held down
            "slowed_by": {name: count / max(1, self._samples) for name, count in self._throttled.items()},
            "other_processes": self._others,
            "memory_before": self._before,
            "gpus_used": 1 + sum(after - before > _A_CONTEXT for before, after in self._neighbours),
        }

    def __enter__(self) -> Watch:
        if self._device is not None:
            self.start_temperature = self.hottest = _ask(self._temperature)
            self._before = _ask(self._memory)
            self.peak_memory = None if self._before is None else 0
            self._others = len(_ask(pynvml.nvmlDeviceGetComputeRunningProcesses, self._device) or [])
            self._near = [
                handle
                for number in range(pynvml.nvmlDeviceGetCount())
                if _ask(pynvml.nvmlDeviceGetUUID, handle := pynvml.nvmlDeviceGetHandleByIndex(number))
                != _ask(pynvml.nvmlDeviceGetUUID, self._device)
            ]
            used = [_ask(pynvml.nvmlDeviceGetMemoryInfo, near) for near in self._near]
            self._near = [near for near, memory in zip(self._near, used) if memory is not None]
            self._neighbours = [[memory.used, memory.used] for memory in used if memory is not None]
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._device is not None:
            self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(_INTERVAL):
            with suppress(pynvml.NVMLError):  # a sample that is missed is no reason to lose the measurement
                if self._before is not None:
                    self.peak_memory = max(self.peak_memory, self._memory() - self._before)
                if self.hottest is not None:
                    self.hottest = max(self.hottest, self._temperature())
                for near, memory in zip(self._near, self._neighbours):
                    memory[1] = max(memory[1], pynvml.nvmlDeviceGetMemoryInfo(near).used)
                if pynvml.nvmlDeviceGetUtilizationRates(self._device).gpu > _BUSY:
                    self._clocks.append(pynvml.nvmlDeviceGetClockInfo(self._device, pynvml.NVML_CLOCK_SM))
                    reasons = pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._device)
                    self._samples += 1
                    for name, bit in SLOWED_BY.items():
                        self._throttled[name] += bool(reasons & bit)

    def _temperature(self) -> int:
        return pynvml.nvmlDeviceGetTemperature(self._device, pynvml.NVML_TEMPERATURE_GPU)

    def _memory(self) -> int:
        return pynvml.nvmlDeviceGetMemoryInfo(self._device).used


def _ask(question, *arguments):
    """What NVML says, or None: not every GPU, nor every container, tells everything."""
    try:
        answer = question(*arguments)
    except pynvml.NVMLError:
        return None
    return answer.decode() if isinstance(answer, bytes) else answer


def used(directory: Path) -> None:
    """Note that the GPU has just been at work."""
    (directory / "gpu-last-used").touch()


def cool_down(directory: Path) -> None:
    """Wait until the GPU has rested for `COOL_DOWN` seconds since `used`; no wait without a GPU."""
    with suppress(FileNotFoundError):
        rested = time.time() - (directory / "gpu-last-used").stat().st_mtime
        if visible() and 0 <= rested < COOL_DOWN:
            time.sleep(COOL_DOWN - rested)
