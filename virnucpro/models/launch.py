"""Launch: one call of a Triton kernel, with all that decides what is compiled for it. No torch here.

So kernels can be compiled before there is a torch, a tensor or a GPU: see `kernels` and `engine.compilers`.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple


class Launch(NamedTuple):
    """What a kernel is called with."""

    kernel: Any  # triton.runtime.JITFunction
    programs: tuple[int, ...]
    arguments: tuple[Any, ...]
    options: dict[str, Any]  # its constants, and how it is to be compiled

    def run(self) -> None:
        """Queue it on the current device."""
        self.kernel[self.programs](*self.arguments, **self.options)

    def compile(self) -> Any:
        """Compile it, unless Triton's cache has it; tensors may be `Blank`. Returns Triton's CompiledKernel."""
        return self.kernel.warmup(*self.arguments, grid=self.programs, **self.options)


class Blank:
    """What a launch asks of a tensor, without its numbers: contiguous, and aligned as every tensor of torch's is."""

    def __init__(self, dtype: str, *shape: int) -> None:
        self.dtype, self.shape = dtype, shape

    def __repr__(self) -> str:
        return f"{self.dtype}{self.shape}"

    def __len__(self) -> int:
        return self.shape[0]

    def numel(self) -> int:
        return prod(self.shape)

    def stride(self, axis: int | None = None) -> Any:
        strides = tuple(prod(self.shape[place + 1 :]) for place in range(len(self.shape)))
        return strides if axis is None else strides[axis]

    @staticmethod
    def data_ptr() -> int:
        return 0

    @staticmethod
    def ptr_range() -> int:
        return 0


def type_name(tensor: Any) -> str:
    """Torch's name of a tensor's type, as "float16"."""
    return str(tensor.dtype).rpartition(".")[2]
