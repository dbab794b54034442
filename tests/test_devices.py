"""Devices: which worker runs where, on hosts this one is not."""

from types import SimpleNamespace

import pytest
import torch

from virnucpro.devices import place, worker_memory, workers_that_fit
from virnucpro.errors import BadRequest

ESM_3B, ESM_8M = "esm2_t36_3B_UR50D", "esm2_t6_8M_UR50D"


@pytest.fixture
def host(monkeypatch):
    """A host with the given GPUs: (memory in GB, compute capability) each."""

    def make(*gpus):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(gpus))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(gpus))
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda i: SimpleNamespace(total_memory=int(gpus[i][0] * 1e9))
        )
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda i: gpus[i][1])

    return make


H200, RTX4090, T4 = (150.0, (9, 0)), (25.3, (8, 9)), (15.8, (7, 5))


@pytest.mark.parametrize(
    "gpus, asked, parallel, per_gpu, workers, bf16, keep_casts",
    [
        ([], (0,), False, None, ["cpu"], False, False),
        ([], (0,), True, None, ["cpu", "cpu"], False, False),
        ([], None, True, 3, ["cpu"] * 3, False, False),
        ([H200], (0,), False, None, ["cuda:0"], True, True),
        ([H200], (0,), True, None, ["cuda:0", "cuda:0"], True, True),
        ([H200], (0,), True, 4, ["cuda:0"] * 4, True, True),
        ([H200, H200], None, True, None, ["cuda:0", "cuda:0", "cuda:1", "cuda:1"], True, True),
        ([H200, H200], (1,), True, 1, ["cuda:1"], True, True),
        ([H200, H200], (0, 1), False, None, ["cuda:0"], True, True),  # --parallel is needed for more
        ([RTX4090], (0,), True, None, ["cuda:0"], True, True),
        ([RTX4090], (0,), True, 2, ["cuda:0"] * 2, True, False),  # as asked, without the copies
        ([T4], (0,), True, None, ["cuda:0"], False, False),
        ([H200, T4], None, True, None, ["cuda:0", "cuda:0", "cuda:1"], False, False),
    ],
)
def test_place(host, gpus, asked, parallel, per_gpu, workers, bf16, keep_casts):
    host(*gpus)
    found = place(asked, parallel, per_gpu, ESM_3B)
    assert (found.workers, found.bf16, found.keep_casts) == (workers, bf16, keep_casts)


def test_a_gpu_that_is_not_there(host):
    host(H200)
    with pytest.raises(BadRequest, match=r"asks for GPU 3, but 1 GPU is visible \(0\)"):
        place((0, 3), True, None, ESM_3B)


def test_memory_of_a_worker():
    assert worker_memory(ESM_3B) == pytest.approx(14.0e9, rel=0.01)
    assert worker_memory(ESM_3B, keep_casts=True) == pytest.approx(19.7e9, rel=0.01)


@pytest.mark.parametrize(
    "memory, esm_model, workers", [(80e9, ESM_3B, 2), (25e9, ESM_3B, 1), (12e9, ESM_3B, 1), (8e9, ESM_8M, 2)]
)
def test_workers_that_fit(memory, esm_model, workers):
    assert workers_that_fit(int(memory), esm_model) == workers
