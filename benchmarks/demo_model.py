"""Demo model: trains the classifier that comes with the package, and tells what its figures owe to what.

    python -m benchmarks.demo_model FOLDER --package metaphlan2-data_2.6.0+ds-4_all.deb

needs no GPU: 12,000 pieces of genes take some ten minutes of one core. docs/accuracy.md says what comes out, and why.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.support import output

NAME, LICENCE, SEEDS = "demo", "MIT", 3
FEATURES = "kmer4+esm2"
NOTE = (
    "a small model to try the program with, trained on genes of viruses, bacteria, archaea, fungi and protists: good "
    "for phages among bacteria and for viruses among protists, unsure of plasmids and archaea, blind to animals and "
    "plants, which it never saw."
)
RANDOM_SEEDS = 5


def command(folder: Path, given: argparse.Namespace, name: str, weights: Sequence[str]) -> list[str]:
    """`virnucpro train` on the records in a folder."""
    words = ["train", folder / "viral.fa", "--others", folder / "others.fa", "--sources", folder / "sources.tsv"]
    words += ["-o", folder / f"{name}.safetensors", "--features", FEATURES, "--chunk-size", given.chunk_size, *weights]
    words += ["--licence", LICENCE, "--note", NOTE, "--save-embeddings", "--no-progress"]
    return [sys.executable, "-m", "virnucpro", *map(str, words)]


def train(folder: Path, given: argparse.Namespace, name: str, weights: Sequence[str]) -> dict[str, Any]:
    """Train, unless that was done; return the command and the processor's seconds."""
    record = folder / f"{name}_training" / "cost.json"
    if not record.exists():
        words, begun = command(folder, given, name, weights), time.perf_counter()
        if (folder / f"{name}_run.json").exists():
            words.append("--resume")
        subprocess.run(words, check=True)
        seconds = {"wall_seconds": time.perf_counter() - begun}
        telemetry = json.loads((folder / f"{name}_run.json").read_text(encoding="utf-8"))["sessions"][-1]
        with output.whole_file(record) as file:
            json.dump(seconds | {"stage_seconds": telemetry["stage_seconds"]}, file, indent=2)
    return dict(json.loads(record.read_text(encoding="utf-8")))


def figures(folder: Path, name: str) -> dict[str, Any]:
    """What classifiers of other features, recipes and seeds come to on the same frames."""
    from benchmarks.support import trials as tried

    trials = tried.Trials.of(folder / f"{name}_training")
    score_of: dict[str, Any] = {}
    rows: dict[str, Any] = {}
    plain: dict[str, tuple[str, Callable[[], Any]]] = {
        "4-mers + ESM-2, MLP": ("kmer4+esm2", lambda: tried.mlp(trials, "kmer4+esm2")),
        "ESM-2, MLP": ("esm2", lambda: tried.mlp(trials, "esm2")),
        "ESM-2, MLP as published": ("esm2", lambda: tried.mlp(trials, "esm2", recipe="published")),
        "ESM-2, logistic regression": ("esm2", lambda: tried.logistic(trials, "esm2")),
        "4-mers, MLP": ("kmer4", lambda: tried.mlp(trials, "kmer4")),
        "4-mers, logistic regression": ("kmer4", lambda: tried.logistic(trials, "kmer4")),
    }
    for row, (_, scored) in plain.items():
        score_of[row] = scored()
        rows[row] = tried.judged(trials, score_of[row])
    for names in ("kmer4+esm2", "esm2"):
        seeds = [tried.judged(trials, tried.mlp(trials, names, seed)) for seed in range(1, SEEDS)]
        rows[f"other seeds, {names}"] = [each["chunks"]["auroc"]["value"] for each in seeds]
    return {
        "rows": rows,
        "differences": {
            "ESM-2 over 4-mers, MLP": tried.difference(trials, score_of["ESM-2, MLP"], score_of["4-mers, MLP"]),
            "4-mers added to ESM-2": tried.difference(trials, score_of["4-mers + ESM-2, MLP"], score_of["ESM-2, MLP"]),
            "both over 4-mers, MLP": tried.difference(trials, score_of["4-mers + ESM-2, MLP"], score_of["4-mers, MLP"]),
        },
        "permuted": tried.permuted(trials, "esm2"),
        "frame_auroc_by_frames": tried.by_frames(trials, "esm2"),
        "frame_auroc_by_sources": rows["ESM-2, MLP"]["frame_auroc"],
    }


def random_weights(folder: Path, name: str) -> dict[str, Any]:
    """The same with random weights in the same shape: what composition alone is worth."""
    from benchmarks.support import trials as tried

    trials = tried.Trials.of(folder / f"{name}_training")
    each = [tried.judged(trials, tried.mlp(trials, "esm2", seed)) for seed in range(RANDOM_SEEDS)]
    return {
        "chunk_auroc": tried.spread([one["chunks"]["auroc"]["value"] for one in each]),
        "frame_auroc": tried.spread([one["frame_auroc"] for one in each]),
    }


def baselines(folder: Path) -> dict[str, Any]:
    """Simple predictors, trained on the DNA of the training sources and judged on that of the test."""
    import numpy as np

    from benchmarks.support import markers
    from virnucpro.evaluation.baselines import BASELINES
    from virnucpro.evaluation.metrics import metrics
    from virnucpro.evaluation.records_table import read_records_table
    from virnucpro.evaluation.units import Units
    from virnucpro.reading.reads import read_records

    entries = read_records_table(folder / "sources.tsv", "--sources", "source")
    reads = [(read, virus) for virus, kind in ((True, "viral"), (False, "others"))
             for read in read_records(str(folder / f"{kind}.fa"))]  # fmt: skip
    split = {test: [(read, virus) for read, virus in reads if markers.left_out(entries[read.name].source) == test]
             for test in (False, True)}  # fmt: skip
    dna = {test: [read.sequence.upper() for read, _ in rows] for test, rows in split.items()}
    virus_N = {test: np.array([virus for _, virus in rows]) for test, rows in split.items()}
    names = [read.name for read, _ in split[True]]
    rows = {}
    for baseline, scored in BASELINES.items():
        units = Units(
            "chunk", names, virus_N[True], scored(dna[False], virus_N[False], dna[True]), ["virus"] * len(names),
            [entries[name].source for name in names], [entries[name].group for name in names],
            np.array(list(map(len, dna[True])), np.int64),
        )  # fmt: skip
        rows[baseline] = metrics(units)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="for data and what is made of them; some 1 GB")
    parser.add_argument("--package", type=Path, required=True, help="metaphlan2-data's .deb: apt-get download it")
    parser.add_argument("--esm-model", default="virnucpro_t6_8M", help="what gives features of proteins")
    parser.add_argument("--weights-dir", type=Path, help="with its weights, if it does not come with the package")
    parser.add_argument("--random-weights", type=Path, help="a directory with random ones, of esm2_t6_8M_UR50D's shape")
    parser.add_argument("--chunk-size", type=int, default=500, help="bp  [default: 500]")
    parser.add_argument("--train", type=int, default=9000, help="records of sources that train  [default: 9000]")
    parser.add_argument("--test", type=int, default=3000, help="records of sources that are left out  [default: 3000]")
    parser.add_argument("--output", type=Path, help="JSON for the figures  [default: FOLDER/figures.json]")
    given = parser.parse_args(argv)
    from benchmarks.support import markers
    from benchmarks.support.evidence import without_places
    from virnucpro.models.classifier_card import read_card

    folder = given.folder
    if not (folder / "sources.tsv").exists():
        markers.prepare(given.package, folder, given.chunk_size, given.train, given.test)
    directory = ["--weights-dir", str(given.weights_dir)] if given.weights_dir else []
    document: dict[str, Any] = {
        "command": shlex.join(
            ["python", "-m", "benchmarks.demo_model", *without_places(list(sys.argv[1:] if argv is None else argv))]
        ),
        "machine": {"processor": platform.processor() or platform.machine(), "python": platform.python_version()},
        "versions": {name: version(name) for name in ("torch", "numpy", "scikit-learn")},
        "data": {"package": markers.PACKAGE, "sha256": markers.SHA256, "chunk_size": given.chunk_size},
        "esm_model": given.esm_model,
        "cost": train(folder, given, NAME, ["--esm-model", given.esm_model, *directory]),
        "baselines": baselines(folder),
        **figures(folder, NAME),
    }
    judged = json.loads((folder / f"{NAME}_training" / "metrics.json").read_text(encoding="utf-8"))
    for name, level in judged["levels"].items():
        for part in ("thresholds", *(() if name == "chunk" else ("curves", "reliability"))):
            level.pop(part)
    document["demo"] = judged
    document["computed_on"] = read_card(folder / f"{NAME}.safetensors").document["computed_on"]
    if given.random_weights is not None:
        other = ["--esm-model", "esm2_t6_8M_UR50D", "--weights-dir", str(given.random_weights)]
        train(folder, given, "random", other)
        document["random_weights"] = random_weights(folder, "random")
    with output.whole_file(given.output or folder / "figures.json") as file:
        json.dump(document, file, indent=2)
        file.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
