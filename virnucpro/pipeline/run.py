"""One run, from input to report.

reads -> chunks -> frames -> windows -> packs -> features -> scores -> verdicts -> report
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from virnucpro._version import __version__
from virnucpro.config.compute import ComputeConfig, compute_config
from virnucpro.config.placement import place
from virnucpro.config.settings import Settings
from virnucpro.errors import BadRequest
from virnucpro.models.locate import find_weights
from virnucpro.output.embeddings_file import EMBEDDINGS_FILE, write_embeddings
from virnucpro.output.tables import Counts, has_results, scored, write_fates, write_verdicts
from virnucpro.output.viral_fasta import check_target, check_writable, write_viral
from virnucpro.pipeline.compute import Computation
from virnucpro.pipeline.manifest import describe
from virnucpro.pipeline.messages import InputWarnings, say_what_came_out, say_what_was_read
from virnucpro.pipeline.provenance import now
from virnucpro.pipeline.run_directory import RunDirectory
from virnucpro.reading.input_files import InputFiles
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.reads import stem_of
from virnucpro.system.hardware import capture_hardware_info
from virnucpro.telemetry.recorder import TelemetryLogger
from virnucpro.weights.digests import WeightDigests

log = logging.getLogger(__name__)


@dataclass
class Summary:
    """What a run came to.

    A key "failed" in `fates` means a partial result.
    """

    results: Path  # the folder with the tables
    embeddings: Path | None  # the HDF5 file, if one was asked for
    fates: dict[str, int]  # how many records met each
    counts: Counts | None = None  # of chunks and contigs; None for proteins
    failed_ranks: list[int] = field(default_factory=list)  # workers that were lost for good
    performance: dict[str, Any] = field(default_factory=dict)  # totals, rates: `virnucpro.utils.totals`


def run(
    settings: Settings,
    telemetry: TelemetryLogger | None = None,
    started: Callable[[Computation], None] = lambda computation: None,
) -> Summary:
    """Run the pipeline and write its result files.

    Args:
        telemetry: Collects the figures of the run and is finalized by it; None for one of its own, whose file is
            telemetry_{stem}.json in the output directory.
        started: Told about the computation when it begins; its `stop` ends it early, with all work kept.
    Raises:
        BadInput: The sequences cannot be used. BadRequest: The request cannot be met. Interrupted: It was stopped.
    """
    directory = RunDirectory(settings.output_dir, stem_of(settings.inputs[0]), settings.runtime.checkpoint_dir)
    if settings.write_viral is not None:
        check_target(settings.write_viral, settings.inputs, directory.owns, directory.root)
    # What is wrong with a file is told before what is wrong with the directory; a stream is copied there first.
    files = InputFiles(settings.inputs, settings.input_type, settings.rename_duplicates)
    files.look_ahead()
    with directory.opened(settings.resume, settings.force) as earlier, ExitStack() as stack:
        telemetry = telemetry or TelemetryLogger(directory.root, directory.stem)
        telemetry.begin_stage("reading the input")
        stack.enter_context(files.spooled(directory.root, directory.copy_prefix))
        kind = files.kind
        if kind == InputKind.PROTEIN and settings.write_viral is not None:
            raise BadRequest("--write-viral needs verdicts, and the input is protein, which gets none. Leave it out.")
        if settings.write_viral is not None:
            check_writable(settings.write_viral, earlier)
        weights = find_weights(settings.weights_dir, settings.esm_model, settings.model_type, settings.model_path, kind)
        digests = stack.enter_context(WeightDigests(weights, settings.esm_model))
        placement = place(settings.gpus, settings.parallel, settings.workers_per_gpu)
        say_what_was_read(files.survey)
        recipe = compute_config(settings, kind, weights, placement)
        buffer_size = settings.runtime.buffer_size or placement.buffer_size
        known = describe(settings, recipe, files.survey, buffer_size)
        computation = Computation(
            settings, directory, files, recipe, placement, buffer_size, earlier,
            telemetry, digests,
        )  # fmt: skip
        computation.settle(known)
        if settings.resume and earlier is not None:
            computation.take_up()
            if earlier["status"] == "complete" and has_results(directory.results, kind, recipe.keep_features):
                directory.remove_windows()  # left if the end came just before
                log.info("Nothing to do: the run in %s is complete.", directory.root)
                if settings.write_viral is not None:
                    _write_viral(settings.write_viral, computation, directory)
                    directory.write_manifest(earlier | {"viral": computation.manifest["viral"]})
                return _summary(directory, recipe, earlier["fates"])
        started(computation)
        computation.run()
        return _report(settings, directory, computation, recipe)


def _report(settings: Settings, directory: RunDirectory, computation: Computation, recipe: ComputeConfig) -> Summary:
    """Write the result files from the finished windows, then the manifest, and clean up."""
    store, kind = computation.store, recipe.kind
    directory.results.mkdir(exist_ok=True)
    counts: Counts | None = None
    failures: dict[str, str] = {}
    if kind == InputKind.NUCLEOTIDE:
        counts = write_verdicts(directory.results, scored(store.finished()), failures)
    else:
        for window in store.finished():
            names = list(window.sequence_names(kind))
            failures |= {names[place]: reason for place, reason in window.failures.items()}
    fates = write_fates(directory.results, store.finished(), kind, failures)
    assert sum(fates.values()) == computation.records, "records are lost"
    if recipe.keep_features:
        known = computation.manifest["settings"]
        attributes = {
            "virnucpro": __version__,
            "model": recipe.esm_model,
            "precision": recipe.precision,
            "attention": known.get("attention", ""),
            "weights_sha256": json.dumps(computation.weights_sha256()),
            "torch": computation.manifest.get("backends", {}).get("torch", ""),
            "device": computation.manifest.get("backends", {}).get("device", ""),
        }
        write_embeddings(directory.results / EMBEDDINGS_FILE, store.finished(), kind, attributes)
    if settings.write_viral is not None:
        _write_viral(settings.write_viral, computation, directory)
    odd = InputWarnings.of(store.finished())
    performance = _finalized(computation, directory)
    del performance["per_rank"]  # for the telemetry's own file
    counted = {"records": computation.records, "sequences": odd.sequences, "failed": odd.failed}
    if counts is not None:
        counted |= asdict(counts)
    computation.write("partial" if odd.failed else "complete", fates=fates, counts=counted, performance=performance)
    if not odd.failed:
        directory.remove_windows()
    say_what_came_out(fates, counts, odd, bool(computation.manifest["synthetic_weights"]))
    log.info("Results: %s", directory.results)
    return replace(
        _summary(directory, recipe, fates),
        counts=counts,
        failed_ranks=computation.failed_ranks,
        performance=performance,
    )


def _finalized(computation: Computation, directory: RunDirectory) -> dict[str, Any]:
    """The summary of the telemetry, whose file is written too; no run fails for that."""
    telemetry, manifest = computation.telemetry, computation.manifest
    known = {name: manifest.get(name, {}) for name in ("settings", "backends", "synthetic_weights")}
    if computation.windows_before:
        known["windows_done_before"] = computation.windows_before  # of an earlier run; nothing here is about them
    telemetry.set_run_metadata(virnucpro=__version__, **known, hardware=capture_hardware_info())
    summary = telemetry.get_summary()
    if summary["batches"] or not telemetry.path.exists():  # else what the earlier run left tells more
        try:
            telemetry.finalize()
        except OSError as error:
            log.warning("No telemetry was written: %s. The results are not touched by that.", error)
    manifest["sessions"][-1] |= {"finished": now(), "stage_seconds": telemetry.stage_seconds}
    manifest["telemetry"] = directory.telemetry_file.exists()
    return summary


def _write_viral(path: Path, computation: Computation, directory: RunDirectory) -> None:
    count = write_viral(path, computation.files.reads(), directory.results)
    computation.manifest["viral"] = str(path.resolve())
    log.info("Viral records: %d, in %s.", count, path)


def _summary(directory: RunDirectory, recipe: ComputeConfig, fates: dict[str, int]) -> Summary:
    embeddings = directory.results / EMBEDDINGS_FILE if recipe.keep_features else None
    return Summary(directory.results, embeddings, fates)
