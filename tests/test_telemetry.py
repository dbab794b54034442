"""Telemetry: figures worked out by hand, files merged, hardware that is made up."""

import json
import math
import os
import platform
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import logger
from runs import wait_for

from virnucpro.errors import BadInput, BadRequest
from virnucpro.utils.telemetry import (
    GpuUtilization,
    TelemetryLogger,
    aggregate_telemetry_shards,
    calculate_scaling_efficiency,
    capture_hardware_info,
)
from virnucpro.utils.totals import percentile_95


def test_a_file_whole(tmp_path):
    second = {"loader_wait_ms": 8.0, "seconds": 3.0, "packs": 2, "pack_capacity": 2000, "copies": 4}
    telemetry = logger(tmp_path / "new", [{}, second])
    telemetry.set_run_metadata(model="3B", results=Path("/out"))
    telemetry.set_run_metadata(model="8M", odd=[math.nan, (1, math.inf)])
    telemetry.record_batch(
        sequences=0,
        tokens=0,
        seconds=0.0,
        packs=0,
        pack_capacity=0,
        loader_wait_ms=1.0,
        queue_depth=0,
        gpu_utilization=80.0,
        checkpoint_write_ms=500.0,
    )
    path = telemetry.finalize()
    assert path == tmp_path / "new" / "telemetry_run.json"
    assert [file.name for file in path.parent.iterdir()] == ["telemetry_run.json"]
    document = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert list(document) == ["run_metadata", "summary", "per_batch_stride", "per_batch_metrics"]
    assert document["run_metadata"] == {
        "run_id": "run",
        "model": "8M",
        "results": "/out",
        "odd": [None, [1, None]],
    }
    assert document["per_batch_stride"] == 1
    assert document["summary"] == telemetry.get_summary()
    common = {"rank": 0, "device": "cuda:0", "warmup": False}
    assert document["per_batch_metrics"] == [
        common
        | {
            "batch": 0,
            "elapsed_seconds": 2.0,
            "seconds": 2.0,
            "sequences": 10,
            "copies": 0,
            "tokens": 900,
            "packs": 1,
            "tokens_per_second": 450.0,
            "sequences_per_second": 5.0,
            "packing_efficiency": 0.9,
            "loader_wait_ms": 0.5,
            "queue_state": "ready",
            "queue_depth": 2,
            "gpu_utilization": None,
            "gpu_idle_ms": None,
            "checkpoint_write_ms": None,
        },
        common
        | {
            "batch": 1,
            "elapsed_seconds": 5.0,
            "seconds": 3.0,
            "sequences": 10,
            "copies": 4,
            "tokens": 900,
            "packs": 2,
            "tokens_per_second": 300.0,
            "sequences_per_second": pytest.approx(10 / 3),
            "packing_efficiency": 0.45,
            "loader_wait_ms": 8.0,
            "queue_state": "starved",
            "queue_depth": 2,
            "gpu_utilization": None,
            "gpu_idle_ms": None,
            "checkpoint_write_ms": None,
        },
        common
        | {
            "batch": 2,
            "device": "cpu",
            "elapsed_seconds": 5.0,
            "seconds": 0.0,
            "sequences": 0,
            "copies": 0,
            "tokens": 0,
            "packs": 0,
            "tokens_per_second": None,
            "sequences_per_second": None,
            "packing_efficiency": None,
            "loader_wait_ms": 1.0,  # starved is more than this
            "queue_state": "ready",
            "queue_depth": 0,
            "gpu_utilization": 80.0,
            "gpu_idle_ms": None,
            "checkpoint_write_ms": 500.0,
        },
    ]


def test_summary_by_hand():
    summary = logger(
        windows=[
            {"seconds": 2.0, "gpu_utilization": 100.0, "loader_wait_ms": 5.0, "copies": 3},
            {"seconds": 3.0, "gpu_utilization": 50.0, "gpu_idle_ms": 60.0, "checkpoint_write_ms": 250.0, "copies": 4},
            # not packed, and nobody knows how busy the GPU was
            {"seconds": 5.0, "tokens": 200, "packs": 0, "pack_capacity": 0},
        ]
    ).get_summary()
    (rank,) = summary.pop("per_rank").values()
    assert summary == {
        "sequences": 30,
        "copies": 7,
        "tokens": 2000,
        "packs": 2,
        "batches": 3,
        "seconds": 10.0,
        "warmup_excluded": False,
        "warmup_reason": "no warm-up was set, so all batches count",
        "tokens_per_second": 200.0,
        "sequences_per_second": 3.0,
        "sequences_per_hour": 10_800.0,
        "packing_efficiency": 0.9,  # 1800 of 2000
        "p95_loader_wait_ms": 5.0,
        "mean_gpu_utilization": 70.0,  # (2 * 100 + 3 * 50) / 5
        "percent_gpu_idle": 2.0,  # 0.06 of the 3 s for which it is known
        "percent_starved": pytest.approx(100 / 3),
        "projected_hours_6m_sequences_by_sequences": pytest.approx(2e6 / 3600),
        "projected_hours_6m_sequences_by_tokens": pytest.approx(2e6 / 3600),
        "checkpoint_write_seconds": 0.25,
        "checkpoint_overhead_percent": 2.5,
    }
    assert (rank["sequences"], rank["tokens"], rank["seconds"]) == (30, 2000, 10.0)
    assert (rank["mean_gpu_utilization"], rank["packing_efficiency"], rank["device"]) == (70.0, 0.9, "cuda:0")


@pytest.mark.parametrize(
    "warmup_seconds, warmup_batches, left_out",
    [
        (0.0, 0, 0),
        (0.0, 2, 2),
        (3.0, 0, 2),  # the second batch begins at 2 s
        (4.0, 0, 2),  # the third begins at 4 s, when warm-up is over
        (4.1, 0, 3),
        (4.0, 3, 3),  # the larger of both
        (7.0, 1, 4),
        (60.0, 20, None),  # nothing is left
    ],
)
def test_warmup(warmup_seconds, warmup_batches, left_out):
    windows = [{"sequences": number, "seconds": 2.0} for number in (1, 2, 4, 8, 16)]
    telemetry = logger(windows=windows, warmup_seconds=warmup_seconds, warmup_batches=warmup_batches)
    summary = telemetry.get_summary()
    assert (summary["sequences"], summary["batches"], summary["seconds"]) == (31, 5, 10.0)
    assert summary["warmup_excluded"] == bool(left_out)
    assert summary["warmup_reason"] == {
        None: "nothing is left after warm-up, so all batches count",
        0: "no warm-up was set, so all batches count",
    }.get(left_out, f"left out as warm-up: {left_out} of 5 batches, {2 * (left_out or 0)}.0 s")
    counted = windows[left_out or 0 :]
    assert summary["sequences_per_second"] == sum(window["sequences"] for window in counted) / (2 * len(counted))


def test_the_two_projections_differ_when_warmup_held_other_lengths():
    summary = logger(windows=[{"tokens": 100}, {"tokens": 300}], warmup_batches=1).get_summary()
    assert summary["sequences_per_second"] == 5.0
    assert summary["tokens_per_second"] == 150.0
    assert summary["projected_hours_6m_sequences_by_sequences"] == pytest.approx(6e6 / 5 / 3600)
    assert summary["projected_hours_6m_sequences_by_tokens"] == pytest.approx(6e6 * 20 / 150 / 3600)  # 400 / 20 = 20


def test_percentiles_leave_warmup_out():
    telemetry = logger(windows=[{"loader_wait_ms": 9000.0}, {"loader_wait_ms": 3.0}], warmup_batches=1)
    assert telemetry.get_summary()["p95_loader_wait_ms"] == 3.0
    assert telemetry.get_summary()["percent_starved"] == 100.0


@pytest.mark.parametrize(
    "values, expected",
    [([], None), ([7], 7), (range(1, 21), 19), (range(20, 0, -1), 19), (range(1, 101), 95), ([1, 2], 2)],
)
def test_percentile_95(values, expected):
    assert percentile_95(values) == expected


def test_nothing_recorded(tmp_path):
    telemetry = logger(tmp_path)
    assert telemetry.get_summary()["warmup_reason"] == "no batch was recorded"
    assert telemetry.get_summary()["tokens_per_second"] is None
    assert json.loads(telemetry.finalize().read_text())["summary"]["per_rank"] == {}


@pytest.mark.parametrize("name", ["seconds", "loader_wait_ms", "gpu_utilization", "checkpoint_write_ms"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_what_would_spoil_every_total_is_our_bug(name, value):
    with pytest.raises(AssertionError):
        logger(windows=[{name: value}])


def test_ranks_run_at_the_same_time():
    summary = logger(
        windows=[
            {"rank": 1, "device": "cuda:1", "seconds": 4.0, "checkpoint_write_ms": 100.0},
            {"rank": 0, "device": "cuda:0", "seconds": 1.0},
        ]
    ).get_summary()
    assert list(summary["per_rank"]) == ["0", "1"]
    assert [rank["device"] for rank in summary["per_rank"].values()] == ["cuda:0", "cuda:1"]
    assert summary["seconds"] == 4.0
    assert summary["tokens_per_second"] == 900 / 1 + 900 / 4
    assert summary["checkpoint_overhead_percent"] == pytest.approx(2.5)  # 0.1 of the 4 s that the run took


@pytest.mark.parametrize("windows, batches, stride", [(4, [0, 1, 2, 3], 1), (5, [0, 2, 4], 2), (9, [0, 4, 8], 4)])
def test_thinning(tmp_path, windows, batches, stride):
    path = logger(tmp_path, [{}] * windows, max_batches=4).finalize()
    document = json.loads(path.read_text())
    assert [record["batch"] for record in document["per_batch_metrics"]] == batches
    assert document["per_batch_stride"] == stride
    assert document["summary"]["batches"] == windows


def test_ranks_are_thinned_on_their_own(tmp_path):
    path = logger(tmp_path, [{"rank": 0}, {"rank": 1}, {"rank": 1}, {"rank": 1}], max_batches=2).finalize()
    document = json.loads(path.read_text())
    assert [(record["rank"], record["batch"]) for record in document["per_batch_metrics"]] == [(0, 0), (1, 0), (1, 2)]
    assert document["per_batch_stride"] == 2  # the larger


COUNTS = st.integers(min_value=0, max_value=10**9)
WINDOWS = st.lists(
    st.fixed_dictionaries(
        {
            "sequences": COUNTS,
            "copies": COUNTS,
            "tokens": COUNTS,
            "seconds": st.floats(min_value=0, max_value=1e6),
            "packs": st.integers(min_value=0, max_value=9),
            "loader_wait_ms": st.floats(min_value=0, max_value=1e6),
            "gpu_utilization": st.none() | st.floats(min_value=0, max_value=100),
            "rank": st.integers(min_value=0, max_value=2),
        }
    ),
    max_size=40,
)


@settings(deadline=None)
@given(windows=WINDOWS, limit=st.integers(min_value=2, max_value=9))
def test_thinning_keeps_totals_exact_and_records_even(windows, limit):
    telemetry, thinned = logger(windows=windows), logger(windows=windows, max_batches=limit)
    full, short = telemetry.get_summary(), thinned.get_summary()
    assert full | {"p95_loader_wait_ms": None} == short | {"p95_loader_wait_ms": None}
    json.dumps(short, allow_nan=False)
    for rank, kept in thinned._kept.items():
        there_were = sum(window["rank"] == rank for window in windows)
        assert [record["batch"] for record in kept.records] == list(range(0, there_were, kept.stride))
        assert len(kept.records) <= limit


@settings(deadline=None, max_examples=40)  # writes to disk
@given(windows=WINDOWS)
def test_shards_merged_equal_one_file_of_all(tmp_path_factory, windows):
    folder = tmp_path_factory.mktemp("shards")
    shards = [
        logger(folder, [window for window in windows if window["rank"] == rank], f"rank{rank}", warmup_batches=3)
        for rank in range(3)
    ]
    whole = json.loads(logger(folder, windows, "whole", warmup_batches=3).finalize().read_text())
    merged = aggregate_telemetry_shards([shard.finalize() for shard in shards])
    assert merged["summary"] == whole["summary"]
    assert merged["per_batch_metrics"] == whole["per_batch_metrics"]
    assert merged["per_batch_stride"] == 1


def test_merged_by_hand(tmp_path):
    first = logger(tmp_path, [{"loader_wait_ms": 1.0}], "a", max_batches=2)
    again = logger(tmp_path, [{"seconds": 8.0}] * 3, "b", max_batches=2)  # rank 0, started again
    other = logger(tmp_path, [{"rank": 1, "loader_wait_ms": 7.0, "seconds": 3.0}], "c")
    for shard in (first, again, other):
        shard.set_run_metadata(model="3B")
    merged = aggregate_telemetry_shards([shard.finalize() for shard in (first, again, other)])
    assert merged["run_metadata"] == {"model": "3B", "shards": [{"run_id": "a"}, {"run_id": "b"}, {"run_id": "c"}]}
    summary = merged["summary"]
    assert (summary["sequences"], summary["tokens"], summary["packs"], summary["batches"]) == (50, 4500, 5, 5)
    assert summary["seconds"] == 26.0  # 2 + 3 * 8, longer than rank 1's 3
    assert summary["tokens_per_second"] == 3600 / 26 + 900 / 3
    assert summary["p95_loader_wait_ms"] == 7.0
    assert merged["per_batch_stride"] == 2


def test_a_file_of_a_commit_that_did_not_count_copies_is_read(tmp_path):
    path = logger(tmp_path, [{}]).finalize()
    document = json.loads(path.read_text())
    (entry,) = document["summary"]["per_rank"].values()
    for values in (document["summary"], entry, *entry["sums"].values(), *document["per_batch_metrics"]):
        del values["copies"]
    path.write_text(json.dumps(document))
    later = logger(tmp_path, [{"copies": 4, "rank": 1}], "later").finalize()
    summary = aggregate_telemetry_shards([path, later])["summary"]
    assert (summary["sequences"], summary["copies"]) == (20, 4)


def no_per_rank(document):
    del document["summary"]["per_rank"]


def no_sums(document):
    document["summary"]["per_rank"]["0"]["sums"]["all_batches"].pop("tokens")


def text_for_a_number(document):
    document["summary"]["per_rank"]["0"]["sums"]["all_batches"]["tokens"] = "900"


def negative_total(document):
    document["summary"]["per_rank"]["0"]["sums"]["after_warmup"]["tokens"] = -1


def no_wait(document):
    document["per_batch_metrics"][0]["loader_wait_ms"] = None


def no_stride(document):
    document["per_batch_stride"] = "1"


def not_a_number(document):
    document["per_batch_metrics"][0]["loader_wait_ms"] = math.nan


@pytest.mark.parametrize(
    "spoil", [no_per_rank, no_sums, text_for_a_number, negative_total, no_wait, no_stride, not_a_number]
)
def test_a_spoilt_shard_is_refused(tmp_path, spoil):
    path = logger(tmp_path, [{}]).finalize()
    assert aggregate_telemetry_shards([path])["summary"]["tokens"] == 900
    document = json.loads(path.read_text())
    spoil(document)
    path.write_text(json.dumps(document))
    with pytest.raises(BadInput, match=r"telemetry_run\.json is not a telemetry file \(.*\)\. Give the"):
        aggregate_telemetry_shards([path])


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"{}", b'"text"', b"\xff\xfe", b'{"run_metadata": {}, "summary": {"per_rank": []}}'],
)
def test_a_file_that_is_no_telemetry_is_refused(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(BadInput, match=r"x\.json is not a telemetry file"):
        aggregate_telemetry_shards([tmp_path / "x.json"])


def test_no_shards_at_all(tmp_path):
    with pytest.raises(BadInput, match="No telemetry file was given"):
        aggregate_telemetry_shards([])
    with pytest.raises(FileNotFoundError):
        aggregate_telemetry_shards([tmp_path / "absent.json"])


@pytest.mark.parametrize("run_id", ["", "a/b", "/"])
def test_a_run_id_must_fit_a_file_name(tmp_path, run_id):
    with pytest.raises(BadRequest, match="must fit into a file's name"):
        TelemetryLogger(tmp_path, run_id)


@pytest.mark.parametrize(
    "one, many, world_size, speedup, efficiency, meets_target",
    [
        (19.0, 10.0, 2, 1.9, 0.95, True),
        (18.9, 10.0, 2, 1.89, 0.945, False),
        (10, 10, 1, 1.0, 1.0, True),
        (40.0, 8.0, 4, 5.0, 1.25, True),
        (10.0, 20.0, 2, 0.5, 0.25, False),
    ],
)
def test_scaling(one, many, world_size, speedup, efficiency, meets_target):
    assert calculate_scaling_efficiency(one, many, world_size) == {
        "speedup": pytest.approx(speedup),
        "efficiency": pytest.approx(efficiency),
        "meets_target": meets_target,
    }


@pytest.mark.parametrize(
    "arguments, name",
    [
        ((0, 1, 2), "seconds_one"),
        ((1, -1.0, 2), "seconds_many"),
        ((math.nan, 1, 2), "seconds_one"),
        ((1, math.inf, 2), "seconds_many"),
        (("1", 1, 2), "seconds_one"),
        ((True, 1, 2), "seconds_one"),
        ((1, 1, 0), "world_size"),
        ((1, 1, 2.0), "world_size"),
        ((1, 1, True), "world_size"),
    ],
)
def test_scaling_of_nonsense(arguments, name):
    with pytest.raises(BadRequest, match=f"^{name} is "):
        calculate_scaling_efficiency(*arguments)


class MadeUpNvml:
    """Stands for the module pynvml on a host with one GPU."""

    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 1, 0

    class NVMLError(Exception):
        pass

    def __init__(self, gpus=1, driver=True, mute=False):
        self.gpus, self.driver, self.mute = gpus, driver, mute
        self.users = 0
        self.busy, self.lost = [10, 20, 60], False
        self.asked_for = None

    def nvmlInit(self):
        if not self.driver:
            raise self.NVMLError("Driver Not Loaded")
        self.users += 1

    def nvmlShutdown(self):
        self.users -= 1

    def nvmlDeviceGetCount(self):
        return self.gpus

    def nvmlDeviceGetHandleByIndex(self, index):
        return self.nvmlDeviceGetHandleByUUID(index)

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if not self.gpus:
            raise self.NVMLError("Not Found")
        self.asked_for = uuid
        return "handle"

    def nvmlDeviceGetName(self, handle):
        return self._answer("NVIDIA H200")

    def nvmlDeviceGetMemoryInfo(self, handle):
        return self._answer(SimpleNamespace(total=150_754_820_096))

    def nvmlSystemGetDriverVersion(self):
        return self._answer("570.86.15")

    def nvmlSystemGetCudaDriverVersion(self):
        return self._answer(12_080)

    def nvmlDeviceGetEnforcedPowerLimit(self, handle):
        return self._answer(700_000)  # mW

    def nvmlDeviceGetTemperature(self, handle, sensor):
        return self._answer({self.NVML_TEMPERATURE_GPU: 31}[sensor])

    def nvmlDeviceGetClockInfo(self, handle, clock):
        return self._answer({self.NVML_CLOCK_SM: 1980}[clock])

    def _answer(self, value):
        if self.mute:
            raise self.NVMLError("Not Supported")
        return value

    def nvmlDeviceGetUtilizationRates(self, handle):
        if not self.busy:
            self.lost = True
            raise self.NVMLError("GPU is lost")
        return SimpleNamespace(gpu=self.busy.pop(0))


@pytest.fixture
def nvml(monkeypatch):
    def install(**options):
        made_up = MadeUpNvml(**options)
        monkeypatch.setitem(sys.modules, "pynvml", made_up)
        return made_up

    return install


def test_hardware(nvml, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    made_up = nvml()
    info = capture_hardware_info()
    assert "torch" not in sys.modules
    assert info["gpus"] == [
        {
            "name": "NVIDIA H200",
            "memory_bytes": 150_754_820_096,
            "driver": "570.86.15",
            "power_limit_watts": 700.0,
            "temperature_celsius": 31,
            "sm_clock_mhz": 1980,
        }
    ]
    assert (info["reason"], info["driver_cuda"]) == (None, "12.8")
    assert info["torch"].split(".")[0] == "2" and info["torch_cuda"] is None
    assert info["usable_cpus"] == len(os.sched_getaffinity(0))
    assert info["host_memory_bytes"] > 2**28
    assert platform.node() not in json.dumps(info)
    assert made_up.users == 0


def test_a_gpu_that_tells_nothing(nvml):
    nvml(mute=True)
    info = capture_hardware_info()
    assert [set(gpu.values()) for gpu in info["gpus"]] == [{None}]
    assert info["driver_cuda"] is None


def test_hardware_with_torch_loaded(nvml, monkeypatch):
    nvml()
    torch = SimpleNamespace(__version__="2.99.0+cu128", version=SimpleNamespace(cuda="12.8"))
    monkeypatch.setitem(sys.modules, "torch", torch)
    info = capture_hardware_info()
    assert (info["torch"], info["torch_cuda"]) == ("2.99.0+cu128", "12.8")


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"gpus": 0}, "the NVIDIA driver lists no GPU"),
        ({"driver": False}, "the NVIDIA driver does not answer: Driver Not Loaded"),
        (None, "the Python package nvidia-ml-py is not installed"),
    ],
)
def test_no_gpu(nvml, monkeypatch, options, reason):
    made_up = nvml(**options or {})
    if options is None:
        monkeypatch.setitem(sys.modules, "pynvml", None)  # how Python marks a module that cannot be imported
    info = capture_hardware_info()
    assert (info["gpus"], info["reason"]) == ([], reason)
    with GpuUtilization(0) as utilization:
        assert utilization.read() is None
    assert made_up.users == 0


def test_utilisation_is_the_mean_since_the_last_read(nvml):
    made_up = nvml()
    with GpuUtilization("1234", interval=0.001) as utilization:
        wait_for(lambda: made_up.lost)
        assert utilization.read() == 30.0  # of 10, 20 and 60
        assert utilization.read() is None  # lost
        assert made_up.users == 1
    assert made_up.users == 0
    assert made_up.asked_for == "GPU-1234"


def test_utilisation_of_a_batch_shorter_than_the_interval(nvml):
    nvml()
    with GpuUtilization(0, interval=60.0) as utilization:
        assert [utilization.read(), utilization.read()] == [10.0, 20.0]
    assert utilization.read() is None  # stopped


@pytest.mark.parametrize(
    "gpu, asked_for", [(1, 1), ("GPU-ab", "GPU-ab"), ("ab", "GPU-ab"), ("MIG-ab", "MIG-ab"), (None, None)]
)
def test_which_gpu(nvml, gpu, asked_for):
    made_up = nvml()
    with GpuUtilization(gpu):
        assert made_up.asked_for == asked_for
    assert made_up.users == 0
