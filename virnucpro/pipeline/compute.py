"""Compute: every window of a run that is not finished yet, finished and kept."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from virnucpro.config.compute import ComputeConfig, WeightsInfo
from virnucpro.config.placement import Placement
from virnucpro.config.settings import FALLBACK, Settings
from virnucpro.engine.audit_sample import with_least
from virnucpro.errors import BadInput, DeviceLost, Interrupted
from virnucpro.executors.base import Executor, WindowAndCost
from virnucpro.executors.select import make_executor
from virnucpro.models.catalog import PRECISIONS
from virnucpro.output.fasta_files import tee_fasta
from virnucpro.pipeline.audit import Audit, RunningAudit
from virnucpro.pipeline.checkpoints import CheckpointStore
from virnucpro.pipeline.manifest import Manifest
from virnucpro.pipeline.meter import Meter
from virnucpro.pipeline.run_directory import RunDirectory
from virnucpro.reading.input_files import InputFiles
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.window_source import AtHand
from virnucpro.reading.windows import Window, windows
from virnucpro.reporting.progress import InferenceProgressReporter
from virnucpro.system.fingerprint import Fingerprint
from virnucpro.system.processes import why_no_children
from virnucpro.telemetry.recorder import TelemetryLogger
from virnucpro.weights.digests import WeightDigests

log = logging.getLogger(__name__)


@dataclass
class Run:
    """A run under way: input and request are known to be good, the report is yet to be written."""

    settings: Settings
    directory: RunDirectory
    files: InputFiles  # readable twice
    config: ComputeConfig
    placement: Placement
    manifest: Manifest
    telemetry: TelemetryLogger
    digests: WeightDigests  # begun
    windows_before: int = 0  # finished by the run that is resumed
    executor: Executor | None = None
    stopped: bool = False
    over: bool = False  # all windows are saved, or none will be
    store: CheckpointStore = field(init=False)

    def __post_init__(self) -> None:
        runtime = self.settings.runtime
        self.store = CheckpointStore(
            self.directory.windows, self._record, runtime.checkpoint_seq_threshold,
            runtime.checkpoint_time_threshold, durable=runtime.enable_checkpointing,
        )  # fmt: skip
        self.fingerprint = Fingerprint(dict(zip(self.files.shown, map(Path, self.files.paths), strict=True)))

    def resume(self) -> None:
        """Take over the finished windows of the resumed run.

        Raises:
            BadRequest: They were made with other weights.
        """
        if self.manifest.weights_count:
            self.manifest.settle({"weights": self.digests.result()})
        self.store.resume(self.manifest.checkpoints)
        self.windows_before = len(self.store.done)
        if self.windows_before:
            log.info("Resuming: %d windows are done.", self.windows_before)

    def fall_back(self, audit: Audit) -> None:
        """Forget what was computed in 8 bits, and have all computed in the precision that they are made of."""
        before, after = self.config.precision, PRECISIONS[self.config.precision].made_of
        log.warning(
            "The audit of %s failed: %s (%d sequences). Falling back: all is computed in %s.",
            before, "; ".join(audit.missed), audit.sequences, after,
        )  # fmt: skip
        if self.executor is not None:
            self.executor.close()
        self.store.forget()
        self.windows_before = 0
        self.config = replace(self.config, precision=after, audit=False)
        self.manifest.fall_back(after, audit.entry(before, after, after))
        if self.manifest.begun:
            self.write("running")

    def stop(self) -> None:
        """Finish the windows in hand, save, and end; later, when all windows are saved, end at once."""
        if self.over:
            raise KeyboardInterrupt
        self.stopped = True
        if self.executor is not None:
            self.executor.stop()

    def end_if_stopped(self) -> None:
        if self.stopped:
            raise Interrupted

    def begin(self) -> None:
        """Make the directory this run's, if it is not yet."""
        if not self.manifest.begun and not self.stopped:
            self.manifest.begin(self.settings.keep_intermediate)
            self.write("running")
            self.store.remove_unlisted()

    def write(self, status: str, **more: object) -> None:
        """Write the manifest."""
        if status != "running":
            self.manifest.record(weights=self.digests.result())
            self.manifest.record(input=self.manifest["input"] | {"files": self.fingerprint.result()})
        self.manifest.write(status, self.store.entries, **more)

    def _record(self) -> None:
        """Called by the store before its first file and after each: the manifest says what counts."""
        if self.settings.runtime.enable_checkpointing:
            self.manifest.record(weights=self.digests.result())
            self.write("running")


def compute(run: Run) -> None:
    """Finish every window.

    Raises:
        Interrupted: The run was stopped; what was finished is saved.
    """
    try:
        falls_back = run.config.audit and run.settings.audit == FALLBACK
        running = RunningAudit(run.store.finished(with_features=False)) if falls_back else None
        if running is None or not running.failed:
            _finish_all(run, running)
            run.end_if_stopped()
        if running is not None and running.audit.missed:
            run.fall_back(running.audit)
            _finish_all(run)
            run.end_if_stopped()
    except BaseException:
        if run.manifest.begun and not run.settings.runtime.enable_checkpointing and not run.settings.resume:
            run.store.forget()  # no manifest would ever list them
        raise
    finally:
        run.over = True
        if run.executor is not None:
            run.executor.close()  # whatever went wrong, no process is left


def _finish_all(run: Run, running: RunningAudit | None = None) -> None:
    """Finish every window, or those up to the failure of the audit."""
    run.telemetry.begin_stage("loading the models")
    info = _opened(run, apart=False)
    run.digests.check()
    run.manifest.settle({"settings": {"chunk_size": info.chunk_size}})
    run.manifest.record(synthetic_weights=info.synthetic)
    if info.synthetic:
        results = "verdicts" if run.config.kind == InputKind.NUCLEOTIDE else "features"
        log.warning("These weights are synthetic (random): the %s mean nothing.", results)
    records = run.files.survey.records
    with InferenceProgressReporter(records, run.settings.show_progress, "Records") as bar:
        bar.update(run.store.records)
        meter = Meter(bar, run.telemetry)
        try:
            if not records:
                run.begin()
            with closing(_finished(run, info.chunk_size)) as finished:  # at once, whatever goes wrong with one of them
                for window, cost in finished:
                    run.digests.check()
                    meter.count(window, cost, run.store.add(window))
                    if running is not None and running.add(window):
                        break
        finally:
            meter.count_write(run.store.flush())
    run.digests.result()  # no tables of weights that turn out to be wrong
    if not info.synthetic:
        run.digests.warn()
    run.telemetry.begin_stage("writing the results")


def _opened(run: Run, apart: bool) -> WeightsInfo:
    """Give the run an executor; return what its weights say of themselves."""
    settings = run.settings
    run.executor = make_executor(run.config, settings.runtime, run.placement, settings.num_workers, apart)
    run.end_if_stopped()  # a signal may have come while torch was imported
    info = run.executor.check()
    run.end_if_stopped()
    return info


def _finished(run: Run, chunk_size: int) -> Generator[WindowAndCost]:
    """Finish every window that is not yet; where a device is lost, the rest in a new process."""
    if not run.files.survey.records:
        return
    try:
        yield from _computed(run, chunk_size)
        return
    except DeviceLost as error:
        if why_no_children():
            raise
        log.error("%s. Going on in a new process.", error)
    # Outside the except clause, so that the models of this process are no longer held by it.
    assert run.executor is not None
    run.executor.close()
    _opened(run, apart=True)
    yield from _computed(run, chunk_size)


def _computed(run: Run, chunk_size: int) -> Iterator[WindowAndCost]:
    assert run.executor is not None
    kept = None
    if run.settings.keep_intermediate:  # begun: they are from before a device was lost, or an audit failed
        kept = run.directory.intermediate_files(chunk_size, ours=run.manifest.kept or run.manifest.begun)
    unfinished = _unfinished(run, chunk_size, kept)
    # Loader processes ask for windows while the models are loaded: intermediate files might be whole after a few, and
    # take their names in a directory that is not this run's yet.
    source = AtHand(unfinished, lambda: run.manifest.begun or not run.settings.keep_intermediate)
    try:
        backends = run.executor.load(source)
        run.end_if_stopped()
        run.manifest.settle_backends(backends)
        run.digests.check()
        run.begin()
        run.telemetry.begin_stage("computing")
        run.fingerprint.begin()
        yield from run.executor.run()
    except BadInput as error:
        # The survey found nothing wrong with it, so it was changed, unless the system failed to read it.
        if run.manifest.begun and not getattr(error.__cause__, "errno", None):
            run.store.forget()  # made of input that is not what the survey saw
            run.write("running")
        raise
    finally:
        unfinished.close()  # which removes intermediate files that are not whole


def _unfinished(run: Run, chunk_size: int, kept: tuple[Path, Path, Path] | None) -> Generator[Window]:
    """Cut the windows that are not finished, in order; `kept` is written meanwhile."""
    config, reads = run.config, run.files.reads()
    if kept is not None:
        reads = tee_fasta(reads, *kept, config.kind, chunk_size)
    done = run.store.done
    every_window = windows(reads, config.kind, chunk_size, config.buffer_size, config.token_budget)
    for window in with_least(every_window, config.kind) if config.audit else every_window:
        if window.index not in done:
            yield window
