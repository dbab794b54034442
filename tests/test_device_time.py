"""Device time: that each kernel is counted as what it does, the newest too."""

from __future__ import annotations

import ast

import pytest
from conftest import ROOT

from benchmarks.device_time import kind_of


@pytest.mark.parametrize("kernel, kind", [  # docs/validation/nvidia-h200-2026-11-28/engine.txt
    ("product_kernel", "matrix products"),
    ("_attend", "attention"),
    ("_moments", "LayerNorm and residual sum"),
    ("_add_norm", "LayerNorm and residual sum"),
    ("_quantise", "rounding to 8 bits"),
    ("void at::native::vectorized_elementwise_kernel<8, ", "other"),
])  # fmt: skip
def test_kernels_as_the_profiler_names_them(kernel, kind):
    assert kind_of(kernel) == kind


def test_no_kernel_of_ours_is_other():
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "virnucpro" / "models").glob("*.py")]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    launched = {call.args[0].id for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Launch"}
    assert launched == {
        "_add_norm", "_attend", "_gated_gelu", "_gelu_in_place", "_moments", "_product", "_quantise", "_rotate",
        "product_kernel",
    }  # fmt: skip
    assert [kernel for kernel in launched if kind_of(kernel) == "other"] == []
