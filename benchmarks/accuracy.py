"""Accuracy: whether a version classifies as well as others, on records of known class and with real weights.

A small model, so that every release is judged in a minute; its errors of rounding are those of the large ones' kernels.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import history
from benchmarks.measured import Measured
from benchmarks.support import inputs, labelled


class Accuracy(Measured):
    """In the release's own precision."""

    precision = ""
    params = ["gpu-10k", "cpu-small"]  # of that machine; the records are the same, on the CPU fewer
    param_names = ["workload"]
    figures = {"auroc": "AUROC of chunks of 500 bp", "agreement": "% of chunks labelled as in float32"}

    def measure(self, workload: str) -> dict[str, Any]:
        work = inputs.require(workload)
        on_cpu = work.device == "cpu"
        with tempfile.TemporaryDirectory() as folder:
            path = labelled.write_records(Path(folder, "records.fa"), labelled.ON_CPU // 2 if on_cpu else None)
            command = [sys.executable, "-m", "virnucpro", "predict", str(path), "--output-dir", f"{folder}/out"]
            command += ["--weights-dir", str(labelled.weights()), "--esm-model", labelled.ESM_MODEL]
            command += ["--parallel", "--no-progress", *([] if on_cpu else ["--gpus", "0"])]
            command += ["--precision", self.precision] if self.precision else []
            environment = os.environ | ({"CUDA_VISIBLE_DEVICES": ""} if on_cpu else {})
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode != 0:
                raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-4000:]}")
            scores = labelled.chunk_scores(Path(folder, "out/records_merged/prediction_results_highestscore.csv"))
            records = {line[1:].split()[0] for line in path.read_text().splitlines() if line.startswith(">")}
        reference = labelled.chunk_scores(labelled.REFERENCE)
        there = {name: score for name, score in reference.items() if name.rpartition("_chunk_")[0] in records}
        return labelled.judged(scores, there)


class AccuracyInt8(Accuracy):
    """In 8 bits, which are there to be fast on a GPU."""

    precision = "int8"
    params = ["gpu-10k"]

    def setup(self, workload: str) -> None:
        history.require_precision(self.precision)
        super().setup(workload)
