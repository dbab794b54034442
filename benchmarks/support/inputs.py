"""Inputs: what a workload is measured on, made once and kept; and where a workload can run at all.

`gpu-10k` is the claim's own: 10,000 sequences, ESM-2 3B, one GPU. `cpu-small` runs the same code on a machine without a
GPU: ESM-2 8M, sized so that v1.0 takes about a minute on 2 cores. The files lie in VIRNUCPRO_BENCH_CACHE
(~/.cache/virnucpro-bench).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks import workloads
from benchmarks.support import gpu
from benchmarks.support.skip import Skip

WEIGHTS_VERSION = "1"  # of the synthetic weights: change it when their values change
CHOICE = "VIRNUCPRO_BENCH_WORKLOAD"


@dataclass(frozen=True)
class Workload:
    """A model and the files for it: `files` by kind of input, `token_budget` and `buffer_size` as the package takes."""

    name: str
    esm_model: str
    files: dict[str, str]
    device: str
    token_budget: int
    buffer_size: int
    sample: int  # of the sequences whose numbers are compared with the float32 reference

    def sequences(self, kind: str) -> int:
        """Proteins, reads, or chunks of contigs."""
        return workloads.WORKLOADS[self.files[kind]].count


KINDS = ("proteins", "reads", "contigs")
GPU_10K = Workload(
    "gpu-10k", "esm2_t36_3B_UR50D", {kind: f"{kind}-10k" for kind in KINDS}, "cuda:0",
    token_budget=16_384, buffer_size=2048, sample=64,  # 2.0.0's budget, the same for every commit
)  # fmt: skip
CPU_SMALL = Workload(
    "cpu-small", "esm2_t6_8M_UR50D", {kind: f"{kind}-small" for kind in KINDS}, "cpu",
    token_budget=2048, buffer_size=16, sample=200,  # all
)  # fmt: skip
WORKLOADS = {workload.name: workload for workload in (GPU_10K, CPU_SMALL)}


def chosen() -> str:
    """The workload that this machine measures."""
    return os.environ.get(CHOICE) or ("gpu-10k" if gpu.visible() else "cpu-small")


def of_this_machine() -> str:
    """A regular expression for asv's names of benchmarks with their parameters: those that can run here. Each of the
    others would cost a process that says so."""
    others = [*(name for name in WORKLOADS if name != chosen()), *(["'one'"] if chosen() == "cpu-small" else [])]
    return f"^(?!.*({'|'.join(others)}))"


def require(name: str) -> Workload:
    """The workload of that name.

    Raises:
        Skip: It is not for this machine: asv's way to be told of a skip.
    """
    if name != chosen():
        why = "a GPU is visible" if gpu.visible() else "no GPU is visible"
        raise Skip(f"{name} is skipped: {why}, so {chosen()} is measured. {CHOICE}={name} asks for it.")
    if WORKLOADS[name].device.startswith("cuda") and not gpu.visible():
        raise Skip(f"{name} needs a GPU, and none is visible.")
    return WORKLOADS[name]


def cache() -> Path:
    directory = Path(os.environ.get("VIRNUCPRO_BENCH_CACHE") or Path.home() / ".cache" / "virnucpro-bench")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def fasta(workload: Workload, kind: str) -> Path:
    """The input file; its bytes are checked each time."""
    return workloads.write_workload(workload.files[kind], cache() / f"inputs-v{workloads.VERSION}")


def weights(workload: Workload) -> Path:
    """The directory for --weights-dir: synthetic weights in the real shapes and formats."""
    # A process of its own: what draws them on the GPU would stay there while the command is measured.
    command = ["benchmarks.synthetic_weights", "--esm-model", workload.esm_model, "--device", workload.device]
    return made_once(f"weights-v{WEIGHTS_VERSION}-{workload.esm_model}", command)


def made_once(name: str, command: list[str]) -> Path:
    """A directory in the cache, made by a module of this repository with its arguments, and the directory as the last;
    whole or not at all."""
    directory = cache() / name
    if not directory.exists():
        unfinished = Path(tempfile.mkdtemp(dir=cache(), prefix="unfinished-"))
        words = [sys.executable, "-m", *command, str(unfinished)]
        try:
            subprocess.run(words, cwd=Path(__file__).parents[2], check=True, stdout=subprocess.DEVNULL)
            with suppress(FileExistsError):  # someone else was faster
                unfinished.rename(directory)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return directory


def fingerprint(directory: Path) -> str:
    """sha256 over the names and bytes of all files. They are read through for it, so that a command is measured with
    its weights in the page cache, whoever was measured before."""
    whole = hashlib.sha256()
    for path in sorted(each for each in directory.rglob("*") if each.is_file()):
        with open(path, "rb") as file:
            digest = hashlib.sha256()
            while block := file.read(2**24):
                digest.update(block)
        whole.update(f"{digest.hexdigest()} {path.relative_to(directory).as_posix()}\n".encode())
    return whole.hexdigest()


def facts(workload: Workload, kind: str) -> dict[str, object]:
    """Which sequences a command was measured on."""
    name = workload.files[kind]
    return {"name": name, "sha256": workloads.WORKLOADS[name].sha256, "sequences": workload.sequences(kind)}


def version(number: str, kind: str) -> str:
    """Of a benchmark: asv compares no results of two versions, so other sequences or weights are another version."""
    names = [workload.files[kind] for workload in WORKLOADS.values()]
    said = [WEIGHTS_VERSION, *(workloads.WORKLOADS[name].sha256 for name in names)]
    return f"{number}-{hashlib.sha256(' '.join(said).encode()).hexdigest()[:12]}"
