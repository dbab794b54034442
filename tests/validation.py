"""Validation: what the suites in tests/benchmarks share: where they run and how much, where results go, how they judge.

On a GPU they measure the 3B model and hold it against the requirements. With VIRNUCPRO_BENCH_DEVICE=cpu they run small,
on the CPU: every line is executed and everything is checked but what only the hardware can meet.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from conftest import ON_CPU, ROOT
from held import in_step

from benchmarks import workloads
from benchmarks.support import gpu, inputs
from benchmarks.support.git import GitFailed, NoGit, git
from benchmarks.support.tables import table
from virnucpro.config.settings import Settings
from virnucpro.executors.retry_policy import RetryPolicy
from virnucpro.pipeline.run import Summary, run
from virnucpro.pipeline.runtime_config import RuntimeConfig
from virnucpro.reporting.decisions import REQUIREMENTS, branch
from virnucpro.reporting.requirements import NOT_MEASURED, Finding, unmet
from virnucpro.system.devices import visible_gpus
from virnucpro.system.files import whole_file
from virnucpro.utils.telemetry import TelemetryLogger, calculate_scaling_efficiency, capture_hardware_info

LONGER = "More sequences: VIRNUCPRO_BENCH_SEQUENCES=400000 python -m pytest -s tests/benchmarks"
WORK = inputs.WORKLOADS["cpu-small" if ON_CPU else "gpu-10k"]


def amount(on_gpu: int, on_cpu: int) -> int:
    """How many sequences to measure on; VIRNUCPRO_BENCH_SEQUENCES says otherwise."""
    asked = os.environ.get("VIRNUCPRO_BENCH_SEQUENCES")
    return int(asked) if asked else on_cpu if ON_CPU else on_gpu


def parameters() -> dict[str, object]:
    """What VIRNUCPRO_VALIDATION_SET sets, as `--set` does: "token_budget=8192 num_workers=4".

    Raises:
        BadRequest: A name or a value that `--set` does not take.
    """
    pairs = os.environ.get("VIRNUCPRO_VALIDATION_SET", "").split()
    config = RuntimeConfig.from_pairs(pairs)
    return {name: getattr(config, name) for name in (pair.partition("=")[0] for pair in pairs)}


@pytest.fixture(scope="session")
def results_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where results stay: VIRNUCPRO_VALIDATION_DIR, or .validation; of the small form a temporary folder."""
    asked = os.environ.get("VIRNUCPRO_VALIDATION_DIR")
    if ON_CPU and not asked:
        return tmp_path_factory.mktemp("validation")
    directory = Path(asked or ROOT / ".validation").absolute()
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@pytest.fixture(scope="session")
def model_weights(weights: Path) -> Path:
    """The 3B model and a full DNABERT-S, synthetic; small ones on the CPU."""
    return weights if ON_CPU else inputs.weights(WORK)


@pytest.fixture
def gpu_left_clean() -> Iterator[None]:
    """After the test no models are left in this process."""
    yield
    gpu.used(inputs.cache())
    held = let_go()
    assert held < 2**29, f"{held} bytes are still on the GPU: models of a run"  # cuBLAS keeps some tens of MiB


def let_go() -> int:
    """Collect garbage and give free GPU memory back; bytes that PyTorch still holds in this process."""
    import torch

    gc.collect()
    if not torch.cuda.is_available():
        return 0
    torch.cuda.empty_cache()
    return torch.cuda.memory_allocated()


def proteins(directory: Path, count: int, seed: int = workloads.SEED) -> Path:
    """So many proteins of the workload as FASTA; where they are proteins-10k itself, their bytes are checked."""
    if (count, seed) == (workloads.WORKLOADS["proteins-10k"].count, workloads.SEED):
        return workloads.write_workload("proteins-10k", directory)
    return _written(directory / f"proteins-{count}-{seed}.faa", workloads.proteins(count, seed))


def reads(directory: Path, count: int) -> Path:
    """So many reads of the workload as FASTA."""
    return _written(directory / f"reads-{count}.fa", workloads.reads(count))


def _written(path: Path, records: workloads.Records) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, durable=False) as file:
        file.write(workloads.fasta(records))
    return path


def full_run(
    fasta: Path, output_dir: Path, weights: Path, telemetry: TelemetryLogger, devices: int = 1, **config: object
) -> tuple[Summary, dict]:
    """The whole pipeline in this process, on so many GPUs (or CPU workers); whatever was there goes.

    Returns:
        What it came to, and what the telemetry's file holds.
    """
    shutil.rmtree(output_dir, ignore_errors=True)
    where = {"workers_per_gpu": devices} if visible_gpus() == 0 else {"gpus": tuple(range(devices))}
    summary = run(
        Settings(
            (str(fasta),), output_dir, weights_dir=weights, esm_model=WORK.esm_model, parallel=True,
            show_progress=False, runtime=RuntimeConfig(**config), **where,
        ),
        telemetry,
    )  # fmt: skip
    return summary, read_json(telemetry.path)


def scaling(fasta: Path, folder: Path, weights: Path, devices: int = 2, **config: object) -> dict:
    """What scaling.json holds: the same work on one device, and on several. The first run of a process is slower, and
    that of one device is in this process: a small one goes before it, which does not count. On the CPU, whose cores
    others may use, the devices are handed the same work, and none is judged by how fast it was."""
    warm_up(folder, weights)
    with pytest.MonkeyPatch.context() as patch:
        if ON_CPU:
            patch.setattr(RetryPolicy, "hand_out", in_step(RetryPolicy.hand_out))
        one, many = (
            full_run(fasta, folder / f"on-{count}", weights, TelemetryLogger(folder, f"on-{count}"), count, **config)[1]
            for count in (1, devices)
        )
    seconds = [document["summary"]["seconds"] for document in (one, many)]
    tokens = {rank: entry["tokens"] for rank, entry in many["summary"]["per_rank"].items()}
    mean = sum(tokens.values()) / devices
    return {
        "devices": "CPU workers" if ON_CPU else "GPUs",
        "world_size": devices,
        "seconds_one": seconds[0],
        "seconds_many": seconds[1],
        **calculate_scaling_efficiency(*seconds, devices),
        "num_sequences": many["summary"]["sequences"],
        "tokens": one["summary"]["tokens"],
        "tokens_per_rank": tokens,
        # how far the rank that is farthest from its share is off
        "imbalance_percent": 100 * max(abs(each - mean) / mean for each in tokens.values()),
        "tokens_per_second_per_rank": {
            rank: entry["tokens_per_second"] for rank, entry in many["summary"]["per_rank"].items()
        },
        "tokens_per_second_one": one["summary"]["tokens_per_second"],
        "machine": machine(),
    }


def show_scaling(found: dict) -> None:
    rows = [["one", found["tokens"], found["seconds_one"], found["tokens_per_second_one"]]]
    for rank, tokens in found["tokens_per_rank"].items():
        rows.append([f"rank {rank}", tokens, found["seconds_many"], found["tokens_per_second_per_rank"][rank]])
    print("\n" + table(rows, [found["devices"], "tokens", "s", "tokens/s"]))
    print(f"{found['speedup']:.2f} times as fast, efficiency {100 * found['efficiency']:.1f} %, "
          f"imbalance {found['imbalance_percent']:.1f} %")  # fmt: skip


def check_work(found: dict) -> None:
    """All devices did work, and together what the one did."""
    tokens = found["tokens_per_rank"]
    said = f"{tokens} of {found['tokens']} tokens on {found['world_size']} devices\n{advice('scaling')}"
    assert len([each for each in tokens.values() if each > 0]) == found["world_size"], said
    assert sum(tokens.values()) == found["tokens"], said


def warm_up(folder: Path, weights: Path) -> None:
    """A run that does not count."""
    fasta = reads(folder / "inputs", 30 if ON_CPU else 1000)
    full_run(fasta, folder / "warm-up", weights, TelemetryLogger(folder, "warm-up"))
    (folder / "telemetry_warm-up.json").unlink()


def advice(name: str) -> str:
    """A requirement's branch of the decision tree."""
    return "\n".join(branch(REQUIREMENTS[name]))


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def machine() -> dict:
    """What was measured, when, and on what: commit, date, versions, processor, GPUs with driver, temperature, clock."""
    import torch  # noqa: F401 - so that the CUDA version it was built for is known

    return {"commit": head(), "date": f"{datetime.now(timezone.utc):%Y-%m-%d}", **capture_hardware_info()}


def head() -> str:
    """The commit that is validated."""
    try:
        return git(ROOT, "rev-parse", "HEAD")
    except (GitFailed, NoGit):
        return "unknown"


def judge(findings: Iterable[Finding], judged: bool = not ON_CPU) -> None:
    """Print findings; where they are judged, all have to be measured and met, else the decision tree is printed."""
    findings = list(findings)
    print(*findings, "" if judged else "(not judged: the requirements are for GPUs)", sep="\n")
    if judged:
        assert not (text := unmet(findings)), f"\n{text}"
        missing = [str(finding) for finding in findings if finding.verdict == NOT_MEASURED]
        assert not missing, f"{missing}: the run was too short, or NVML does not answer (`virnucpro doctor`). {LONGER}"


def require_gpus(count: int) -> None:
    """Skip where there are fewer."""
    if (found := visible_gpus()) < count:
        pytest.skip(f"needs {count} GPUs, and {found} {'is' if found == 1 else 'are'} visible here")
