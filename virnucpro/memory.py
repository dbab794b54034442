"""GPU memory: what to do when a batch does not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch


def run_within_memory(run: Callable[[Sequence[int]], None], batch: Sequence[int]) -> None:
    """Run a batch; where GPU memory does not suffice for it, its halves.

    Raises:
        torch.OutOfMemoryError: Not even one sequence fits.
    """
    try:
        run(batch)
        return
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            raise
    # Outside the except clause, so that the failed attempt's tensors are no longer held by it.
    torch.cuda.empty_cache()
    half = len(batch) // 2
    run_within_memory(run, batch[:half])
    run_within_memory(run, batch[half:])
