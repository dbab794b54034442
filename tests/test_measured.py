"""What asv's benchmarks of this project have in common: measured once, failed once, skipped with a reason."""

import dataclasses
import inspect
import json
import math
import os
import shutil
import subprocess
import time
from pathlib import Path

import conftest
import pytest

from benchmarks import commands, history, start_up, synthetic_weights, workloads, writers
from benchmarks.measured import Measured
from benchmarks.support import gpu, inputs, package_api
from benchmarks.support.skip import Skip

KEYS = {  # by which asv knows a figure, in all results there are; and its unit
    **{
        f"accuracy.{name}.track_{figure}": unit
        for name in ("Accuracy", "AccuracyInt8")
        for figure, unit in (
            ("auroc", "AUROC of chunks of 500 bp"),
            ("agreement", "% of chunks labelled as in float32"),
        )
    },
    "ablation.Ablation.track_seconds_per_10k": "s per 10,000 proteins",
    "commands.EmbedProteins.track_error": "largest |error| / |reference|",
    "commands.EmbedProteins.track_gpu_memory": "bytes",
    "commands.EmbedProteins.track_host_memory": "bytes",
    "commands.EmbedProteins.track_wall_seconds": "seconds",
    "commands.EmbedProteinsInt8.track_error": "largest |error| / |reference|",
    "commands.EmbedProteinsInt8.track_gpu_memory": "bytes",
    "commands.EmbedProteinsInt8.track_host_memory": "bytes",
    "commands.EmbedProteinsInt8.track_wall_seconds": "seconds",
    "commands.PredictContigs.track_error": "largest difference of a score",
    "commands.PredictContigs.track_gpu_memory": "bytes",
    "commands.PredictContigs.track_host_memory": "bytes",
    "commands.PredictContigs.track_wall_seconds": "seconds",
    "commands.PredictContigsInt8.track_error": "largest difference of a score",
    "commands.PredictContigsInt8.track_gpu_memory": "bytes",
    "commands.PredictContigsInt8.track_host_memory": "bytes",
    "commands.PredictContigsInt8.track_wall_seconds": "seconds",
    "commands.PredictReads.track_error": "largest difference of a score",
    "commands.PredictReads.track_gpu_memory": "bytes",
    "commands.PredictReads.track_host_memory": "bytes",
    "commands.PredictReads.track_wall_seconds": "seconds",
    "commands.PredictReadsInt8.track_error": "largest difference of a score",
    "commands.PredictReadsInt8.track_gpu_memory": "bytes",
    "commands.PredictReadsInt8.track_host_memory": "bytes",
    "commands.PredictReadsInt8.track_wall_seconds": "seconds",
    "exact.Exact.track_operations": "10^9 operations for a protein (ESM-2 8M)",
    "exact.Exact.track_packs": "packs of 10,000 proteins",
    "exact.Exact.track_padding": "% of the packs' tokens",
    "exact.Exact.track_waits": "waits of the host for a window",
    "front_end.FrontEnd.track_seconds_per_10k": "s per 10,000 sequences",
    "peers.Peers.track_seconds_per_10k": "s per 10,000 proteins",
    "start_up.Help.track_seconds": "seconds",
    "start_up.OneProtein.track_wall_seconds": "seconds",
    "start_up.OneProteinAgain.track_loading_seconds": "seconds",
    "start_up.OneProteinAgain.track_wall_seconds": "seconds",
    "steady.SteadyFp16.track_above_floor": "% above the matrix products alone",
    "steady.SteadyFp16.track_floor_seconds_per_10k": "s per 10,000 sequences",
    "steady.SteadyFp16.track_joules_per_10k": "J per 10,000 sequences",
    "steady.SteadyFp16.track_seconds_per_10k": "s per 10,000 sequences",
    "steady.SteadyInt8.track_above_floor": "% above the matrix products alone",
    "steady.SteadyInt8.track_floor_seconds_per_10k": "s per 10,000 sequences",
    "steady.SteadyInt8.track_fp8_seconds_per_10k": "s per 10,000 sequences",
    "steady.SteadyInt8.track_joules_per_10k": "J per 10,000 sequences",
    "steady.SteadyInt8.track_own_seconds_per_10k": "s per 10,000 sequences",
    "steady.SteadyInt8.track_seconds_per_10k": "s per 10,000 sequences",
    "steady.SteadyState.track_above_floor": "% above the matrix products alone",
    "steady.SteadyState.track_floor_seconds_per_10k": "s per 10,000 proteins",
    "steady.SteadyState.track_gpu_idle": "% of the time between windows",
    "steady.SteadyState.track_loader_wait": "ms, p95",
    "steady.SteadyState.track_packing_waste": "% of the packs' tokens",
    "steady.SteadyState.track_seconds_per_10k": "s per 10,000 proteins",
    "writers.Writers.track_seconds_per_10k": "processor s per 10,000 sequences",
}


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """asv's directory for a commit as the working directory, and a cache of our own."""
    (tmp_path / "commit").mkdir()
    monkeypatch.chdir(tmp_path / "commit")
    monkeypatch.setenv("VIRNUCPRO_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(inputs.CHOICE, raising=False)


class Once(Measured):
    figures = {"seconds": "s", "gpu_memory": "bytes"}
    calls: list[str] = []

    def measure(self, workload):
        self.calls.append(workload)
        if workload == "broken":
            raise ValueError("no such thing")
        if workload == "lacking":
            raise NotImplementedError("no such operation for Half")
        if workload == "elsewhere":
            raise Skip("not here")
        return {"seconds": 2.5, "gpu_memory": None}


@pytest.fixture(autouse=True)
def fresh():
    Once.calls.clear()


def test_all_figures_come_from_one_measurement():
    for _ in range(2):  # asv makes a new process, and a new object, for each figure
        benchmark = Once()
        benchmark.setup("gpu-10k")
        assert benchmark.track_seconds("gpu-10k") == {"samples": [2.5], "number": 1}  # as asv takes a sample
    assert Once.calls == ["gpu-10k"]


def test_the_figures_of_a_class_are_those_of_its_base_and_its_own():
    class Again(Once):
        figures = {"gpu_memory": "GiB", "error": "largest"}

    units = {name: track.unit for name, track in inspect.getmembers(Again, inspect.isfunction) if "track" in name}
    assert units == {"track_seconds": "s", "track_gpu_memory": "GiB", "track_error": "largest"}
    assert Once.track_gpu_memory.unit == "bytes" and not hasattr(Once, "track_error")


def test_asv_finds_all_figures_under_their_keys():
    discovery = pytest.importorskip("asv_runner.discovery", reason="asv is not installed: pip install '.[bench]'")
    found = list(discovery.disc_benchmarks("benchmarks"))
    assert sorted((each.name, each.unit) for each in found) == sorted(KEYS.items())
    assert len({each.setup_cache_key for each in found}) == 1, "they share a working directory, and the rest in it"


def test_a_figure_that_the_machine_lacks_is_a_skip(capsys):
    benchmark = Once()
    benchmark.setup("gpu-10k")
    assert math.isnan(benchmark.track_gpu_memory("gpu-10k"))
    assert "no gpu memory" in capsys.readouterr().out


def test_a_failure_is_a_failure_of_all_figures_and_is_not_tried_again():
    for _ in range(2):
        with pytest.raises(RuntimeError, match="ValueError: no such thing"):
            Once().setup("broken")
    assert Once.calls == ["broken"]


def test_what_torch_lacks_is_a_failure_and_no_skip():
    with pytest.raises(RuntimeError, match="no such operation for Half"):
        Once().setup("lacking")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_error_that_is_not_finite_is_a_failure_wherever_it_stands(value):
    with pytest.raises(RuntimeError, match="1 of 2 errors are not finite"):
        commands.largest([0.1, value])
    assert commands.largest([0.1, 0.3, 0.2]) == 0.3


def test_a_skip_is_not_kept():
    for _ in range(2):
        with pytest.raises(Skip, match="not here"):
            Once().setup("elsewhere")
    assert os.listdir() == []


@pytest.mark.parametrize(
    "gpu_there, choice, runs, skipped",
    [
        (False, "", "cpu-small", "gpu-10k"),
        (True, "", "gpu-10k", "cpu-small"),
        (True, "cpu-small", "cpu-small", "gpu-10k"),
    ],
)
def test_a_machine_measures_the_workload_that_is_for_it(monkeypatch, gpu_there, choice, runs, skipped):
    monkeypatch.setattr(gpu, "visible", lambda: gpu_there)
    monkeypatch.setenv(inputs.CHOICE, choice)
    assert inputs.require(runs).name == runs
    with pytest.raises(Skip, match=f"{skipped} is skipped: .* {runs} is measured"):
        inputs.require(skipped)


def test_gpu_10k_needs_a_gpu_even_if_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(gpu, "visible", lambda: False)
    monkeypatch.setenv(inputs.CHOICE, "gpu-10k")
    with pytest.raises(Skip, match="needs a GPU"):
        inputs.require("gpu-10k")


@pytest.mark.parametrize("gpu_there, rested, waited", [(True, 10, 20), (True, 40, 0), (False, 10, 0)])
def test_a_gpu_rests_between_commits(monkeypatch, tmp_path, gpu_there, rested, waited):
    slept = []
    monkeypatch.setattr(gpu, "visible", lambda: gpu_there)
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)
    gpu.used(tmp_path)
    os.utime(tmp_path / "gpu-last-used", (time.time() - rested,) * 2)
    gpu.cool_down(tmp_path)
    assert sum(slept) == waited


def test_the_first_commit_is_not_waited_for(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "visible", lambda: True)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("slept"))
    gpu.cool_down(tmp_path)


def test_without_a_gpu_the_watch_sees_nothing(monkeypatch):
    monkeypatch.setattr(gpu.Watch, "first", staticmethod(lambda: None))
    with gpu.Watch() as watch:
        pass
    assert (watch.start_temperature, watch.hottest, watch.peak_memory, watch.sm_clock) == (None,) * 4


def test_one_worker_is_no_copy_of_the_default_where_a_gpu_has_one_process(monkeypatch):
    measured = []
    monkeypatch.setattr(gpu, "visible", lambda: True)
    monkeypatch.setattr(gpu, "COOL_DOWN", 0)
    monkeypatch.setattr(commands.EmbedProteins, "measure", lambda self, *given: measured.append(given) or {"x": 1})
    commands.EmbedProteins().setup("gpu-10k", "default")
    with pytest.raises(Skip, match="one process per GPU"):
        commands.EmbedProteins().setup("gpu-10k", "one")
    assert measured == [("gpu-10k", "default")]
    monkeypatch.setattr(history, "one_process_per_gpu", lambda: False)
    commands.EmbedProteins().setup("gpu-10k", "one")
    assert measured == [("gpu-10k", "default"), ("gpu-10k", "one")]


def test_8_bits_are_skipped_where_a_version_or_the_machine_cannot(monkeypatch):
    benchmark = commands.EmbedProteinsInt8()
    monkeypatch.setattr(gpu, "visible", lambda: False)
    with pytest.raises(Skip, match="gpu-10k is skipped: no GPU is visible"):
        benchmark.setup("gpu-10k", "default")
    monkeypatch.setattr(gpu, "visible", lambda: True)
    monkeypatch.setattr(package_api, "find_spec", lambda name: None)  # as at v1.0 and v2.0
    with pytest.raises(Skip, match="needs --precision int8, which this version does not have"):
        benchmark.setup("gpu-10k", "default")


@pytest.mark.parametrize("kind, name, least", [("proteins", "few.faa", 2e-3), ("reads", "few.fa", 1e-5)])
def test_8_bits_are_measured_as_their_own_command(monkeypatch, weights, tmp_path, kind, name, least):
    """A small variant: real commands on the CPU, their errors against the float32 reference. FP32 errs by 1e-6."""
    shutil.copytree(weights, tmp_path / "weights")
    layers = {"num_hidden_layers": 12}  # which the reference expects
    synthetic_weights.write_dnabert(tmp_path / "weights" / "DNABERT-S", **conftest.TINY_DNABERT | layers)
    work = dataclasses.replace(inputs.CPU_SMALL, sample=8)
    (tmp_path / name).write_text(workloads.fasta(getattr(workloads, kind)(8)))
    monkeypatch.setattr(inputs, "require", lambda name: work)
    monkeypatch.setattr(inputs, "fasta", lambda work, kind: tmp_path / name)
    monkeypatch.setattr(inputs, "weights", lambda work: tmp_path / "weights")
    monkeypatch.setattr("benchmarks.support.reference.DNABERT_WIDTH", conftest.TINY_DNABERT["hidden_size"])
    kept = []
    monkeypatch.setattr(commands.evidence, "keep", lambda *given: kept.append(given))
    benchmark = {"proteins": commands.EmbedProteinsInt8, "reads": commands.PredictReadsInt8}[kind]()
    found = benchmark.measure("cpu-small", "default")
    assert found["command"][-2:] == ["--precision", "int8"] and least < found["error"] < 0.05
    ((named, *_, document),) = kept
    assert named == f"commands.{type(benchmark).__name__}"
    assert document["manifest"]["settings"]["precision"] == "int8" and document["version"] == type(benchmark).version


def test_8_bits_are_of_the_version_that_v1_is_measured_by():
    for name in ("EmbedProteins", "PredictReads", "PredictContigs"):
        usual, int8 = (getattr(commands, f"{name}{more}") for more in ("", "Int8"))
        assert (usual.version, usual.kind, usual.rests) == (int8.version, int8.kind, int8.rests) and usual.rests


def test_what_old_commits_lack_is_a_skip_with_the_reason(monkeypatch):
    history.require_engine()
    monkeypatch.setattr(history, "has_streaming", lambda: False)
    monkeypatch.setattr(history, "find_spec", lambda name: None)
    with pytest.raises(Skip, match=r"v2\.0's engine"):
        history.require_engine()


@pytest.mark.parametrize("kind, records", [("reads", 2055), ("contigs", 342 + 2), ("proteins", 2055)])
def test_writers_write_all_results_of_a_run(monkeypatch, kind, records):
    written, write = [], writers.write

    def watched(folder, *given):
        seconds = write(folder, *given)
        written.append({path.name: path.read_text().count("\n") for path in folder.glob("*.[tc]*")})
        return seconds

    monkeypatch.setattr(writers, "write", watched)
    assert len(writers.least(kind, sequences=2048 + 7, times=1)) == 3
    rows = {"prediction_results.txt": 2055, "prediction_results_highestscore.csv": 2055, "contigs.tsv": records}
    rows = {"sequences.tsv": records} | (rows if kind != "proteins" else {})
    assert written == [{name: 1 + count for name, count in rows.items()}]


def test_old_commits_have_no_writers(monkeypatch):
    history.require_writers()
    monkeypatch.setattr(package_api, "find_spec", lambda name: None)
    with pytest.raises(Skip, match=r"v2\.0's finished windows"):
        history.require_writers()


def test_between_releases_some_benchmarks_skip(monkeypatch):
    monkeypatch.setattr("virnucpro.__version__", "3.1.0.dev0")
    with pytest.raises(Skip, match=r"3\.1\.0\.dev0 is no release"):
        history.require_release()
    monkeypatch.setenv(history.EVERYTHING, "1")
    history.require_release()
    monkeypatch.delenv(history.EVERYTHING)
    monkeypatch.setattr("virnucpro.__version__", "3.1.0")
    history.require_release()


def test_a_command_that_fails_is_no_measurement(monkeypatch, tmp_path):
    work = inputs.WORKLOADS["cpu-small"]
    monkeypatch.setattr(inputs, "weights", lambda work: tmp_path)
    with pytest.raises(RuntimeError, match=r"ended with 2:\n.*no-such-file\.fa: no such file"):
        commands.run(work, tmp_path / "no-such-file.fa", "default", tmp_path / "out")


@pytest.fixture
def caches(monkeypatch, tmp_path):
    """Of each command that is run, which does nothing: where it keeps kernels and the rest, and what was there."""
    found, start = [], subprocess.Popen

    def start_nothing(command, env, **options):
        places = Path(env["TRITON_CACHE_DIR"]), Path(env["XDG_CACHE_HOME"])
        found.append((*places, [place.exists() for place in places]))
        for place in places:
            place.mkdir(parents=True, exist_ok=True)
        said = {"exit_code": 0, "seconds": 0.5, "begun": 0.0, "ended": 0.5, "host_memory": 1}
        return start(["echo", json.dumps(said)], **options)

    monkeypatch.setattr(inputs, "require", inputs.WORKLOADS.get)
    monkeypatch.setattr(inputs, "weights", lambda work: tmp_path)
    monkeypatch.setattr(subprocess, "Popen", start_nothing)
    return found


def test_a_command_finds_nothing_that_the_command_before_has_kept(caches):
    for _ in range(2):
        start_up.OneProtein().measure("cpu-small")
    assert [there for *_, there in caches] == [[False, False]] * 2
    assert not any(place.exists() for *places, _ in caches for place in places)


def test_the_second_command_finds_what_the_first_has_kept(caches):
    found = start_up.OneProteinAgain().measure("cpu-small")
    (*first, _), (*second, there) = caches
    assert second == first and there == [True, True]
    assert found["wall_seconds"] == 0.5 and found["loading_seconds"] is None, "the command wrote no manifest"


def test_loading_is_what_is_neither_computing_nor_writing(tmp_path):
    stages = {"reading the input": 0.5, "loading the models": 2.5, "computing": 0.75, "writing the results": 0.25}
    sessions = [{"stage_seconds": dict.fromkeys(stages, 9.0)}, {"stage_seconds": stages}]
    (tmp_path / "one_run.json").write_text(json.dumps({"sessions": sessions}))
    assert start_up.loading_seconds(tmp_path, 5.0) == 4.0
    (tmp_path / "one_run.json").write_text("{}")  # as version 2.0 has it: without sessions
    assert start_up.loading_seconds(tmp_path, 5.0) is None
