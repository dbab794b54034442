"""v2.0 against v1.0: both run here, cold, on the same proteins; v2.0 first, then the GPU rests, then v1.0.

    python -m pytest -s tests/benchmarks/test_v1_comparison.py

Needs the tag v1.0 (`python -m benchmarks.releases` makes it). Writes v2_results.json, v1_results.json and
speedup_comparison.json, the last in the format of `benchmarks.check_speedup`.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

if (folder := str(Path(__file__).parent.parent)) not in sys.path:
    sys.path.append(folder)  # so that this can be imported from the repository's root, too

from conftest import ON_CPU, ROOT
from validation import WORK, advice, amount, head, judge, machine, proteins, read_json

import virnucpro
from benchmarks import commands, history
from benchmarks.releases import commit_of, read_releases
from benchmarks.support import gpu, inputs, worktree
from benchmarks.support.git import GitFailed, NoGit, git
from benchmarks.support.results import BadResults, Results
from benchmarks.support.tables import ABLATION, SIX_MILLION, WATERFALL, breakdown, table
from virnucpro.pipeline.multi_gpu_inference import run_multi_gpu_inference
from virnucpro.reporting.decisions import REQUIREMENTS
from virnucpro.reporting.requirements import Finding
from virnucpro.telemetry.documents import write_document

pytestmark = [pytest.mark.slow, pytest.mark.gpu(or_cpu=True)]
log = logging.getLogger(__name__)
V1, V1_VERSION = "v1.0", "1.0.0"
COUNT = amount(on_gpu=10_000, on_cpu=24)
LEAST_COSINE = 0.999
# Of an embedding, by its length: BF16, with 8 significant bits, errs by 6e-3 in v1.0. A wrong scale passes a cosine.
MOST_RELATIVE_DIFFERENCE = 1e-4 if ON_CPU else 0.02
NO_TAG = "v1.0 git tag not found -- cannot run v1.0 baseline comparison. Tag 'v1.0' must exist in the repository."
NO_V1_RESULTS = (
    "v1.0 results unavailable -- v1.0 tag likely missing from repository. Cannot compute speedup comparison."
)
NO_V2_RESULTS = "v2.0 results missing -- test_1_v2_throughput must run first."
SIDES = {  # of the table: version and architecture
    "v1.0": ("v1.0", "multi_worker_padded_bf16", "v1.0 (multi-worker)"),
    "v2.0": ("v2.0", "async_dataloader_packing_fp16", "v2.0 (async+pack)"),
}
WORKTREES = ROOT / ".validation" / "worktrees"  # one place whatever is measured: what a killed run left is found there
AGAIN = "python -m pytest -s tests/benchmarks/test_v1_comparison.py"
MEMORY_SLACK = 2**26  # bytes of GPU memory that a driver may hold more or less of


def check_v1_available(worktree_base: Path) -> tuple[bool, Path | None]:
    """Whether v1.0 can be run here, and where its code is: in the git worktree `v1_worktree` in that folder.

    Raises:
        benchmarks.releases.BadRelease: This clone calls another commit v1.0.
    """
    try:
        return True, worktree.add(worktree_base, V1, name="v1_worktree")
    except (worktree.Busy, GitFailed, NoGit, OSError) as error:
        log.warning("v1.0 cannot be measured: %s", error)
        return False, None


def cleanup_v1_worktree(worktree_path: Path) -> None:
    """Remove what `check_v1_available` made."""
    worktree.remove(worktree_path)


def generate_comparison_workload(output_dir: Path, num_sequences: int = 10000, seed: int = 42) -> Path:
    """The proteins of the claim as FASTA; other numbers and seeds give others of the same kind."""
    return proteins(output_dir, num_sequences, seed)


def run_from(code: Path) -> dict[str, object]:
    """Options for `commands.cold` that have Python find the package in that folder."""
    path = os.pathsep.join([str(code), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"cwd": code, "PYTHONPATH": path}


def package_in(code: Path) -> Path:
    """Where a Python that is started so finds it."""
    options = run_from(code)
    command = [sys.executable, "-c", "import virnucpro; print(virnucpro.__file__)"]
    environment = os.environ | {"PYTHONPATH": options["PYTHONPATH"]}
    done = subprocess.run(command, cwd=code, env=environment, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip()).parent


def record(tag: str, version: str, commit: str, settings: dict, figures: dict) -> dict:
    """What v1_results.json and v2_results.json hold.

    Args:
        tag: The release that the side stands for; version, commit: what exactly ran; settings: as its run has them.
    """
    seconds, gpu_state = figures["seconds"], figures["gpu"] or {}
    release = next((release for release in read_releases() if release.tag == tag), None)
    how = f": {settings['attention']} attention, {settings['steps']} steps" if "steps" in settings else ""
    return {
        "version": SIDES[tag][0],
        "exact_version": version,
        "commit": commit,
        "architecture": SIDES[tag][1],
        "in_words": release.architecture if release else "",
        "precision": settings["precision"].upper(),
        "packing": f"{release.packing.split(',')[0] if release else ''}{how}",
        "workload": WORK.name,
        "num_sequences": COUNT,
        "world_size": 1,
        "elapsed_sec": seconds,
        "sequences_per_sec": COUNT / seconds,
        "projected_6M_hours": SIX_MILLION / COUNT * seconds / 3600,
        "gpu_memory": figures["gpu_memory"],
        **{name: gpu_state.get(name) for name in ("start_temperature", "hottest", "sm_clock")},
        "machine": machine(),
    }


def show_side(found: dict) -> None:
    """What tests 1 and 2 print."""
    print(
        f"\n{found['version']} ({found['exact_version']}, {found['commit'][:8]}), {found['precision']}: "
        f"{found['num_sequences']:,} sequences in {found['elapsed_sec']:.2f} s, "
        f"{found['sequences_per_sec']:.2f} a second; 6 M in {found['projected_6M_hours']:.2f} h"
    )


def measured_steps() -> dict:
    """What each step from v1.0's way to v2.0's is worth, as the committed results of a GPU have it."""
    try:
        results, commit = Results.load(ROOT / "results"), commit_of(ROOT, "v2.0")
    except (GitFailed, NoGit, BadResults):
        return {"breakdown": [], "breakdown_from": "the committed results are not at hand"}
    for name in results.machines():
        side = results.of(name, commit)
        if side and side.value(ABLATION, "gpu-10k", WATERFALL[0]).sound:
            return {"breakdown": breakdown(side, "gpu-10k"), "breakdown_from": f"{name}, {commit[:8]}, committed"}
    return {"breakdown": [], "breakdown_from": "no committed result has it"}


def agreement(one: Path, other: Path, stem: str) -> dict:
    """How near the embeddings of two runs are to each other."""
    found, expected = (history.protein_embeddings(output, stem) for output in (one, other))
    assert found.keys() == expected.keys()
    assert len(found) == COUNT
    a_SD, b_SD = (np.stack([rows[name] for name in found]).astype(np.float64) for rows in (found, expected))
    lengths_S = np.linalg.norm(a_SD, axis=1), np.linalg.norm(b_SD, axis=1)
    cosine_S = (a_SD * b_SD).sum(axis=1) / (lengths_S[0] * lengths_S[1])
    return {
        "compared": len(found),
        "least_cosine": float(cosine_S.min()),
        "largest_relative_difference": float((np.linalg.norm(a_SD - b_SD, axis=1) / lengths_S[1]).max()),
    }


def compare(v2: dict, v1: dict, judged: bool) -> dict:
    """What speedup_comparison.json holds, less the embeddings."""
    finding = Finding(REQUIREMENTS["speedup"], v1["elapsed_sec"] / v2["elapsed_sec"])
    saved = v1["projected_6M_hours"] - v2["projected_6M_hours"]
    return {
        "verdict": finding.verdict if judged else "NOT JUDGED",
        "ratio": finding.value,
        "target": finding.requirement.bound,
        "workload": v2["workload"],
        "baseline": v1,
        "candidate": v2 | {"hours_saved": saved},
        **measured_steps(),
    }


def differences(v2: dict, v1: dict) -> str:
    """Why what two calls left cannot be compared; empty if it can."""
    wanted = {
        "workload": [WORK.name] * 2,
        "num_sequences": [COUNT] * 2,
        "commit": [head(), v1_commit()],
        "version": [SIDES["v2.0"][0], SIDES["v1.0"][0]],
        "exact_version": [virnucpro.__version__, V1_VERSION],
    }
    found = {name: [v2[name], v1[name]] for name in wanted}
    today = machine()["date"]
    found["date"], wanted["date"] = [v2["machine"]["date"], v1["machine"]["date"]], [today] * 2
    wrong = [
        f"{name} is {' and '.join(map(str, found[name]))}, not {' and '.join(dict.fromkeys(map(str, wanted[name])))}"
        for name in wanted
        if found[name] != wanted[name]
    ]
    for name in ("platform", "python", "cpu_model", "torch", "driver_cuda"):
        if v2["machine"][name] != v1["machine"][name]:
            wrong.append(f"{name} is {v2['machine'][name]} and {v1['machine'][name]}")
    gpus = [[gpu["name"] for gpu in side["machine"]["gpus"]] for side in (v2, v1)]
    if gpus[0] != gpus[1]:
        wrong.append(f"the GPUs are {gpus[0]} and {gpus[1]}")
    return "; ".join(wrong)


def v1_commit() -> str:
    try:
        return commit_of(ROOT, V1)
    except (GitFailed, NoGit):
        return "unknown"


def show(comparison: dict) -> None:
    """The table of both versions, and what each step between them is worth, as it was measured."""
    before, after = comparison["baseline"], comparison["candidate"]
    ratio, saved = comparison["ratio"], after["hours_saved"]
    rows = [
        ["Architecture", before["architecture"], after["architecture"], ""],
        ["Precision", before["precision"], after["precision"], ""],
        ["Packing", before["packing"], after["packing"], ""],
        ["World Size", before["world_size"], after["world_size"], ""],
        ["Sequences", before["num_sequences"], after["num_sequences"], ""],
        ["Elapsed (s)", before["elapsed_sec"], after["elapsed_sec"], f"{ratio:.2f}x"],
        ["Seq/sec", before["sequences_per_sec"], after["sequences_per_sec"], f"{ratio:.2f}x"],
        ["Projected 6M (hours saved)", before["projected_6M_hours"], after["projected_6M_hours"], f"{saved:.2f} h"],
    ]
    print("\nv1.0 vs v2.0 Speedup Comparison\n")
    print(table(rows, ["Metric", SIDES["v1.0"][2], SIDES["v2.0"][2], "Improvement"]))
    print(f"Overall Speedup: {ratio:.2f}x\nTarget: {comparison['target']}x\nResult: {comparison['verdict']}")
    print(f"\nBreakdown, measured ({comparison['breakdown_from']}):\n")
    print(table(comparison["breakdown"], ["step by step", "s per 10K", "s less"]))


@pytest.fixture(scope="class")
def v1_code(results_dir: Path) -> Iterator[Path]:
    """v1.0's code, in a worktree that goes again."""
    (results_dir / "v1_results.json").unlink(missing_ok=True)  # what is not measured now is not compared with
    available, path = check_v1_available(WORKTREES)
    if not available:
        print(advice("speedup"))
        pytest.skip(NO_TAG)
    yield path
    cleanup_v1_worktree(path)


@pytest.fixture(scope="class")
def fasta(results_dir: Path) -> Path:
    return generate_comparison_workload(results_dir / "inputs", COUNT)


def fresh(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


class TestV1Comparison:
    """In this order. A side that is measured alone is compared with what the other left earlier."""

    def test_1_v2_throughput(self, results_dir: Path, fasta: Path) -> None:
        """`run_multi_gpu_inference`, with enable_fp16=True on a GPU, in a process of its own (benchmarks/embed.py)."""
        (results_dir / "v2_results.json").unlink(missing_ok=True)
        folder = fresh(results_dir / "v2")
        command = [sys.executable, "-m", "benchmarks.embed", str(fasta), str(folder / "out")]
        command += ["--weights-dir", str(inputs.weights(WORK)), "--esm-model", WORK.esm_model]
        command += [] if ON_CPU else ["--fp16"]  # which no CPU computes in
        gpu.cool_down(inputs.cache())
        free = gpu.memory_used()  # now that the weights are made, for which this process may have used the GPU
        figures = commands.cold(WORK, command, folder / "caches", **run_from(ROOT))
        gpu.used(inputs.cache())
        run = read_json(folder / "out" / f"{fasta.stem}_run.json")
        assert run["virnucpro"] == virnucpro.__version__ != V1_VERSION
        telemetry = read_json(folder / "out" / f"telemetry_{fasta.stem}.json")
        assert telemetry["summary"]["sequences"] == COUNT
        assert len(telemetry["summary"]["per_rank"]) == 1
        assert run_multi_gpu_inference.__module__ == "virnucpro.pipeline.multi_gpu_inference"  # the one that ran
        found = record("v2.0", virnucpro.__version__, head(), run["settings"], figures)
        write_document(results_dir / "v2_results.json", found | {"gpu_memory_before": free})
        show_side(found)

    def test_2_v1_throughput(self, results_dir: Path, fasta: Path, v1_code: Path) -> None:
        assert package_in(v1_code) == v1_code / "virnucpro"
        wait_for_memory(results_dir)
        gpu.cool_down(inputs.cache())
        folder = fresh(results_dir / "v1")
        command = commands.predict(WORK, fasta, folder / "out")
        figures = commands.cold(WORK, command, folder / "caches", **run_from(v1_code))
        gpu.used(inputs.cache())
        # What the run itself left says whose code it was.
        run = read_json(folder / "out" / f"{fasta.stem}_run.json")
        assert run["virnucpro"] == V1_VERSION
        assert list((folder / "out" / f"{fasta.stem}_features").glob("*.pt"))
        assert not list(folder.rglob("embeddings.h5"))
        commit = git(v1_code, "rev-parse", "HEAD")
        found = record(V1, V1_VERSION, commit, run["settings"], figures)
        write_document(results_dir / "v1_results.json", found)
        show_side(found)

    def test_3_speedup_comparison(self, results_dir: Path, fasta: Path) -> None:
        (results_dir / "speedup_comparison.json").unlink(missing_ok=True)
        v2, v1 = (results_dir / f"{side}_results.json" for side in ("v2", "v1"))
        for path, why in ((v2, NO_V2_RESULTS), (v1, NO_V1_RESULTS)):
            if not path.exists():
                print(advice("speedup"))
                pytest.skip(why)
        v2, v1 = read_json(v2), read_json(v1)
        if unlike := differences(v2, v1):
            pytest.skip(f"unable to validate: {unlike}. Measure both now: {AGAIN}")
        comparison = compare(v2, v1, judged=not ON_CPU)
        near = agreement(results_dir / "v2" / "out", results_dir / "v1" / "out", fasta.stem)
        write_document(results_dir / "speedup_comparison.json", comparison | {"embeddings": near})
        show(comparison)
        print("Embeddings of both versions:", near)
        check_agreement(near)
        judge([Finding(REQUIREMENTS["speedup"], comparison["ratio"])])


def check_agreement(near: dict) -> None:
    """Both versions embed alike: in direction, and in length, which a cosine does not see."""
    hint = "which kernel differs: python -m pytest tests/test_gpu.py tests/test_attention_triton.py"
    assert near["least_cosine"] > LEAST_COSINE, f"{near}: {hint}"
    assert near["largest_relative_difference"] < MOST_RELATIVE_DIFFERENCE, f"{near}: {hint}"


def wait_for_memory(results_dir: Path, seconds: float = 60) -> None:
    """Until the GPU holds no more than before v2.0 ran."""
    before = results_dir / "v2_results.json"
    free = read_json(before)["gpu_memory_before"] if before.exists() else None
    deadline = time.monotonic() + seconds
    while free is not None and (used := gpu.memory_used()) > free + MEMORY_SLACK:
        assert time.monotonic() < deadline, (
            f"{used - free} bytes of GPU memory are held {seconds} s after v2.0: see nvidia-smi"
        )
        time.sleep(0.5)
