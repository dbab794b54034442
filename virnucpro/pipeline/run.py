"""One run, from input to report.

reads -> chunks -> frames -> windows -> packs -> features -> scores -> verdicts -> report
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from virnucpro._version import __version__
from virnucpro.config.compute import compute_config
from virnucpro.config.placement import place
from virnucpro.config.settings import FALLBACK, Settings
from virnucpro.errors import BadRequest
from virnucpro.models.catalog import PRECISIONS
from virnucpro.models.locate import find_weights
from virnucpro.output.embeddings_file import EMBEDDINGS_FILE, write_embeddings
from virnucpro.output.tables import Counts, has_results, write_fates, write_verdicts
from virnucpro.output.viral_fasta import check_target, check_writable, write_viral
from virnucpro.pipeline.audit import Audit
from virnucpro.pipeline.compute import Run, compute
from virnucpro.pipeline.manifest import Manifest, describe
from virnucpro.pipeline.messages import InputWarnings, say_what_came_out, say_what_the_audit_found, say_what_was_read
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
    """What a run came to."""

    results: Path  # the folder with the tables
    embeddings: Path | None  # the HDF5 file, if one was asked for
    fates: dict[str, int]  # how many records met each; "failed" among them
    counts: Counts | None = None  # of chunks and contigs; None for proteins
    failed_ranks: list[int] = field(default_factory=list)  # workers that were lost for good
    performance: dict[str, Any] = field(default_factory=dict)  # totals, rates: `virnucpro.utils.totals`
    partial: bool = False  # records failed, or the audit of 8 bits did
    audit: dict[str, Any] | None = None  # of 8 bits, as in the manifest


def run(
    settings: Settings, telemetry: TelemetryLogger | None = None, started: Callable[[Run], None] = lambda run: None
) -> Summary:
    """Run the pipeline and write its result files.

    Args:
        telemetry: Collects the figures of the run and is finalized by it; None for one of its own, whose file is
            telemetry_{stem}.json in the output directory.
        started: Told about the run when it begins; its `stop` ends it early, with all work kept.
    Raises:
        BadInput: The sequences cannot be used. BadRequest: The request cannot be met. Interrupted: It was stopped.
    """
    directory = RunDirectory(settings.output_dir, stem_of(settings.inputs[0]), settings.runtime.checkpoint_dir)
    files = InputFiles(settings.inputs, settings.input_type, settings.rename_duplicates)
    viral = settings.write_viral
    if viral is not None:
        check_target(viral, settings.inputs, directory.owns, directory.root)
    files.look_ahead()  # what is wrong with a file is told before what is wrong with the directory
    with directory.opened(settings.resume, settings.force) as earlier, ExitStack() as stack:
        if earlier is not None and "training" in earlier:
            raise BadRequest(f"{directory.manifest_file} is of a training. Choose another --output-dir.")
        telemetry = telemetry or TelemetryLogger(directory.root, directory.stem)
        telemetry.begin_stage("reading the input")
        stack.enter_context(files.spooled(directory.root, directory.copy_prefix))
        if viral is not None:
            if files.kind == InputKind.PROTEIN:
                raise BadRequest(
                    "--write-viral needs verdicts, and the input is protein, which gets none. Leave it out."
                )
            check_writable(viral, (earlier or {}).get("viral"))
        weights = find_weights(
            settings.weights_dir, settings.esm_model, settings.model_type, settings.model_path, files.kind
        )
        digests = stack.enter_context(WeightDigests(weights))
        if settings.prevalence is not None and weights.card.calibration is None:
            raise BadRequest(
                "--prevalence needs a classifier with a calibration, as `virnucpro train` writes it. Leave it out, or "
                "give another --model."
            )
        placement = place(settings.gpus, settings.parallel, settings.workers_per_gpu)
        say_what_was_read(files.survey)
        if weights.classifier is not None and (note := weights.card.note):
            log.info("%s: %s", weights.classifier.name, note)
        config = compute_config(settings, files.kind, weights, placement)
        manifest = Manifest(directory, earlier, settings.resume)
        if settings.audit == FALLBACK and (wider := manifest.fell_back_from(config.precision)):
            config = replace(config, precision=wider, audit=False)
        this_run = Run(settings, directory, files, config, placement, manifest, telemetry, digests)
        manifest.settle(describe(settings, config, files.survey))
        if settings.resume and earlier is not None:
            this_run.resume()
            if manifest.fates is not None and has_results(directory.results, config.kind, config.keep_features):
                directory.remove_windows()  # left if the end came just before
                log.info("Nothing to do: the run in %s is complete.", directory.root)
                if viral is not None:
                    _write_viral(this_run)
                    manifest.record_again("viral")
                return _summary(this_run, manifest.fates)
        started(this_run)
        compute(this_run)
        return _report(this_run)


def _report(run: Run) -> Summary:
    """Write the result files from the finished windows, then the manifest, and clean up."""
    directory, config, manifest = run.directory, run.config, run.manifest
    finished = partial(run.store.finished, with_features=False)
    directory.results.mkdir(exist_ok=True)
    counts: Counts | None = None
    failures: dict[str, str] = {}
    if config.kind == InputKind.NUCLEOTIDE:
        settings, calibration = run.settings, config.weights.card.calibration
        counts = write_verdicts(
            directory.results, finished(), failures, calibration, settings.prevalence, settings.max_fdr
        )
    else:
        for window in finished():
            names = list(window.sequence_names(config.kind))
            failures |= {names[place]: reason for place, reason in window.failures.items()}
    fates = write_fates(directory.results, finished(), config.kind, failures)
    records = run.files.survey.records
    assert sum(fates.values()) == records, "records are lost"
    for write in WRITERS:
        write(run)
    warnings = InputWarnings.of(finished())
    audit = sum(map(Audit.of, finished()), Audit()) if config.audit else Audit()
    if config.audit:
        manifest.record(audit=audit.entry(config.precision, PRECISIONS[config.precision].made_of, config.precision))
    performance = finalize_telemetry(run)
    del performance["per_rank"]  # for the telemetry's own file
    counted = {"records": records} | {name: getattr(warnings, name) for name in ("sequences", "copies", "failed")}
    if counts is not None:
        counted |= asdict(counts)
    partial_result = bool(warnings.failed or audit.missed)
    run.write("partial" if partial_result else "complete", fates=fates, counts=counted, performance=performance)
    if not partial_result:
        directory.remove_windows()
    say_what_came_out(fates, counts, warnings, bool(manifest["synthetic_weights"]))
    if config.audit:
        say_what_the_audit_found(audit, config.precision, warnings.sequences)
    log.info("Results: %s", directory.results)
    failed_ranks = run.executor.failed_ranks if run.executor else []
    return _summary(
        run, fates, counts=counts, failed_ranks=failed_ranks, performance=performance, partial=partial_result
    )


def write_features(run: Run) -> None:
    """Write the features of all sequences, where they are kept."""
    if not run.config.keep_features:
        return
    backends = run.manifest["backends"] or {}
    attributes = {
        "virnucpro": __version__,
        "model": run.config.esm_model if "esm2" in run.config.weights.models else "",
        "precision": run.config.precision,
        "attention": run.manifest["settings"].get("attention", ""),
        "weights_sha256": json.dumps(run.digests.result()),
        **{name: backends.get(name, "") for name in ("torch", "device")},
    }
    write_embeddings(run.directory.results / EMBEDDINGS_FILE, run.store.finished(), run.config.kind, attributes)


def _write_viral(run: Run) -> None:
    path = run.settings.write_viral
    if path is not None:
        count = write_viral(path, run.files.reads(), run.directory.results)
        run.manifest.record(viral=str(path.resolve()))
        log.info("Viral records: %d, in %s.", count, path)


# What is written beside the tables of verdicts and fates, which they may read.
WRITERS: tuple[Callable[[Run], None], ...] = (write_features, _write_viral)


def finalize_telemetry(run: Run) -> dict[str, Any]:
    """Return the summary of the telemetry, and write its file; no run fails for that."""
    telemetry, manifest = run.telemetry, run.manifest
    entries = {"settings": manifest["settings"], "backends": manifest["backends"] or {}}
    entries["synthetic_weights"] = manifest["synthetic_weights"]
    if manifest["audit"]:
        entries["audit"] = manifest["audit"]
    if run.windows_before:
        entries["windows_done_before"] = run.windows_before  # of an earlier run; nothing here is about them
    telemetry.set_run_metadata(virnucpro=__version__, **entries, hardware=capture_hardware_info())
    summary = telemetry.get_summary()
    if summary["batches"] or not telemetry.path.exists():  # else what the earlier run left tells more
        try:
            telemetry.finalize()
        except OSError as error:
            log.warning("No telemetry was written: %s. The results are not touched by that.", error)
    manifest.end_session(telemetry.stage_seconds)
    manifest.record(telemetry=run.directory.telemetry_file.exists())
    return summary


def _summary(run: Run, fates: dict[str, int], **more: Any) -> Summary:
    embeddings = run.directory.results / EMBEDDINGS_FILE if run.config.keep_features else None
    return Summary(run.directory.results, embeddings, fates, audit=run.manifest["audit"], **more)
