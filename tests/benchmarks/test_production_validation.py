"""A production run: the whole pipeline, from reads to verdicts, held against what is required of it.

    VIRNUCPRO_PRODUCTION_FASTA=reads.fa python -m pytest -s tests/benchmarks/test_production_validation.py

On all GPUs; without VIRNUCPRO_PRODUCTION_FASTA on synthetic reads. Writes telemetry_production.json and its report
(performance_report_production.txt and .html), checkpoint_overhead.json, and where there are two GPUs
production-scaling/scaling.json.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
from conftest import ON_CPU
from validation import (
    LONGER,
    amount,
    check_work,
    full_run,
    judge,
    machine,
    parameters,
    reads,
    require_gpus,
    scaling,
    show_scaling,
    warm_up,
)

from benchmarks.support.tables import table
from virnucpro.reading.input_files import InputFiles
from virnucpro.reading.reads import read_records
from virnucpro.reporting.decisions import REQUIREMENTS
from virnucpro.reporting.performance_report import report_on
from virnucpro.reporting.requirements import Finding, find
from virnucpro.system.devices import visible_gpus
from virnucpro.telemetry.documents import write_document
from virnucpro.utils.telemetry import TelemetryLogger

pytestmark = [pytest.mark.slow, pytest.mark.gpu(or_cpu=True)]
VARIABLE = "VIRNUCPRO_PRODUCTION_FASTA"
COUNT = amount(on_gpu=150_000, on_cpu=120)  # of synthetic reads for each GPU: three minutes of an H200, one is warm-up
PART = amount(on_gpu=40_000, on_cpu=40)  # for one GPU and two
# Left out: the larger of both.
WARMUP_SECONDS, WARMUP_BATCHES = (0.2, 3) if ON_CPU else (60.0, 20)
# On the CPU small windows, so that there are enough of them; VIRNUCPRO_VALIDATION_SET sets others.
PARAMETERS = ({"buffer_size": 8} if ON_CPU else {}) | parameters()
JUDGED_HERE = ("projected_hours", "gpu_utilization", "packing_efficiency", "loader_wait")


def production_input(results_dir: Path) -> Path:
    """The user's own reads, or synthetic ones, with a warning."""
    given = os.environ.get(VARIABLE)
    if given:
        assert Path(given).is_file(), f"{VARIABLE} is {given}, which is no file: name one, or leave it out."
        kind = InputFiles([given]).kind
        assert kind == "nucleotide", f"{VARIABLE} is {given}, which holds proteins: name a file of reads or contigs."
        return Path(given)
    count = COUNT * max(1, visible_gpus())
    warnings.warn(f"{VARIABLE} is not set: {count:,} synthetic reads stand for production.", stacklevel=1)
    return reads(results_dir / "inputs", count)


@pytest.fixture(scope="module")
def fasta(results_dir: Path) -> Path:
    (results_dir / "telemetry_production.json").unlink(missing_ok=True)  # no earlier run is to be reported
    return production_input(results_dir)


def logger(folder: Path, name: str) -> TelemetryLogger:
    return TelemetryLogger(folder, name, warmup_seconds=WARMUP_SECONDS, warmup_batches=WARMUP_BATCHES)


def show_stages(document: dict) -> None:
    stages, summary = document["run_metadata"]["stage_seconds"], document["summary"]
    whole = sum(stages.values())
    print("\n" + table([[name, s, 100 * s / whole] for name, s in stages.items()], ["stage", "s", "%"]))
    names = ("sequences_per_second", "tokens_per_second", "packing_efficiency", "mean_gpu_utilization",
             "percent_gpu_idle", "p95_loader_wait_ms", "warmup_reason")  # fmt: skip
    print(*(f"{name}: {summary[name]}" for name in names), sep="\n")


class TestProductionValidation:
    def test_throughput_subset_profiling(self, results_dir: Path, model_weights: Path, gpu_left_clean: None) -> None:
        """1,000 reads: what the time goes into. Nothing is asked of the hardware."""
        fasta, folder = reads(results_dir / "inputs", count := 30 if ON_CPU else 1000), results_dir / "profile"
        telemetry = TelemetryLogger(folder, "profile", warmup_seconds=0, warmup_batches=3)
        summary, document = full_run(fasta, folder / "out", model_weights, telemetry, **PARAMETERS)
        show_stages(document)
        assert sum(summary.fates.values()) == count
        assert document["summary"]["sequences"] == len(frames(summary.results))
        assert list(document["run_metadata"]["stage_seconds"]) == [
            "reading the input", "loading the models", "computing", "writing the results",
        ]  # fmt: skip

    def test_production_throughput_validation(
        self, results_dir: Path, fasta: Path, model_weights: Path, gpu_left_clean: None
    ) -> None:
        """For each GPU, not on average: utilisation and packing; waits for the loader; 6 million sequences in time."""
        telemetry = logger(results_dir, "production")
        devices = max(1, visible_gpus())
        summary, document = full_run(fasta, results_dir / "production", model_weights, telemetry, devices, **PARAMETERS)
        show_stages(document)
        assert not summary.failed_ranks
        assert sum(summary.fates.values()) == sum(1 for _ in read_records(str(fasta)))
        assert "failed" not in summary.fates
        assert document["summary"]["sequences"] == len(frames(summary.results))
        assert len(document["summary"]["per_rank"]) == devices
        text, page = report_on(telemetry.path)
        assert "Requirements\n" in text and page.read_text(encoding="utf-8").startswith("<!doctype html>")
        print(f"Report: {page}")
        wanted = [REQUIREMENTS[name] for name in JUDGED_HERE]
        assert document["summary"]["warmup_excluded"], f"all of the run was warm-up. {LONGER}"
        judge(finding for finding in find(document["summary"], {}) if finding.requirement in wanted)

    def test_checkpoint_overhead(self, results_dir: Path, model_weights: Path, gpu_left_clean: None) -> None:
        """Time of computing with checkpoints, as users have them, over the time without."""
        part = reads(results_dir / "inputs", 30 if ON_CPU else 20_000)
        (results_dir / "checkpoint_overhead.json").unlink(missing_ok=True)
        found = checkpoint_overhead(part, results_dir / "checkpoints", model_weights, **PARAMETERS)
        write_document(results_dir / "checkpoint_overhead.json", found)
        print(found)
        assert found["checkpoint_write_seconds"] > 0
        judge([Finding(REQUIREMENTS["checkpoint_overhead"], found["overhead_percent"])])

    def test_one_to_two_gpus(
        self, request: pytest.FixtureRequest, results_dir: Path, model_weights: Path, gpu_left_clean: None
    ) -> None:
        """Of the whole pipeline; tests/benchmarks/test_scaling_v2.py does it for proteins, on the CPU too."""
        if ON_CPU:
            request.getfixturevalue("quick_workers")
        else:
            require_gpus(2)
        part = reads(results_dir / "inputs", PART)
        found = scaling(part, results_dir / "production-scaling", model_weights, **PARAMETERS)
        write_document(results_dir / "production-scaling" / "scaling.json", found)
        show_scaling(found)
        check_work(found)
        judge([Finding(REQUIREMENTS["scaling"], found["speedup"])])


def frames(results: Path) -> list[str]:
    """Rows of prediction_results.txt, without the header."""
    return (results / "prediction_results.txt").read_text(encoding="utf-8").splitlines()[1:]


def checkpoint_overhead(fasta: Path, folder: Path, weights: Path, **config: object) -> dict:
    """What checkpoint_overhead.json holds: with checkpoints and without, after the models are loaded; and before both a
    run that does not count, for the first of a process is slower."""
    warm_up(folder, weights)
    on, off = (
        full_run(
            fasta, folder / name, weights, TelemetryLogger(folder, name), enable_checkpointing=enabled, **config
        )[1]
        for name, enabled in (("with", True), ("without", False))
    )  # fmt: skip
    seconds = [document["run_metadata"]["stage_seconds"]["computing"] for document in (on, off)]
    return {
        "seconds_with": seconds[0],
        "seconds_without": seconds[1],
        "overhead_percent": 100 * (seconds[0] / seconds[1] - 1),
        "checkpoint_write_seconds": on["summary"]["checkpoint_write_seconds"],
        "sequences": on["summary"]["sequences"],
        "machine": machine(),
    }
