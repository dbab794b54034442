"""What each check of the validation is there for, planted: it has to be seen, and to say what to do next.

Planted on the CPU, in the small form; an idle GPU needs a GPU. The checks are those of the suites beside this file.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import test_production_validation
import test_v1_comparison
import torch
import validation
from conftest import ON_CPU, ROOT
from test_parameter_tuning import MEASURED, OUT_OF_MEMORY, Sweep, recommendation, speed
from test_production_validation import JUDGED_HERE, checkpoint_overhead, production_input
from test_scaling_v2 import check_balance
from test_v1_comparison import COUNT, LEAST_COSINE, agreement, compare, differences, record, run_from
from validation import WORK, check_work, full_run, judge, proteins, reads, scaling

import virnucpro
from benchmarks import commands
from benchmarks.releases import BadRelease
from benchmarks.support import inputs
from virnucpro.engine.loader import FrontEnd
from virnucpro.engine.model_runner import ModelRunner
from virnucpro.errors import BadRequest
from virnucpro.models.esm2 import Esm2
from virnucpro.reporting.decisions import REQUIREMENTS
from virnucpro.reporting.requirements import Finding, find
from virnucpro.utils.telemetry import TelemetryLogger

SLOW = 0.15  # s
on_cpu = pytest.mark.skipif(not ON_CPU, reason="planted in the small form: VIRNUCPRO_BENCH_DEVICE=cpu asks for it")


def findings(document: dict, *names: str) -> list[Finding]:
    wanted = [REQUIREMENTS[name] for name in names]
    return [finding for finding in find(document["summary"], {}) if finding.requirement in wanted]


def seen(found: list[Finding], *texts: str) -> None:
    """Judged, they fail, and the message has these texts."""
    with pytest.raises(AssertionError) as raised:
        judge(found, judged=True)
    for text in texts:
        assert text in str(raised.value)


def run_of_reads(tmp_path: Path, weights: Path, count: int = 30, warmup_seconds: float = 0, **config: object) -> dict:
    telemetry = TelemetryLogger(tmp_path, "planted", warmup_seconds=warmup_seconds, warmup_batches=0)
    settings = {"buffer_size": 8, "num_workers": 0} | config
    return full_run(reads(tmp_path, count), tmp_path / "out", weights, telemetry, **settings)[1]


@pytest.fixture
def slow_loader(monkeypatch):
    plain = FrontEnd.__getitem__

    def load(self, window):
        time.sleep(SLOW)
        return plain(self, window)

    monkeypatch.setattr(FrontEnd, "__getitem__", load)


@on_cpu
def test_a_slow_loader(tmp_path, weights, slow_loader):
    document = run_of_reads(tmp_path, weights)
    wait, command = "p95 loader wait < 100 ms: FAIL", "$ python -m benchmarks.front_end INPUT"
    seen(findings(document, "loader_wait"), wait, command)


@pytest.mark.slow
@pytest.mark.gpu
def test_an_idle_gpu(tmp_path, model_weights, slow_loader):
    """The 3B model has nothing to do while the loader takes its time over every 32 reads."""
    document = run_of_reads(tmp_path, model_weights, count=1000, buffer_size=32)
    print(*findings(document, "gpu_utilization"))
    seen(findings(document, "gpu_utilization"), "GPU utilisation >= 70 %, rank 0 (cuda:0): FAIL", "buffer_size=4096")


def test_production_runs_with_what_the_sweep_recommends(monkeypatch):
    monkeypatch.delenv("VIRNUCPRO_VALIDATION_SET", raising=False)
    assert validation.parameters() == {}
    monkeypatch.setenv("VIRNUCPRO_VALIDATION_SET", "token_budget=8192 num_workers=4 checkpoint_dir=none")
    assert validation.parameters() == {"token_budget": 8192, "num_workers": 4, "checkpoint_dir": None}
    monkeypatch.setenv("VIRNUCPRO_VALIDATION_SET", "tokens=8192")
    with pytest.raises(BadRequest, match="unknown key"):
        validation.parameters()


@on_cpu
def test_packs_that_are_half_empty(tmp_path, weights):
    """602 tokens in packs of 1,000: two never fit."""
    fasta = tmp_path / "long.faa"
    fasta.write_text("".join(f">p{number}\n{'MKTAYIAKQR' * 60}\n" for number in range(4)))
    telemetry = TelemetryLogger(tmp_path, "planted", warmup_seconds=0, warmup_batches=0)
    _, document = full_run(fasta, tmp_path / "out", weights, telemetry, token_budget=1000)
    seen(
        findings(document, "packing_efficiency"),
        "packing >= 90 %, rank 0 (cpu): FAIL 60.2 %",
        "$ virnucpro predict INPUT --output-dir DIR --set buffer_size=4096",
    )


@on_cpu
def test_a_slow_model(tmp_path, weights, monkeypatch):
    """10 hours for 6 million are 6 ms a frame: 0.15 s for each eight reads are more. A CPU's hours are not judged, so
    this one passes for a GPU."""
    monkeypatch.setattr("virnucpro.reporting.requirements._on_gpu", lambda summary: True)
    plain = ModelRunner.queue

    def queue(self, *arguments):
        time.sleep(SLOW)
        return plain(self, *arguments)

    monkeypatch.setattr(ModelRunner, "queue", queue)
    found = findings(run_of_reads(tmp_path, weights), "projected_hours")
    seen(found, "by sequences: FAIL", "by tokens: FAIL", "$ virnucpro predict INPUT --output-dir DIR --parallel")


@on_cpu
def test_a_run_that_is_too_short_to_tell(tmp_path, weights):
    document = run_of_reads(tmp_path, weights, warmup_seconds=10**6)
    seen(findings(document, *JUDGED_HERE), "NOT MEASURED", "too short")


@on_cpu
def test_two_workers_that_are_no_faster_than_one(tmp_path, weights, quick_workers, monkeypatch):
    """As long as the one takes, whatever else this machine is at."""
    plain, alone = validation.full_run, []

    def full_run(*arguments, **config):
        summary, document = plain(*arguments, **config)
        alone.append(document["summary"]["seconds"])
        if len(document["summary"]["per_rank"]) > 1:
            document["summary"]["seconds"] = alone[-2]
        return summary, document

    monkeypatch.setattr(validation, "full_run", full_run)
    found = scaling(proteins(tmp_path, 40), tmp_path, weights, buffer_size=4, enable_checkpointing=False)
    check_work(found)
    assert not found["meets_target"]
    texts = "two GPUs over one >= 1.9x: FAIL", "cores are missing", "tests/benchmarks/test_scaling_v2.py"
    seen([Finding(REQUIREMENTS["scaling"], found["speedup"])], *texts)


@on_cpu
def test_one_worker_with_most_of_the_work(tmp_path, weights, quick_workers):
    """Windows of 1, 1, 2 and 8 proteins: whoever gets the last has most of it."""
    found = scaling(proteins(tmp_path, 12), tmp_path, weights, buffer_size=8)
    with pytest.raises(AssertionError, match=r"% from their mean; 10 % are allowed"):
        check_balance(found)


@on_cpu
def test_work_that_is_lost_or_not_shared(tmp_path):
    whole = {"world_size": 2, "tokens": 90, "tokens_per_rank": {"0": 40, "1": 50}}
    check_work(whole)
    for spoilt in ({"tokens": 91}, {"tokens_per_rank": {"0": 90, "1": 0}}, {"tokens_per_rank": {"0": 90}}):
        with pytest.raises(AssertionError):
            check_work(whole | spoilt)


@on_cpu
def test_a_slow_disk(tmp_path, weights, monkeypatch):
    """Without checkpoints the run takes no longer than one of these writes, whatever else this machine is at."""
    plain, plain_run = os.fsync, test_production_validation.full_run

    def full_run(*arguments, **config):
        summary, document = plain_run(*arguments, **config)
        stages = document["run_metadata"]["stage_seconds"]
        if not config.get("enable_checkpointing", True):
            stages["computing"] = min(SLOW, stages["computing"])
        return summary, document

    def fsync(file):
        time.sleep(SLOW)
        plain(file)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(test_production_validation, "full_run", full_run)
    found = checkpoint_overhead(
        reads(tmp_path, 30), tmp_path, weights, buffer_size=8, checkpoint_seq_threshold=1, num_workers=0
    )  # fmt: skip
    assert found["checkpoint_write_seconds"] > SLOW
    texts = "checkpoint overhead < 15 %: FAIL", "--set checkpoint_dir=/local/DIR"
    seen([Finding(REQUIREMENTS["checkpoint_overhead"], found["overhead_percent"])], *texts)


@on_cpu
def test_a_version_that_is_no_faster(tmp_path):
    """Both sides are this version, the candidate with a nap of a quarter of what the other side takes: however fast it
    is after that, it is no more than four times as fast, and 4.5 are required."""
    sides, nap = [], 0.0
    for side in ("baseline", "candidate"):
        folder = tmp_path / side
        folder.mkdir()
        code = f"import runpy, time; time.sleep({nap}); runpy.run_module('benchmarks.embed', run_name='__main__')"
        command = [sys.executable, "-c", code, str(proteins(folder, COUNT)), str(folder / "out")]
        command += ["--weights-dir", str(inputs.weights(WORK)), "--esm-model", WORK.esm_model]
        figures = commands.cold(WORK, command, folder / "caches", **run_from(ROOT))
        sides.append(record("v2.0", "0", "0", {"precision": "fp32"}, figures))
        nap = figures["seconds"] / 4
    baseline, candidate = sides
    comparison = compare(candidate, baseline, judged=True)
    assert comparison["verdict"] == "FAIL"
    texts = "speed-up over v1.0 >= 4.5x: FAIL", "$ VIRNUCPRO_BENCH_SEQUENCES=20000 python -m pytest"
    seen([Finding(REQUIREMENTS["speedup"], comparison["ratio"])], *texts)

    # One embedding that is another's: the two runs have the same, and then they have not.
    outputs = tmp_path / "baseline" / "out", tmp_path / "candidate" / "out"
    stem = f"proteins-{COUNT}-42"
    assert agreement(*outputs, stem)["least_cosine"] > LEAST_COSINE
    with h5py.File(outputs[1] / f"{stem}_merged" / "embeddings.h5", "r+") as file:
        file["embeddings"][3] = file["embeddings"][4]
    assert agreement(*outputs, stem)["least_cosine"] < LEAST_COSINE


@on_cpu
def test_without_git_nothing_fails_and_the_reason_is_told(tmp_path):
    environment = os.environ | {"PATH": str(tmp_path), "VIRNUCPRO_VALIDATION_DIR": str(tmp_path / "results")}
    suite = ROOT / "tests" / "benchmarks" / "test_v1_comparison.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", "-rs", "-k", "test_2 or test_3", suite],
        env=environment, cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(test_v1_comparison.NO_TAG) == 1, done.stdout
    assert done.stdout.count(test_v1_comparison.NO_V2_RESULTS) == 1, done.stdout
    assert "$ python -m benchmarks.releases; python -m benchmarks.check_speedup --machine nvidia-h100" in done.stdout
    assert done.stdout.count("SKIPPED [1]") == 2


@on_cpu
def test_a_tag_that_is_missing(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(test_v1_comparison, "V1", "v0.9")
    assert test_v1_comparison.check_v1_available(tmp_path / "base") == (False, None)
    assert "v1.0 cannot be measured: This clone has no tag v0.9" in caplog.text


@on_cpu
def test_sides_that_were_not_measured_together():
    v2 = {
        "workload": WORK.name, "num_sequences": COUNT, "commit": validation.head(), "version": "v2.0",
        "exact_version": virnucpro.__version__, "machine": validation.machine(),
    }  # fmt: skip
    v1 = v2 | {"commit": test_v1_comparison.v1_commit(), "version": "v1.0", "exact_version": "1.0.0"}
    assert differences(v2, v1) == ""
    for change, text in (
        ({"num_sequences": 7}, f"num_sequences is {COUNT} and 7"),
        ({"commit": "0000"}, f"commit is {v2['commit']} and 0000, not"),
        ({"version": "v2.0"}, "version is v2.0 and v2.0, not v2.0 and v1.0"),
        ({"exact_version": "1.0.1"}, "exact_version is"),
        ({"machine": v1["machine"] | {"date": "2026-01-01"}}, "date is"),
        ({"machine": v1["machine"] | {"torch": "2.9"}}, "torch is"),
        ({"machine": v1["machine"] | {"gpus": [{"name": "H100"}]}}, "the GPUs are [] and ['H100']"),
    ):
        assert text in differences(v2, v1 | change)
    assert "commit is 0000 and" in differences(v2 | {"commit": "0000"}, v1)


@on_cpu
def test_embeddings_of_another_scale_are_refused_which_a_cosine_passes(tmp_path):
    folders = tmp_path / "one", tmp_path / "three"
    rows_ND = np.random.default_rng(0).normal(size=(COUNT, 8)).astype(np.float32)
    for folder, scale in zip(folders, (1, 3), strict=True):
        (folder / "few_merged").mkdir(parents=True)
        with h5py.File(folder / "few_merged" / "embeddings.h5", "w") as file:
            file["ids"], file["embeddings"] = [f"p{number}" for number in range(COUNT)], scale * rows_ND
    near = agreement(*folders, "few")
    assert near["least_cosine"] > LEAST_COSINE
    with pytest.raises(AssertionError, match="largest_relative_difference"):
        test_v1_comparison.check_agreement(near)
    test_v1_comparison.check_agreement(agreement(folders[0], folders[0], "few"))


@on_cpu
def test_a_tag_that_says_otherwise_is_refused_and_no_skip(tmp_path, monkeypatch):
    def elsewhere(repo, tag):
        raise BadRelease(f"{tag}: the tag is at another commit")

    monkeypatch.setattr("benchmarks.support.worktree.tagged", elsewhere)
    with pytest.raises(BadRelease, match=r"v1\.0: the tag is at another commit"):
        test_v1_comparison.check_v1_available(tmp_path / "base")


@on_cpu
def test_the_comparison_as_it_is_printed(capsys):
    figures = {"seconds": 40.0, "gpu_memory": None, "gpu": None}
    v1 = record("v1.0", "1.0.0", "1" * 40, {"precision": "bf16"}, figures)
    settings = {"precision": "fp16", "attention": "triton", "steps": "fused"}
    v2 = record("v2.0", virnucpro.__version__, "2" * 40, settings, figures | {"seconds": 8.0})
    test_v1_comparison.show(compare(v2, v1, judged=True))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    saved = v1["projected_6M_hours"] - v2["projected_6M_hours"]
    hours = f"{v1['projected_6M_hours']:,.2f} {v2['projected_6M_hours']:,.2f} {saved:.2f} h"
    assert [lines[1], lines[3], *lines[5:13]] == [
        "v1.0 vs v2.0 Speedup Comparison",
        "Metric v1.0 (multi-worker) v2.0 (async+pack) Improvement",
        "Architecture multi_worker_padded_bf16 async_dataloader_packing_fp16",
        "Precision BF16 FP16",
        "Packing padded batches packed: triton attention, fused steps",
        "World Size 1 1",
        f"Sequences {COUNT} {COUNT}",
        "Elapsed (s) 40.00 8.00 5.00x",
        f"Seq/sec {COUNT / 40:.2f} {COUNT / 8:.2f} 5.00x",
        f"Projected 6M (hours saved) {hours}",
    ]
    assert lines[14:17] == ["Overall Speedup: 5.00x", "Target: 4.5x", "Result: PASS"]
    assert any(line.startswith("Breakdown, measured (") for line in lines)


@on_cpu
def test_a_kernel_that_is_broken_is_no_lack_of_memory(tmp_path, weights, monkeypatch):
    def broken(self, *arguments):
        raise RuntimeError("planted")

    monkeypatch.setattr(Esm2, "forward", broken)
    with pytest.raises(AssertionError, match=f"0 of {COUNT} proteins were embedded"):
        Sweep(proteins(tmp_path / "inputs", COUNT), tmp_path / "runs", weights).measure(token_budget=1024)


@on_cpu
def test_proteins_are_no_production_input(tmp_path, monkeypatch):
    monkeypatch.setenv("VIRNUCPRO_PRODUCTION_FASTA", str(proteins(tmp_path, 5)))
    with pytest.raises(AssertionError, match="which holds proteins: name a file of reads or contigs"):
        production_input(tmp_path)


@on_cpu
def test_too_little_memory(tmp_path, weights, monkeypatch):
    """Of three settings one cannot load the models and one halves its packs; the sweep goes on."""
    load, forward = ModelRunner.__init__, Esm2.forward

    def load_unless(self, recipe, *arguments):
        if recipe.token_budget == 4096:
            raise torch.OutOfMemoryError("planted")
        load(self, recipe, *arguments)

    def forward_unless(self, pack, *arguments):
        if len(pack.token_ids_T) > 1500:
            raise torch.OutOfMemoryError("planted")
        return forward(self, pack, *arguments)

    monkeypatch.setattr(ModelRunner, "__init__", load_unless)
    monkeypatch.setattr(Esm2, "forward", forward_unless)
    sweep = Sweep(proteins(tmp_path / "inputs", COUNT), tmp_path / "runs", weights)
    entries = [sweep.measure(token_budget=budget) for budget in (4096, 2048, 1200)]
    assert [entry["run_metadata"]["status"] for entry in entries] == [OUT_OF_MEMORY, OUT_OF_MEMORY, MEASURED]
    assert entries[0]["summary"] is None
    assert entries[1]["run_metadata"]["packs_halved"] > 0
    assert entries[1]["summary"]["sequences"] == entries[2]["summary"]["sequences"] == COUNT
    assert not (tmp_path / "runs").exists()
    assert speed(entries[1]) is None
    # the slower one is the baseline: what is faster is recommended, unless the baseline itself moves as much
    faster = {"run_metadata": entries[2]["run_metadata"] | {"tokens_per_second": 2 * speed(entries[2])}}
    recommended = recommendation([*entries, faster], entries[2], drift=5.0)
    assert recommended.startswith("--set token_budget=1200: 100.0 %")
    assert " VIRNUCPRO_VALIDATION_SET='token_budget=1200' python" in recommended
    assert recommendation([*entries, faster], entries[2], drift=120.0).startswith("Keep the defaults")
    assert recommendation(entries, entries[2], drift=0.0).startswith("Keep the defaults")
