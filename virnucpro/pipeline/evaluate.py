"""One evaluation: what a run said, beside what its records are, becomes figures and a page."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from virnucpro.errors import BadInput, BadRequest
from virnucpro.evaluation import page
from virnucpro.evaluation.records_table import CLASSES, Entry
from virnucpro.evaluation.run_results import Label, read_results
from virnucpro.evaluation.units import Units
from virnucpro.reading.chunks import chunks
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.survey import opened
from virnucpro.reporting.progress import counting
from virnucpro.system.files import whole_file

log = logging.getLogger(__name__)
Dna = dict[str, str]  # of chunks, by name


@dataclass(frozen=True)
class FinishedRun:
    """A run, as its directory tells."""

    root: Path
    stem: str
    manifest: dict[str, Any]

    @property
    def results(self) -> Path:
        return self.root / f"{self.stem}_merged"

    @property
    def chunk_size(self) -> int:
        """bp; 0 of proteins."""
        return int(self.manifest["settings"].get("chunk_size") or 0)


def finished_run(place: Path) -> FinishedRun:
    """Find the run in a directory.

    Args:
        place: A run's output directory, or where it holds several, the manifest of one.
    Raises:
        BadRequest: There is none, there are several, or it is not of DNA, or not finished.
    """
    manifests = sorted(place.glob("*_run.json")) if place.is_dir() else [place]
    if len(manifests) != 1:
        several = f": name one of {', '.join(path.name for path in manifests)}" if manifests else ""
        raise BadRequest(f"{place} holds {len(manifests) or 'no'} runs{several}. Give the directory of a finished run.")
    (path,) = manifests
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        run = FinishedRun(path.parent, path.name.removesuffix("_run.json"), manifest)
        usable = bool(run.chunk_size) and manifest["status"] in ("complete", "partial")
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BadRequest(f"{path} is no manifest of a run ({error}). Give the directory of a finished run.") from error
    if not usable:
        raise BadRequest(f"{path} is of a run that is not finished, or of proteins. Finish it with --resume.")
    return run


def labels_of_table(entries: dict[str, Entry]) -> dict[str, Label]:
    """Take the labels of a table with a column "class"; a record without a source is one itself."""
    return {name: Label(each.kind == "virus", each.source or name, each.group) for name, each in entries.items()}


def labels_of_files(viral: Sequence[str], others: Sequence[str], entries: dict[str, Entry] | None) -> dict[str, Label]:
    """Label the records of files by the file they are in; sources and groups by a table, or each its own.

    Raises:
        BadInput: A record is not in the table.
    """
    labels = {}
    for virus, paths in ((True, viral), (False, others)):
        for read in opened(paths, paths, InputKind.NUCLEOTIDE):
            entry = Entry(read.name) if entries is None else entries.get(read.name)
            if entry is None:
                raise BadInput(f"record {read.name!r} is not in the table of --sources. Add it, or leave it out.")
            labels[read.name] = Label(virus, entry.source or read.name, entry.group)
    return labels


def chunk_dna(paths: Iterable[str], chunk_size: int) -> Dna:
    """The DNA of all chunks of files, by name, upper case."""
    return {
        chunk.name: chunk.sequence.upper()
        for read in opened([*paths], [*paths], InputKind.NUCLEOTIDE)
        for chunk in chunks(read, chunk_size)
    }


def evaluate(
    run: FinishedRun, labels: dict[str, Label], prevalence: float, folder: Path, dna: Dna | None = None,
    show_progress: bool = False,
) -> tuple[dict[str, Any], Path]:  # fmt: skip
    """Judge a finished run, and write evaluation_{stem}.json and .html.

    Args:
        labels: By record. dna: Of chunks, for baselines; None for none.
        folder: Where the files go; it must exist.
    Returns:
        The document, and the path of the page.
    Raises:
        BadInput: No record of the run has a label, or the tables are not as a run writes them.
    """
    settings = run.manifest["settings"]
    levels = read_results(run.results, labels, run.chunk_size, settings.get("prevalence") or 0.5)
    _tell_of_labels(run, labels, levels["contig"])
    baselines = {"chunk": _baselines(levels["chunk"], dna, show_progress)} if dna is not None else None
    weights = run.manifest.get("weights", {})
    about = {
        "subject": run.stem,
        "classifier": ", ".join(
            name for name in weights if name.endswith((".pth", ".safetensors")) and "/" not in name
        ),
        "chunks": f"{run.chunk_size} bp",
        "precision": str(settings.get("precision")),
    }
    if any(name.startswith(esm_model := str(settings.get("esm_model"))) for name in weights):
        about["ESM-2"] = esm_model
    if run.manifest.get("synthetic_weights"):
        about["caution"] = "the weights are synthetic (random): no figure says anything of real ones"
    document = page.document(levels, prevalence, about, baselines)
    with whole_file(folder / f"evaluation_{run.stem}.json") as file:
        json.dump(document, file, indent=2)
        file.write("\n")
    path = folder / f"evaluation_{run.stem}.html"
    with whole_file(path) as file:
        file.write(page.render_page(document, page.draw(document)))
    return document, path


def _tell_of_labels(run: FinishedRun, labels: dict[str, Label], contigs: Units) -> None:
    """Say which records are left aside.

    Raises:
        BadInput: All are.
    """
    records = run.manifest["input"]["records"]
    if not len(contigs):
        raise BadInput(f"none of {records} records of the run has a label. Do the ids of the table belong to this run?")
    for name, virus in zip(CLASSES, (False, True), strict=True):
        if not (contigs.virus_N == virus).any():
            log.warning("No record of the class %r is labelled: what needs both classes is left out.", name)
    if without := records - len(contigs):
        log.warning("%d of %d records of the run have no label, and do not count.", without, records)
    if absent := len(labels) - len(contigs):
        log.warning("%d of %d labels are of records that the run does not have.", absent, len(labels))


def _baselines(units: Units, dna: Dna, show_progress: bool) -> dict[str, np.ndarray]:
    from virnucpro.evaluation.baselines import BASELINES
    from virnucpro.evaluation.held_out import FOLDS, baseline_scores

    with counting(len(BASELINES), show_progress, "Baselines") as advance:
        scores = baseline_scores([dna[name] for name in units.names], units.virus_N, units.sources, advance)
    if not scores:
        log.warning("No baselines: a class has fewer than %d sources to be trained and judged by.", FOLDS)
    return scores
