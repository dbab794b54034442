"""Manifest: what a run directory records of its run, enough to tell whether that can be resumed."""

from __future__ import annotations

import logging
import platform
import shlex
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from virnucpro._version import __version__
from virnucpro.config.compute import ComputeConfig
from virnucpro.config.settings import Settings
from virnucpro.errors import BadRequest
from virnucpro.executors.base import DECISIVE
from virnucpro.models.catalog import AUTO
from virnucpro.pipeline.run_directory import RunDirectory
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.survey import Survey
from virnucpro.system.packages import version_of

log = logging.getLogger(__name__)
PACKAGES = ("torch", "triton", "numpy", "tokenizers", "safetensors", "xopen", "h5py")


class Manifest:
    """The record of one run; nobody else changes it.

    Args:
        directory: Where it is written.
        earlier: Of the run that is there; None if there is none.
        resume: Whether that run is resumed rather than replaced.
    """

    def __init__(self, directory: RunDirectory, earlier: dict[str, Any] | None, resume: bool) -> None:
        self._directory = directory
        self._resumed = earlier if resume and earlier is not None else {}
        self._replaced = None if resume else earlier
        self._entries: dict[str, Any] = {"weights": {}, "sessions": [*self._resumed.get("sessions", []), _session()]}
        self._entries |= {name: self._resumed[name] for name in ("viral", "audit") if name in self._resumed}
        self.begun = False  # the directory is this run's

    def settle(self, entries: dict[str, Any]) -> None:
        """Record what decides the results.

        Raises:
            BadRequest: The resumed run has it otherwise; names what differs.
        """
        if self._resumed:
            _check_same(self._resumed, entries, self._directory.root)
        for group, values in entries.items():
            self._entries[group] = self._entries.get(group, {}) | values if isinstance(values, dict) else values

    def settle_backends(self, backends: dict[str, str]) -> None:
        """Record what computes; `DECISIVE` parts must be the same all through a run.

        Raises:
            BadRequest: They are others than those of the resumed run, or of the process before.
        """
        decisive = {name: backends[name] for name in DECISIVE}
        settings = self._entries["settings"]
        if self.begun and decisive != {name: settings.get(name) for name in DECISIVE}:
            raise BadRequest(
                f"The GPUs of this run would compute differently ({decisive}, and {settings}). "
                "Choose --attention sdpa, or --gpus of one kind."
            )
        self.settle({"settings": decisive})
        others = {name: value for name, value in backends.items() if name not in DECISIVE}
        before = self._resumed.get("backends", others)
        if before != others:
            log.warning("The run began on %s: the last digits of what is computed now may differ.", before)
        self._entries["backends"] = others

    def fell_back_from(self, precision: str) -> str | None:
        """Return the precision that the resumed run is computed in since its audit failed in this one, if it did."""
        audit = self._resumed.get("audit", {})
        fell_back = audit.get("precision") == precision != audit.get("results")
        return audit["results"] if fell_back else None

    def fall_back(self, precision: str, audit: dict[str, Any]) -> None:
        """Record that all is computed anew in another precision, and the audit that is the reason."""
        for entries in (self._entries, self._resumed):
            if "settings" in entries:
                entries["settings"] = entries["settings"] | {"precision": precision}
        self._entries["audit"] = audit

    @property
    def checkpoints(self) -> list[dict[str, Any]]:
        """List the checkpoints of the resumed run."""
        return list(self._resumed.get("checkpoints", []))

    @property
    def weights_count(self) -> bool:
        """Tell whether the resumed run has results, so that it must have been made with the same weights."""
        return bool(self._resumed and (self.checkpoints or self._resumed["status"] != "running"))

    @property
    def fates(self) -> dict[str, int] | None:
        """Count the resumed run's records by fate, if it is complete."""
        return self._resumed["fates"] if self._resumed.get("status") == "complete" else None

    @property
    def kept(self) -> bool:
        """Tell whether the run that is there has written intermediate files, which may be replaced then."""
        return bool((self._resumed or self._replaced or {}).get("kept"))

    def begin(self, keep_intermediate: bool) -> None:
        """Make the directory this run's: a run that is replaced goes."""
        self.begun = True
        if self._replaced is not None:
            self._directory.remove_run(self._replaced)
        self._entries["kept"] = keep_intermediate or bool(self._resumed.get("kept"))

    def write(self, status: str, checkpoints: list[dict[str, Any]], **more: object) -> None:
        """Write it. A complete run lists no checkpoints, for they are about to go."""
        self._entries |= {"status": status, "checkpoints": [] if status == "complete" else checkpoints} | more
        self._directory.write_manifest(self._entries)

    def record(self, **entries: object) -> None:
        """Add entries that decide nothing; they are written with the next `write`."""
        self._entries |= entries

    def record_again(self, name: str) -> None:
        """Write an entry into the record of a complete run that is else left as it is."""
        self._directory.write_manifest(self._resumed | {name: self._entries[name]})

    def end_session(self, stage_seconds: dict[str, float]) -> None:
        self._entries["sessions"][-1] |= {"finished": _now(), "stage_seconds": stage_seconds}

    def __getitem__(self, name: str) -> Any:
        """Return an entry; None if it is not there yet."""
        return self._entries.get(name)


def describe(settings: Settings, config: ComputeConfig, survey: Survey) -> dict[str, Any]:
    """List what decides the results, as far as it is certain before the models are loaded."""
    requested: dict[str, Any] = {} if settings.attention == AUTO else {"attention": settings.attention}
    if config.kind == InputKind.NUCLEOTIDE and config.weights.classifier is not None:
        requested |= {"prevalence": settings.prevalence, "max_fdr": settings.max_fdr}
    if config.kind == InputKind.NUCLEOTIDE and settings.chunk_size is not None:
        requested["chunk_size"] = settings.chunk_size
    return {
        "virnucpro": __version__,
        "settings": {
            "input_type": config.kind,
            "esm_model": config.esm_model,
            "precision": config.precision,
            "batch_tokens": config.token_budget,
            "buffer_size": config.buffer_size,
            "deterministic": config.deterministic,
            "save_embeddings": config.keep_features,
            "rename_duplicates": settings.rename_duplicates,
            **requested,
        },
        "input": {"records": survey.records, "sha256": survey.sha256},
    }


def _check_same(earlier: dict[str, Any], now: dict[str, Any], place: object) -> None:
    """Refuse to resume a run of other weights, settings or input; `now` is all or part of what this run records."""
    for group, values in now.items():
        was = earlier.get(group)
        if isinstance(was, dict) and isinstance(values, dict):
            # Of weights also a file that is gone: without it, another may be read.
            for name in {**values, **was} if group == "weights" else values:
                _check(f"{group}: {name}", was.get(name), values.get(name), place)
        else:
            _check(group, was, values, place)


def _check(what: str, was: object, now: object, place: object) -> None:
    if was != now and what == "virnucpro":
        raise BadRequest(
            f"{place} holds a run of virnucpro {was}, and this is {now}. Install {was} to go on with it, or start over "
            "with --force."
        )
    if was != now:
        raise BadRequest(
            f"{place} holds a run with other {what} ({was} then, {now} now). "
            "Repeat that run's options to resume it, or start over with --force."
        )


def _session() -> dict[str, Any]:
    """Describe this process: command line, start (UTC), and the versions of what computes and reads."""
    return {
        "command": _command(),
        "started": _now(),
        "virnucpro": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version for name in PACKAGES if (version := version_of(name)) is not None},
    }


def _command() -> str:
    """Return our own command line; that of another program may hold what is none of our business."""
    program = Path(sys.argv[0])
    ours = program.name == "virnucpro" or program.parts[-2:] == ("virnucpro", "__main__.py")
    return shlex.join(["virnucpro", *sys.argv[1:]]) if ours else "from Python"


def _now() -> str:
    """Return the time to the second, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
