"""Exact: what decides about speed and needs no clock: the same on every machine, however busy.

How many packs there are and what of them is padding, for the 10,000 proteins and a GPU's token budget; and, on the
small workload, what the model computes for a protein and how often the host waits for the device's numbers.
"""

from __future__ import annotations

from typing import Any

from benchmarks import history, workloads
from benchmarks.front_end import TOKENIZER
from benchmarks.measured import Measured
from benchmarks.support import inputs
from benchmarks.support.package_api import ON_A_GPU, prepare

SAMPLE = 40  # proteins of the small workload: counting costs time
# PyTorch's operators that bring a number to the host, which then waits for the device.
WAITS = ("item", "_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "_unique2")


def packing() -> dict[str, float]:
    """Packs of the workload in a GPU's windows, and percent of their tokens that are padding."""
    budget = ON_A_GPU["token_budget"]
    path = workloads.write_workload("proteins-10k", inputs.cache() / f"inputs-v{workloads.VERSION}")
    lengths = [sum(pack) for pack in prepare(str(path), TOKENIZER).packs]
    capacity = sum(max(budget, length) for length in lengths)
    return {"packs": len(lengths), "padding": 100 * (1 - sum(lengths) / capacity)}


def counted(work: inputs.Workload, count: int) -> dict[str, float]:
    """Of a run over so many proteins of a workload: 10^9 operations for a protein, waits of the host for a window."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks.steady import packed

    class Waits(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
            self.count += operator.overloadpacket.__name__ in WAITS
            return operator(*args, **(kwargs or {}))

    with FlopCounterMode(display=False) as operations, Waits() as waits:
        found = packed(work, count, "fp32", num_workers=0)
    return {"operations": operations.get_total_flops() / 1e9 / count, "waits": waits.count / found["windows"]}


class Exact(Measured):
    """The same figures on every machine."""

    figures = {
        "packs": "packs of 10,000 proteins",
        "padding": "% of the packs' tokens",
        "operations": "10^9 operations for a protein (ESM-2 8M)",
        "waits": "waits of the host for a window",
    }

    def measure(self) -> dict[str, Any]:
        history.require_engine()
        work = inputs.WORKLOADS["cpu-small"]
        return packing() | counted(work, SAMPLE)
