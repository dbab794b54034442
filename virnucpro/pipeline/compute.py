"""Computation: every window of a run that is not finished yet, finished and kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from virnucpro.config.compute import ComputeConfig, WeightsInfo
from virnucpro.config.placement import Placement
from virnucpro.config.settings import Settings
from virnucpro.errors import BadInput, BadRequest, DeviceLost, Interrupted
from virnucpro.executors import select
from virnucpro.executors.base import DECISIVE, Executor, ExecutorConfig, WindowAndCost
from virnucpro.output.fasta_files import tee_fasta
from virnucpro.pipeline.checkpoints import CheckpointStore
from virnucpro.pipeline.manifest import check_same
from virnucpro.pipeline.meter import Meter
from virnucpro.pipeline.provenance import session
from virnucpro.pipeline.run_directory import RunDirectory
from virnucpro.reading.input_files import InputFiles
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.window_source import AtHand
from virnucpro.reading.windows import Window, windows
from virnucpro.reporting.progress import InferenceProgressReporter
from virnucpro.system.devices import usable_cpus
from virnucpro.system.fingerprint import Fingerprint
from virnucpro.system.processes import why_no_children
from virnucpro.telemetry.recorder import TelemetryLogger
from virnucpro.weights.digests import WeightDigests

log = logging.getLogger(__name__)


class Computation:
    """The middle of a run: input and request are known to be good, the report is yet to be written.

    Args:
        files: Of the input, readable twice.
        earlier: The manifest of the run to go on with (`resume`) or to replace.
        digests: Of the weights, begun.
    """

    def __init__(
        self,
        settings: Settings,
        directory: RunDirectory,
        files: InputFiles,
        recipe: ComputeConfig,
        placement: Placement,
        buffer_size: int,
        earlier: dict[str, Any] | None,
        telemetry: TelemetryLogger,
        digests: WeightDigests,
    ) -> None:
        self._settings, self._config, self._directory = settings, settings.runtime, directory
        self.files, self._recipe, self._placement = files, recipe, placement
        self._buffer_size, self._earlier, self.telemetry = buffer_size, earlier, telemetry
        self._digests = digests
        self._input_fingerprint = Fingerprint(dict(zip(files.shown, map(Path, files.paths), strict=True)))
        self._crew: Executor | None = None
        self._begun = self._stopped = self._over = False
        self.windows_before = 0  # finished by the run that is gone on with
        self.manifest: dict[str, Any] = {"weights": {}, "sessions": [session()]}
        self.facts: WeightsInfo | None = None
        self.store = CheckpointStore(
            directory.windows, self._record, self._config.checkpoint_seq_threshold,
            self._config.checkpoint_time_threshold, durable=self._config.enable_checkpointing,
        )  # fmt: skip

    @property
    def failed_ranks(self) -> list[int]:
        """Workers that were given up."""
        return self._crew.failed_ranks if self._crew else []

    @property
    def records(self) -> int:
        """Of the input."""
        return self.files.survey.records

    def settle(self, known: dict[str, Any]) -> None:
        """Put on record what decides the results.

        Raises:
            BadRequest: The run to go on with has it otherwise.
        """
        if self._settings.resume and self._earlier is not None:
            check_same(self._earlier, known, self._directory.root)
        for group, values in known.items():
            self.manifest[group] = self.manifest.get(group, {}) | values if isinstance(values, dict) else values

    def take_up(self) -> None:
        """Go on from the finished windows of the earlier run."""
        assert self._earlier is not None
        self.manifest["sessions"] = [*self._earlier.get("sessions", []), *self.manifest["sessions"]]
        if "viral" in self._earlier:
            self.manifest["viral"] = self._earlier["viral"]
        if self._earlier["checkpoints"] or self._earlier["status"] != "running":
            self.settle({"weights": self._digests.result()})
        self.store.take_up(self._earlier["checkpoints"])
        self.windows_before = len(self.store.done)
        if self.windows_before:
            log.info("Resuming: %d windows are done.", self.windows_before)

    def run(self) -> None:
        """Finish every window.

        Raises:
            Interrupted: `stop` was called; what was finished is saved.
        """
        try:
            self._finish_all()
            self._end_if_stopped()
        except BaseException:
            if self._begun and not self._config.enable_checkpointing and not self._settings.resume:
                self.store.forget()  # no manifest would ever list them
            raise
        finally:
            self._over = True
            if self._crew is not None:
                self._crew.close()  # whatever went wrong, no process is left

    def _finish_all(self) -> None:
        self.telemetry.begin_stage("loading the models")
        self._crew = self._make_crew(apart=False)
        self._end_if_stopped()  # a signal may have come while torch was imported
        self.facts = self._crew.check()
        self._end_if_stopped()
        self._digests.check()
        self.settle({"settings": {"chunk_size": self.facts.chunk_size}})
        self.manifest["synthetic_weights"] = self.facts.synthetic
        if self.facts.synthetic:
            results = "verdicts" if self._recipe.kind == InputKind.NUCLEOTIDE else "features"
            log.warning("These weights are synthetic (random): the %s mean nothing.", results)
        with InferenceProgressReporter(self.records, self._settings.show_progress, "Records") as bar:
            bar.update(self.store.records)
            meter = Meter(bar, self.telemetry)
            try:
                if not self.records:
                    self._begin()
                with closing(self._finished()) as finished:  # at once, whatever goes wrong with one of them
                    for window, cost in finished:
                        self._digests.check()
                        meter.count(window, cost, self.store.add(window))
            finally:
                meter.count_write(self.store.flush())
        self._digests.result()  # no tables of weights that turn out to be wrong
        if not self.facts.synthetic:
            self._digests.warn()
        self.telemetry.begin_stage("writing the results")

    def _finished(self) -> Generator[WindowAndCost]:
        """Every window that is not finished yet, finished; where a device is lost, the rest in a new process."""
        if not self.records:
            return
        try:
            yield from self._computed()
            return
        except DeviceLost as error:
            if why_no_children():
                raise
            log.error("%s. Going on in a new process.", error)
        # Outside the except clause, so that the models of this process are no longer held by it.
        assert self._crew is not None
        self._crew.close()
        self._crew = self._make_crew(apart=True)
        self._end_if_stopped()
        self._crew.check()
        yield from self._computed()

    def _computed(self) -> Iterator[WindowAndCost]:
        assert self._crew is not None
        windows = self._windows()
        source = _OnceBegun(windows, lambda: self._begun or not self._settings.keep_intermediate)
        try:
            backends = self._crew.load(source)
            self._end_if_stopped()
            self._ready(backends)
            yield from self._crew.run()
        except BadInput as error:
            # The survey found nothing wrong with it, so it was changed, unless the system failed to read it.
            if self._begun and not getattr(error.__cause__, "errno", None):
                self.store.forget()  # made of input that is not what the survey saw
                self.write("running")
            raise
        finally:
            windows.close()  # which removes intermediate files that are not whole

    def _end_if_stopped(self) -> None:
        if self._stopped:
            raise Interrupted

    def stop(self) -> None:
        """Finish the windows in hand, save, and end; later, when all windows are saved, end at once."""
        if self._over:
            raise KeyboardInterrupt
        self._stopped = True
        if self._crew is not None:
            self._crew.stop()

    def _make_crew(self, apart: bool) -> Executor:
        """One device is used by this process itself, unless it must be `apart`, or watched by the clock."""
        devices, asked = self._placement.workers, (self._settings.num_workers, self._config.num_workers)
        by_itself = len(devices) == 1 and not apart and self._config.timeout_per_attempt is None
        if not by_itself and (reason := why_no_children()):
            log.warning("Using %s alone, and no timeout_per_attempt: %s.", devices[0], reason)
            devices, by_itself = devices[:1], True
        loaders = next((number for number in asked if number is not None), self._placement.loaders)
        threads = None
        if not self._placement.on_gpu and (len(devices) > 1 or self._recipe.deterministic):
            # How many threads share a sum decides its last bits.
            threads = 1 if self._recipe.deterministic else max(1, usable_cpus() // len(devices))
        work = ExecutorConfig(self._recipe, self._config, loaders, threads, logging.getLogger().level)
        if by_itself:
            return select.inline(work, devices[0])
        from virnucpro.executors.coordinator import Coordinator

        return Coordinator(work, devices)

    def _windows(self) -> Generator[Window]:
        """The windows that are not finished, in order."""
        assert self.facts is not None
        settings, recipe, chunk_size = self._settings, self._recipe, self.facts.chunk_size
        reads = self.files.reads()
        if settings.keep_intermediate:
            run = self._directory
            files = run.chunk_fasta(chunk_size), run.nucleotide_fasta, run.protein_fasta
            foreign = [path for path in files if path.exists() and not (self._earlier or {}).get("kept")]
            if foreign and not self._begun:  # else they are from before a device was lost
                raise BadRequest(f"{foreign[0]} exists, and this run did not write it. Move it away.")
            reads = tee_fasta(reads, *files, recipe.kind, chunk_size)
        done = self.store.done
        for window in windows(reads, recipe.kind, chunk_size, self._buffer_size, recipe.token_budget):
            if window.index not in done:
                yield window

    def _ready(self, backends: dict[str, str]) -> None:
        """The models are loaded: from here on the directory is this run's."""
        known = {name: backends.pop(name) for name in DECISIVE}
        if self._begun and known != {name: self.manifest["settings"].get(name) for name in known}:
            raise BadRequest(
                f"The GPUs of this run would compute differently ({known}, and {self.manifest['settings']}). "
                "Choose --attention sdpa, or --gpus of one kind."
            )
        self.settle({"settings": known})
        was = (self._earlier or {}).get("backends", backends) if self._settings.resume else backends
        if was != backends:
            log.warning("The run began on %s: the last digits of what is computed now may differ.", was)
        self.manifest["backends"] = backends
        self._digests.check()
        if not self._begun and not self._stopped:
            self._begin()
        self.telemetry.begin_stage("computing")
        self._input_fingerprint.begin()

    def _begin(self) -> None:
        self._begun = True
        if self._earlier is not None and not self._settings.resume:
            self._directory.remove_run(self._earlier)
        self.manifest["kept"] = self._settings.keep_intermediate or self._has_kept
        self.write("running")
        self.store.remove_unlisted()

    @property
    def _has_kept(self) -> bool:
        """Whether the run that is gone on with has written intermediate files."""
        return bool(self._settings.resume and (self._earlier or {}).get("kept"))

    def write(self, status: str, **more: object) -> None:
        """Write the manifest. A complete run lists no checkpoints, for they are about to go."""
        if status != "running":
            self.manifest["weights"] = self._digests.result()
            self.manifest["input"]["files"] = self._input_fingerprint.result()
        listed = [] if status == "complete" else self.store.entries
        self.manifest |= {"status": status, "checkpoints": listed} | more
        self._directory.write_manifest(self.manifest)

    def weights_sha256(self) -> dict[str, str]:
        """Of each weight file; waits for it."""
        return self._digests.result()

    def _record(self) -> None:
        """Called by the store before its first file and after each: the manifest says what counts."""
        if self._config.enable_checkpointing:
            self.manifest["weights"] = self._digests.result()
            self.write("running")


class _OnceBegun(AtHand):
    """Windows that are made once the run has begun.

    Loader processes ask for windows while the models are loaded; after a few of them intermediate files might be whole
    and take their names, in a directory that is not this run's yet.
    """

    def __init__(self, windows: Iterator[Window], begun: Callable[[], bool]) -> None:
        super().__init__(windows)
        self._begun = begun

    def take(self) -> Window | None:
        return super().take() if self._begun() else None
