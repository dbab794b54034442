"""Upload: every tensor arrives whole, whatever its size, its type and the size of the blocks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.models import upload
from virnucpro.models.catalog import PRECISIONS

CPU = torch.device("cpu")
TYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64]


@given(st.sampled_from(TYPES), st.lists(st.integers(0, 5), max_size=3), st.integers(1, 64))
def test_blocks_make_up_the_tensor(dtype, shape, block):
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0)).mul(100).to(dtype)
    copied = upload._through(torch.full((block,), 255, dtype=torch.uint8), tensor, CPU)
    assert copied.dtype == dtype and copied.shape == tensor.shape and torch.equal(copied, tensor)
    assert copied.numel() == 0 or copied.data_ptr() != tensor.data_ptr()


@pytest.mark.parametrize("pinning", [True, False], ids=["pinned", "no memory may be pinned"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_tensors_arrive_in_the_type_of_activations(monkeypatch, device, pinning):
    monkeypatch.setattr(upload, "BLOCK", 1000)
    if not pinning:
        plain = torch.empty

        def empty(*sizes, pin_memory=False, **options):
            if pin_memory:
                raise RuntimeError("CUDA error: out of memory")
            return plain(*sizes, **options)

        monkeypatch.setattr(torch, "empty", empty)
    weight = torch.arange(3000, dtype=torch.float32).view(60, 50)
    state = {"weight": weight, "half": weight.half(), "turned": weight.T, "none": weight[:0], "count": torch.tensor(7)}
    state["there"] = weight.to(device)
    there = upload.to_device(state, torch.device(device), PRECISIONS["fp16"])
    assert {name: tensor.device.type for name, tensor in there.items()} == dict.fromkeys(state, device)
    assert there["count"].dtype == torch.int64 and there["count"].item() == 7
    for name in ("weight", "half", "turned", "none", "there"):
        assert torch.equal(there[name].cpu(), state[name].cpu().half()), name
