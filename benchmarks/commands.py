"""Commands: whole runs of `virnucpro predict`, cold, as a user types it; the same code for every commit.

`workers` is the number of worker processes per GPU: the release's own default, or one.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import gpu, history, inputs
from benchmarks.inputs import Workload
from benchmarks.measured import Measured
from benchmarks.skip import Skip

SIX_MILLION = 6_000_000  # sequences: a metagenome of the size users bring


class _Command(Measured):
    """A command on one kind of input."""

    version = "2"  # since then with an empty cache of Triton's
    kind = ""
    params = (["gpu-10k", "cpu-small"], ["default", "one"])
    param_names = ("workload", "workers")

    def setup(self, workload: str, workers: str) -> None:
        inputs.require(workload)
        if workers == "one" and workload == "cpu-small":
            raise Skip("workers are counted per GPU.")
        if workers == "one" and history.one_process_per_gpu():
            workers = "default"  # the very same command: one measurement is both
        super().setup(workload, workers)

    def measure(self, workload: str, workers: str) -> dict[str, float | None]:
        work = inputs.require(workload)
        with tempfile.TemporaryDirectory() as folder:
            output_dir = Path(folder, "out")
            figures = run(work, inputs.fasta(work, self.kind), workers, output_dir)
            return figures | {"error": self.error(work, output_dir)}

    def error(self, work: Workload, output_dir: Path) -> float:
        """The largest difference of a frame's score from the float32 reference, over a sample of the records."""
        from benchmarks.reference import frame_scores

        found = history.frame_scores(output_dir, inputs.fasta(work, self.kind).stem)
        return largest([abs(found[frame] - score) for frame, score in frame_scores(work, self.kind).items()])

    def track_wall_seconds(self, workload: str, workers: str) -> float:
        return self.figure("wall_seconds")

    def track_hours_per_6m(self, workload: str, workers: str) -> float:
        return self.figure("wall_seconds") / inputs.WORKLOADS[workload].sequences(self.kind) * SIX_MILLION / 3600

    def track_gpu_memory(self, workload: str, workers: str) -> float:
        return self.figure("gpu_memory")

    def track_host_memory(self, workload: str, workers: str) -> float:
        return self.figure("host_memory")

    def track_error(self, workload: str, workers: str) -> float:
        return self.figure("error")

    def track_start_temperature(self, workload: str, workers: str) -> float:
        return self.figure("start_temperature")

    def track_hottest(self, workload: str, workers: str) -> float:
        return self.figure("hottest")

    def track_sm_clock(self, workload: str, workers: str) -> float:
        return self.figure("sm_clock")

    track_wall_seconds.unit = "seconds"
    track_hours_per_6m.unit = "hours"
    track_gpu_memory.unit = track_host_memory.unit = "bytes"
    track_error.unit = "largest difference of a score"
    track_start_temperature.unit = track_hottest.unit = "degrees Celsius"
    track_sm_clock.unit = "MHz"


class EmbedProteins(_Command):
    """Proteins of 50 to 1,000 residues: the claim of speed is about these."""

    kind = "proteins"

    def error(self, work: Workload, output_dir: Path) -> float:
        """The largest |embedding - reference| / |reference| over a sample of the proteins; the reference is in float32.

        It sees a wrong scale, which a cosine would not; 1 - cosine is about half its square.
        """
        import numpy as np

        from benchmarks.reference import protein_embeddings

        found = history.protein_embeddings(output_dir, inputs.fasta(work, self.kind).stem)
        if len(found) != work.sequences(self.kind):
            raise RuntimeError(f"{len(found)} embeddings of {work.sequences(self.kind)} proteins.")
        return largest(
            [
                float(np.linalg.norm(found[name] - reference_D) / np.linalg.norm(reference_D))
                for name, reference_D in protein_embeddings(work).items()
            ]
        )

    def track_error(self, workload: str, workers: str) -> float:
        return self.figure("error")

    track_error.unit = "largest |error| / |reference|"


class PredictReads(_Command):
    """Reads of 100 to 500 bp."""

    kind = "reads"


class PredictContigs(_Command):
    """Contigs of 1 to 5 kb in chunks of 500 bp."""

    kind = "contigs"


def largest(errors: list[float]) -> float:
    """
    Raises:
        RuntimeError: One is not finite; max would pass over a NaN, and asv takes one for a skip.
    """
    if wrong := [error for error in errors if not math.isfinite(error)]:
        raise RuntimeError(f"{len(wrong)} of {len(errors)} errors are not finite.")
    return max(errors)


def predict(work: Workload, path: Path, output_dir: Path) -> list[str]:
    """What a user types for one GPU, or for the CPU; the same at every release."""
    command = [sys.executable, "-m", "virnucpro", "predict", str(path), "--output-dir", str(output_dir)]
    command += [
        "--weights-dir",
        str(inputs.weights(work)),
        "--esm-model",
        work.esm_model,
        "--parallel",
        "--no-progress",
    ]
    return command if work.device == "cpu" else [*command, "--gpus", "0"]


def run(work: Workload, path: Path, workers: str, output_dir: Path) -> dict[str, float | None]:
    """Run the command with the release's own number of workers, or "one"; see `cold`."""
    command = predict(work, path, output_dir)
    if workers == "one":
        command += ["--workers-per-gpu", "1"]
    return cold(work, command, output_dir.with_name("caches"))


def cold(
    work: Workload, command: list[str], caches: Path, cwd: Path | None = None, **variables: str
) -> dict[str, float | None]:
    """Run a command as for the first time on this machine: no kernel is compiled yet, no file known.

    Args:
        caches: A folder that is empty or not there yet, for Triton and for what else a program keeps between its runs;
            else the first commit measured here would work for all others. With that of a command before, it is the
            second time.
        cwd, variables: Working directory and more of the environment.
    Returns:
        Wall seconds, cold, from the start of Python to its end; host_memory: bytes, of the largest process; of the GPU,
        what `gpu.Watch` says.
    Raises:
        RuntimeError: It did not end with exit code 0.
    """
    inputs.read_through(inputs.weights(work))
    kept = {"TRITON_CACHE_DIR": str(caches / "triton"), "XDG_CACHE_HOME": str(caches.absolute())}
    environment = os.environ | kept | variables
    if work.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    with tempfile.TemporaryFile() as log, gpu.Watch() as watch:  # a file: the workers would hold a pipe open
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=cwd
        )
        try:
            _, status, used = os.wait4(process.pid, 0)  # this process' own share, whatever else was run before
        except BaseException:  # interrupted: it must not go on with the GPU
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        said = log.read().decode(errors="replace")
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{said[-4000:]}")
    print(said)
    return {
        "wall_seconds": seconds,
        "host_memory": 1024 * used.ru_maxrss,
        "gpu_memory": watch.peak_memory,
        "start_temperature": watch.start_temperature,
        "hottest": watch.hottest,
        "sm_clock": watch.sm_clock,
    }
