"""Labelled set: chooses the records and fits the classifier that `labelled` has; once, for a set that changes makes
figures of releases that cannot be compared."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import safetensors.torch

from benchmarks.support import labelled
from benchmarks.support.output import whole_file
from benchmarks.support.trials import Trials
from virnucpro.output.fasta_files import wrapped
from virnucpro.reading.reads import read_records
from virnucpro.training.fit import fit
from virnucpro.training.recipes import RECIPES

OF_EACH = 500  # records of either class


def write(folder: Path, training: Path) -> None:
    """Write all files of `labelled.DATA` but its notice.

    Args:
        folder: With viral.fa and others.fa. training: What `virnucpro train` left of them, features included.
    """
    labelled.DATA.mkdir(parents=True, exist_ok=True)
    trials = Trials.of(training)
    features_SF = trials.joined("esm2")
    train, validation = (trials.frames(features_SF, part) for part in ("train", "validation"))
    model = fit(train, validation, RECIPES["default"], seed=0).model
    labelled.CLASSIFIER.write_bytes(safetensors.torch.save(model.state_dict(), {"format": "pt"}))
    with open(training / "split.tsv", encoding="utf-8", newline="") as file:
        tested = {row["Record"] for row in csv.DictReader(file, delimiter="\t") if row["Part"] == "test"}
    with whole_file(labelled.RECORDS) as file:
        for kind in ("viral", "others"):
            reads = [read for read in read_records(str(folder / f"{kind}.fa")) if read.name in tested]
            for read in sorted(reads, key=lambda read: hashlib.sha256(read.name.encode()).digest())[:OF_EACH]:
                file.write(f">{read.name}\n{wrapped(read.sequence)}")
    write_reference()


def write_reference() -> None:
    """Write what the records come to in float32, each sequence by itself."""
    with tempfile.TemporaryDirectory() as place:
        labelled.write_weights(Path(place))
        command = [sys.executable, "-m", "virnucpro", "predict", str(labelled.RECORDS), "--output-dir", f"{place}/out"]
        command += ["--weights-dir", place, "--esm-model", labelled.ESM_MODEL, "--precision", "fp32"]
        subprocess.run([*command, "--deterministic", "--no-progress"], check=True)
        table = Path(place, "out", "records_merged", "prediction_results_highestscore.csv").read_text(encoding="utf-8")
    with whole_file(labelled.REFERENCE) as file:
        for line in table.splitlines():
            name, _, *scores = line.split("\t")
            file.write("\t".join([name, *scores]) + "\n")
