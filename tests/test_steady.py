"""The steady state and its floor, on the CPU with stand-ins: what is timed, and what becomes of the figures."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest
import torch
from conftest import ESM_8M

from benchmarks import history, steady
from benchmarks.support import floor, gpu, inputs
from benchmarks.support.package_api import Made
from benchmarks.support.skip import Skip

WORK = inputs.CPU_SMALL
GPU = dataclasses.replace(inputs.GPU_10K, device="cuda:0")


@dataclass
class Cost:
    """Of a window, what the suite reads."""

    sequences: int
    tokens: int = 900
    packs: int = 2
    capacity: int = 2000
    idle_seconds: float | None = None
    wait: float = 0.0


@pytest.fixture
def windows(monkeypatch):
    """Three small windows and two that count, of 100 sequences, 2 s and 1,400 J each; `embed`'s options are kept."""
    given = {}

    def embed(*arguments, now, **options):
        given.update(options)
        return [(now(), Cost(sequences)) for sequences in (10, 20, 40, 100, 100)]

    clock, meter = iter([1.0, 2.0, 3.0, 5.0, 7.0]), iter([0.0, 100.0, 300.0, 1700.0, 3100.0])
    monkeypatch.setattr(steady, "embed", embed)
    monkeypatch.setattr(inputs, "weights", lambda work: work.esm_model)
    monkeypatch.setattr(steady.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(gpu, "joules", lambda: next(meter))
    return given


def test_seconds_and_joules_are_those_of_the_windows_after_the_small_ones(windows):
    found = steady.warm(GPU, [], "fp16", None)
    assert (found["seconds_per_10k"], found["joules_per_10k"]) == (1e4 * 4 / 200, 1e4 * 2800 / 200)
    assert windows["token_budget"] is None and windows["precision"] == "fp16"
    assert found["token_budget"] == 1000 and found["packing_waste"] == pytest.approx(55)


def test_a_gpu_that_does_not_tell_its_energy_has_no_figure(windows, monkeypatch):
    monkeypatch.setattr(gpu, "joules", lambda: None)
    assert steady.warm(GPU, [], "fp16", None)["joules_per_10k"] is None


@pytest.mark.parametrize("there, told, joules", [(True, 2_500_000, 2500.0), (True, None, None), (False, 1, None)])
def test_joules_are_nvmls_counter(monkeypatch, there, told, joules):
    class Nvml:
        NVMLError = type("NVMLError", (Exception,), {})

        @staticmethod
        def nvmlDeviceGetTotalEnergyConsumption(device):
            if told is None:
                raise Nvml.NVMLError("Not Supported")
            return told

    monkeypatch.setattr(gpu, "pynvml", Nvml)
    monkeypatch.setattr(gpu.Watch, "first", staticmethod(lambda: "GPU 0" if there else None))
    assert gpu.joules() == joules


@pytest.mark.parametrize("benchmark, ways, floor_seconds, fp8", [
    (steady.SteadyFp16, {"cublas": 19.0}, 19.0, None), (steady.SteadyInt8, {"fp8": 9.5, "own": 9.0}, 9.0, 9.5),
    (steady.SteadyInt8, {"fp8": 8.0, "own": 9.0}, 8.0, 8.0), (steady.SteadyInt8, {"own": 9.0}, 9.0, None),
])  # fmt: skip
def test_the_floor_is_that_of_the_fastest_way_over_the_packs_of_the_engine(
    monkeypatch, tmp_path, benchmark, ways, floor_seconds, fp8
):
    asked = []

    def prepare(path, tokenizer, token_budget):
        with open(path) as file:
            asked.append((token_budget, sum(line.startswith(">") for line in file)))
        return Made(10_000, [(100, 60), (50,)], {}, {})

    monkeypatch.setattr(inputs, "require", lambda name: GPU)
    monkeypatch.setattr(inputs, "weights", lambda work: tmp_path)
    monkeypatch.setattr(steady, "warm", lambda *given: {"seconds_per_10k": 2 * floor_seconds, "token_budget": 16_896})
    monkeypatch.setattr(steady, "prepare", prepare)
    monkeypatch.setattr(steady, "floors", lambda work, path, *given: asked.append(given) or ways)
    found = benchmark().measure("gpu-10k", "frames")
    assert asked == [(16_896, 10_000), ([160, 50], benchmark.precision)]
    assert (found["floor_seconds_per_10k"], found["above_floor"]) == (floor_seconds, 100.0)
    assert found["fp8_seconds_per_10k"] == fp8


def test_frames_are_as_long_as_those_of_a_full_chunk():
    records = list(steady.frames(100))
    assert {len(residues) for _, residues in records} == {166} and len(set(records)) == 100


def test_versions_without_8_bits_are_skipped(monkeypatch):
    monkeypatch.setattr(history, "has_precision", lambda name: name != "int8")
    with pytest.raises(Skip, match="needs --precision int8"):
        steady.SteadyInt8().measure("gpu-10k", "proteins")


@pytest.mark.parametrize("packs, timed", [([40, 8, 24], [40, 8, 24]), ([32] * 12 + [8] * 8, [32] * 4 + [8] * 3)])
def test_the_four_products_of_every_layer_are_timed_over_the_tokens_of_each_pack(weights, packs, timed):
    """Of many packs some: every third here. D is 320."""
    found = []
    way = floor.Way(lambda weight: weight, lambda x: x, lambda x, weight: found.append((*x.shape, *weight.shape)))
    assert floor.seconds(WORK, weights / f"{ESM_8M}.pt", packs, "fp16", way) > 0
    layer = [(320, 960, 320), (320, 320, 320), (320, 1280, 320), (1280, 320, 1280)]
    assert found == [(tokens, *shape) for tokens in timed for _ in range(6) for shape in layer]


def test_many_packs_take_as_long_as_the_timed_ones_for_each_token(weights, monkeypatch):
    clock = iter([10.0, 13.0])
    monkeypatch.setattr(floor.time, "perf_counter", lambda: next(clock))
    way = floor.Way(lambda weight: weight, lambda x: x, lambda x, weight: None)
    packs = [32] * 12 + [8] * 8
    assert floor.seconds(WORK, weights / f"{ESM_8M}.pt", packs, "fp16", way) == 3.0 * sum(packs) / (4 * 32 + 3 * 8)


def scaled_mm(a, b, *, scale_a, scale_b, out_dtype, use_fast_accum):
    """What PyTorch's own computes, whose row-wise kind is for GPUs."""
    assert a.dtype == b.dtype == torch.float8_e4m3fn and a.is_contiguous() and b.t().is_contiguous()
    assert (scale_a.shape, scale_b.shape) == ((len(a), 1), (1, b.shape[1])) and scale_a.dtype == scale_b.dtype
    assert scale_b.is_contiguous() and scale_a.dtype == torch.float32
    return ((a.float() * scale_a) @ (b.float() * scale_b)).to(out_dtype)


@pytest.mark.parametrize("name, most", [("cublas", 2e-3), ("fp8", 0.06), ("own", 0.02)])
def test_every_way_multiplies_what_it_is_given(monkeypatch, name, most):
    monkeypatch.setattr(torch, "_scaled_mm", scaled_mm)
    way = (floor.ways("cpu", "fp16") | floor.ways("cpu", "int8"))[name]
    torch.manual_seed(0)
    x_TI, weight_OI = torch.randn(48, 64).half(), torch.randn(32, 64).half()
    y_TO = way.product(floor._first(way.operand(x_TI), 40), way.layer(weight_OI)).float()
    expected_TO = x_TI[:40].float() @ weight_OI.float().t()
    assert (y_TO - expected_TO).norm() / expected_TO.norm() < most


def test_where_there_is_no_fp8_our_own_product_is_the_floor(monkeypatch, capsys):
    def refuse(*given, **options):
        raise RuntimeError("Rowwise scaling is for sm90\nat scaled.cpp:1")

    monkeypatch.setattr(torch, "_scaled_mm", refuse)
    assert [*floor.ways("cpu", "int8")] == ["own"]
    assert "a scale for each row here: Rowwise scaling is for sm90\n" in capsys.readouterr().out


def test_the_older_floor_is_of_full_packs(monkeypatch, weights):
    """SteadyState's: as many tokens as were embedded, in packs of the workload's budget."""
    asked = []
    monkeypatch.setattr(inputs, "require", lambda name: WORK)
    monkeypatch.setattr(inputs, "weights", lambda work: weights)
    found = {"seconds_per_10k": 500.0, "tokens": 5000, "sequences": 100}
    monkeypatch.setattr(steady, "packed", lambda *given: found)
    monkeypatch.setattr(steady, "floors", lambda *given: asked.append(given[2:]) or {"cublas": 3.0})
    found = steady.SteadyState().measure("cpu-small")
    assert asked == [([2048] * 3, "fp32")]
    assert found["floor_seconds_per_10k"] == pytest.approx(1e4 * 3.0 * 5000 / 6144 / 100)
