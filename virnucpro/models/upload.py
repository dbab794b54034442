"""Upload: a model's tensors from mapped files to a device.

Axes: B bytes.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from virnucpro.models.catalog import Precision
from virnucpro.models.linear import torch_type
from virnucpro.models.tensor_files import State

COPIERS = 8  # threads
BLOCK = 1 << 24  # bytes of pinned memory for each


def to_device(state: State, device: torch.device, precision: Precision) -> State:
    """Copy tensors to a device, then cast those of floating point there to the type of activations.

    Threads share the reading of mapped files. To a GPU they copy by way of pinned memory: what the driver does with
    other memory keeps one of them busy and all others waiting.
    """
    dtype, own = torch_type(precision.activations), threading.local()

    def begin() -> None:
        own.block_B = None
        if device.type == "cuda":
            with suppress(RuntimeError), torch.cuda.device(device):  # where no more memory may be pinned
                own.block_B = torch.empty(BLOCK, dtype=torch.uint8, pin_memory=True)

    def copy(tensor: Tensor) -> Tensor:
        pinned = own.block_B is not None and tensor.device.type == "cpu" and tensor.is_contiguous()
        there = _through(own.block_B, tensor, device) if pinned else tensor.to(device)
        return there.to(dtype) if there.is_floating_point() else there

    with ThreadPoolExecutor(COPIERS, initializer=begin) as pool:
        return dict(zip(state, pool.map(copy, state.values()), strict=True))


def _through(block_B: Tensor, tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor block by block."""
    there = torch.empty_like(tensor, device=device)
    source_B, target_B = (part.flatten().view(torch.uint8) for part in (tensor, there))
    for part_B, target in zip(source_B.split(len(block_B)), target_B.split(len(block_B)), strict=True):
        pinned_B = block_B[: len(part_B)]
        np.copyto(pinned_B.numpy(), part_B.numpy())  # torch would share this out among threads of its own
        target.copy_(pinned_B)
    return there
