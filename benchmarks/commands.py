"""Commands: whole runs of `virnucpro predict`, cold, as a user types it; the same code for every commit.

`workers` is the number of worker processes per GPU: the release's own default, or one.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks import history
from benchmarks.measured import Measured
from benchmarks.support import evidence, gpu, inputs
from benchmarks.support.inputs import Workload
from benchmarks.support.skip import Skip

LAUNCHER = Path(__file__).parent / "support" / "launcher.py"


class _Command(Measured):
    """A command on one kind of input."""

    kind = ""
    precision = ""  # the release's own
    params = (["gpu-10k", "cpu-small"], ["default", "one"])
    param_names = ("workload", "workers")
    rests = True  # v1.0's are also the other half of pairs with 8-bit ones
    figures = {
        "wall_seconds": "seconds",
        "gpu_memory": "bytes",
        "host_memory": "bytes",
        "error": "largest difference of a score",
    }

    def setup(self, workload: str, workers: str) -> None:
        inputs.require(workload)
        if workers == "one" and workload == "cpu-small":
            raise Skip("workers are counted per GPU.")
        if workers == "one" and history.one_process_per_gpu():
            raise Skip("this version has one process per GPU: its default is measured.")
        super().setup(workload, workers)

    def measure(self, workload: str, workers: str) -> dict[str, Any]:
        work = inputs.require(workload)
        with tempfile.TemporaryDirectory() as folder:
            output_dir = Path(folder, "out")
            path = inputs.fasta(work, self.kind)
            found = run(work, path, workers, output_dir, self.precision)
            manifest = json.loads(Path(output_dir, f"{path.stem}_run.json").read_text(encoding="utf-8"))
            found |= {"error": float(self.error(work, output_dir)), "output": self.output(output_dir, path.stem)}
        evidence.keep(
            f"commands.{type(self).__name__}", workload, workers,
            found | {"version": self.version, "input": inputs.facts(work, self.kind), "manifest": manifest},
        )  # fmt: skip
        return found | {"wall_seconds": found["seconds"]}

    def error(self, work: Workload, output_dir: Path) -> float:
        """The largest difference of a frame's score from the float32 reference, over a sample of the records."""
        from benchmarks.support.reference import frame_scores

        found = history.frame_scores(output_dir, inputs.fasta(work, self.kind).stem)
        return largest([abs(found[frame] - score) for frame, score in frame_scores(work, self.kind).items()])

    def output(self, output_dir: Path, stem: str) -> dict[str, Any]:
        """What all of the output comes to: records by their fate, rows, names; and whether every number is finite."""
        scores = history.frame_scores(output_dir, stem)
        return summary(output_dir, stem, list(scores), all(map(math.isfinite, scores.values())))


class EmbedProteins(_Command):
    """Proteins of 50 to 1,000 residues: the claim of speed is about these."""

    kind = "proteins"
    version = inputs.version("3", kind)
    figures = {"error": "largest |error| / |reference|"}

    def error(self, work: Workload, output_dir: Path) -> float:
        """The largest |embedding - reference| / |reference| over a sample of the proteins; the reference is in float32.

        It sees a wrong scale, which a cosine would not; 1 - cosine is about half its square.
        """
        import numpy as np

        from benchmarks.support.reference import protein_embeddings

        rows, norm = history.protein_embeddings(output_dir, inputs.fasta(work, self.kind).stem), np.linalg.norm
        expected = protein_embeddings(work).items()
        return largest([float(norm(rows[name] - reference_D) / norm(reference_D)) for name, reference_D in expected])

    def output(self, output_dir: Path, stem: str) -> dict[str, Any]:
        import numpy as np

        found = history.protein_embeddings(output_dir, stem)
        finite = all(bool(np.isfinite(row_D).all()) for row_D in found.values())
        # No two proteins of a workload are alike: a row that is there twice was not computed.
        distinct = len({row_D.tobytes() for row_D in found.values()})
        return summary(output_dir, stem, list(found), finite) | {"distinct": distinct}


class PredictReads(_Command):
    """Reads of 100 to 500 bp."""

    kind = "reads"
    version = inputs.version("3", kind)


class PredictContigs(_Command):
    """Contigs of 1 to 5 kb in chunks of 500 bp."""

    kind = "contigs"
    version = inputs.version("3", kind)


class _Int8(_Command):
    """The same command with `--precision int8`, of the same version: it is compared with v1.0's run of the other.

    Only on a GPU: on the CPU 8-bit products are there to be checked, and are slower than any.
    """

    precision = "int8"
    params = (["gpu-10k"], ["default"])

    def setup(self, workload: str, workers: str) -> None:
        history.require_precision(self.precision)
        super().setup(workload, workers)


class EmbedProteinsInt8(_Int8, EmbedProteins):
    """Proteins of 50 to 1,000 residues, in 8 bits."""


class PredictReadsInt8(_Int8, PredictReads):
    """Reads of 100 to 500 bp, in 8 bits."""


class PredictContigsInt8(_Int8, PredictContigs):
    """Contigs of 1 to 5 kb in chunks of 500 bp, in 8 bits."""


def summary(output_dir: Path, stem: str, names: list[str], finite: bool) -> dict[str, Any]:
    """Of a whole output: `records` and `frames` as sequences.tsv counts them, records by fate; rows with a number, and
    the sha256 of their names in order of the alphabet."""
    with open(output_dir / f"{stem}_merged" / "sequences.tsv", encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file, delimiter="\t"))
    return {
        "records": len(records),
        "frames": sum(int(record["Frames"]) for record in records),
        "fates": dict(Counter(record["Fate"] for record in records)),
        "rows": len(names),
        "names_sha256": hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest(),
        "finite": finite,
    }


def largest(errors: list[float]) -> float:
    """
    Raises:
        RuntimeError: One is not finite; max would pass over a NaN, and asv takes one for a skip.
    """
    if wrong := [error for error in errors if not math.isfinite(error)]:
        raise RuntimeError(f"{len(wrong)} of {len(errors)} errors are not finite.")
    return max(errors)


def predict(work: Workload, path: Path, output_dir: Path, precision: str = "") -> list[str]:
    """What a user types for one GPU, or for the CPU; the same at every release but for a precision that is named."""
    command = [sys.executable, "-m", "virnucpro", "predict", str(path), "--output-dir", str(output_dir)]
    command += ["--weights-dir", str(inputs.weights(work)), "--esm-model", work.esm_model]
    command += ["--parallel", "--no-progress"]
    command += [] if work.device == "cpu" else ["--gpus", "0"]
    return [*command, "--precision", precision] if precision else command


def run(work: Workload, path: Path, workers: str, output_dir: Path, precision: str = "") -> dict[str, Any]:
    """Run the command with the release's own number of workers, or "one", in its own precision or another; `cold`."""
    command = predict(work, path, output_dir, precision)
    if workers == "one":
        command += ["--workers-per-gpu", "1"]
    return cold(work, command, output_dir.with_name("caches"))


def cold(work: Workload, command: list[str], caches: Path, cwd: Path | None = None, **variables: str) -> dict[str, Any]:
    """Run a command as for the first time on this machine: no kernel is compiled yet, no file known.

    Args:
        caches: A folder that is empty or not there yet, for Triton and for what else a program keeps between its runs;
            else the first commit measured here would work for all others. With that of a command before, it is the
            second time.
        cwd, variables: Working directory and more of the environment.
    Returns:
        Wall `seconds`, cold, from the start of Python to its end; `begun` and `ended`, seconds since 1970;
        `host_memory`: bytes, of the command's largest process; `gpu_memory` and `gpu`: what `gpu.Watch` says; `load`
        of the machine before; the `command`; `weights`: their fingerprint.
    Raises:
        RuntimeError: It did not end with exit code 0.
    """
    fingerprint = inputs.fingerprint(inputs.weights(work))  # reads them all: they lie in the page cache then
    kept = {"TRITON_CACHE_DIR": str(caches / "triton"), "XDG_CACHE_HOME": str(caches.absolute())}
    plain = {name: value for name, value in os.environ.items() if not name.startswith("VIRNUCPRO_")}
    environment = plain | kept | variables
    if work.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    load = os.getloadavg()[0]
    with tempfile.TemporaryFile() as log, gpu.Watch() as watch:  # a file: the workers would hold a pipe open
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(LAUNCHER), *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=log, env=environment, cwd=cwd, start_new_session=True, text=True,
        )  # fmt: skip
        try:
            took = json.loads(process.communicate()[0])
        except BaseException:  # interrupted: it must not go on with the GPU
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        log.seek(0)
        said = log.read().decode(errors="replace")
    if took["exit_code"] != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {took['exit_code']}:\n{said[-4000:]}")
    print(said)
    state = watch.facts() if work.device != "cpu" else None
    return took | {
        "command": ["python", *command[1:]],
        "weights": {"version": inputs.WEIGHTS_VERSION, "sha256": fingerprint},
        "gpu_memory": watch.peak_memory,
        "gpu": state,
        "load": load,
    }
