"""Run directory: every path a run writes, and the manifest that says that they are its own.

DIR/{stem}_merged/       the results
DIR/{stem}_windows/      finished windows, until the run is complete (elsewhere with checkpoint_dir)
DIR/{stem}_run.json      the manifest
DIR/telemetry_{stem}.json   what it cost, see `utils.telemetry`; performance_report_{stem}.* are made of it
DIR/{stem}_chunked{c}.fa, {stem}_nucleotide.fa, {stem}_protein.faa   with --keep-intermediate
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from virnucpro.errors import BadRequest
from virnucpro.system.files import locked, shortened, whole_file
from virnucpro.system.folders import check_lengths, check_work_directory, is_empty, remove

_ENTRIES = {"virnucpro": str, "status": str, "settings": dict, "weights": dict, "input": dict, "checkpoints": list}
_locks: set[IO[str]] = set()
log = logging.getLogger(__name__)


def _let_go() -> None:
    """A forked child would hold its parent's locks until its own end, after the parent's."""
    for file in _locks:
        file.close()


os.register_at_fork(after_in_child=_let_go)


class RunDirectory:
    """Paths of one run under `root`; `stem` is the input's name without suffixes.

    Nothing is removed or written over unless a manifest says that a run made it.
    """

    def __init__(
        self,
        root: Path,
        stem: str,
        checkpoints: Path | None = None,
        results: str = "merged",
        output: Path | None = None,
    ) -> None:
        self.root, self.stem = root, stem
        self.nucleotide_fasta, self.protein_fasta = root / f"{stem}_nucleotide.fa", root / f"{stem}_protein.faa"
        self._fastas = [self.nucleotide_fasta, self.protein_fasta]
        self.manifest_file = root / f"{stem}_run.json"
        self.telemetry_file = root / f"telemetry_{stem}.json"
        reports = [root / f"performance_report_{stem}{suffix}" for suffix in (".txt", ".html")]
        self._telemetry_files = [self.telemetry_file, *reports]
        self.windows = root / f"{stem}_windows"
        self.checkpoints = checkpoints
        if checkpoints is not None:
            # Runs of other directories may keep theirs there too, of input with the same name.
            own = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:12]
            self.windows = checkpoints / f"{stem}_{own}_windows"
        self.results = root / f"{stem}_{results}"
        self._folders = [self.windows, self.results]
        self._outputs = [output] if output else []  # files that a run makes at places of the user's choice
        self.copy_prefix = f".{shortened(stem)}-input-"  # see `input_files.spooled`

    def owns(self, path: Path) -> bool:
        """Tell whether a run writes, or may write, its own file or folder there."""
        path, root = path.resolve(), self.root.resolve()
        own = [self.manifest_file, *self._telemetry_files, *self._fastas]
        return (
            any(path.is_relative_to(folder.resolve()) for folder in self._folders)
            or path in [file.resolve() for file in own]
            or (path.parent == root and path.name.startswith((f"{self.stem}_chunked", ".")))
        )

    def chunk_fasta(self, chunk_size: int) -> Path:
        """Return the file of chunks of so many bp."""
        return self.root / f"{self.stem}_chunked{chunk_size}.fa"

    def intermediate_files(self, chunk_size: int, ours: bool) -> tuple[Path, Path, Path]:
        """Name the files of chunks, frames and proteins.

        Args:
            ours: Those that are there may be written over.
        Raises:
            BadRequest: One is there that no run has written.
        """
        files = self.chunk_fasta(chunk_size), self.nucleotide_fasta, self.protein_fasta
        if not ours and (foreign := next((path for path in files if path.exists()), None)):
            raise BadRequest(f"{foreign} exists, and this run did not write it. Move it away.")
        return files

    @contextmanager
    def opened(self, resume: bool, force: bool) -> Iterator[dict[str, Any] | None]:
        """Make the directory, or resume the one that is there, and keep other runs out meanwhile.

        Nothing but temporary files is removed; a new directory that stays empty goes again.

        Yields:
            The manifest of the run that is there, or None.
        Raises:
            BadRequest: A run is there and neither `resume` nor `force` is given, another process is at
                work on this run, there are files that it would write and no run has made, or names are too long.
        """
        check_work_directory()
        check_lengths(
            (self.telemetry_file, self.manifest_file, self.results, self.windows),
            "Give the input a shorter name (a link will do), or choose another directory.",
        )
        if self.root.exists() and not self.root.is_dir():
            raise BadRequest(f"{self.root} is a file, not a directory. Choose another output directory.")
        new = not self.root.exists()
        if self.checkpoints is not None and self.checkpoints.exists() and not self.checkpoints.is_dir():
            raise BadRequest(f"Cannot make the checkpoint directory {self.checkpoints}: it is a file. Choose another.")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadRequest(f"Cannot make the output directory {self.root}: {error.strerror}.") from error
        try:
            with self._lock():
                manifest = self._find_run(resume or force)
                self._remove_temporary()
                yield manifest
        finally:
            if new:
                with suppress(OSError):  # not empty, as a rule
                    self.root.rmdir()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the run's lock file; the system lets go of it however this process ends."""
        path = self.root / f".{shortened(self.stem)}.lock"
        try:
            file = locked(path, "w")
        except BlockingIOError:
            raise BadRequest(
                f"Another process is at work on this run in {self.root}. Wait for it, or choose another output "
                "directory."
            ) from None
        except OSError as error:
            raise BadRequest(
                f"Cannot write to the output directory {self.root}: {error.strerror}. Choose another output directory."
            ) from error
        with file:
            _locks.add(file)
            try:
                yield
            finally:
                _locks.remove(file)
                with suppress(OSError):  # one that stays locks nobody out
                    path.unlink()

    def _find_run(self, may_be: bool) -> dict[str, Any] | None:
        """Read the manifest of the run that is there, if one may be; None if none of the run's files is."""
        if self.manifest_file.exists():
            if may_be:
                return self._read_manifest()
            raise BadRequest(
                f"A run of {self.stem} exists in {self.root}. Add --resume to go on with it, --force to start it over, "
                "or choose another output directory."
            )
        # An empty folder is nobody's: Snakemake makes those of a rule's outputs beforehand.
        chunked = sorted(self.root.glob(f"{glob.escape(self.stem)}_chunked[0-9]*.fa"))
        own = (*chunked, *self._fastas, self.telemetry_file, *self._folders)
        foreign = [path for path in own if os.path.lexists(path) and not is_empty(path)]
        if foreign:
            raise BadRequest(
                f"{foreign[0]} exists, and no run of virnucpro is recorded in {self.manifest_file.name}. "
                "Move it away or choose another output directory."
            )
        return None

    def _read_manifest(self) -> dict[str, Any]:
        try:
            manifest: dict[str, Any] = json.loads(self.manifest_file.read_text(encoding="utf-8"))
            whole = all(isinstance(manifest.get(name), kind) for name, kind in _ENTRIES.items())
            if whole and isinstance(manifest.get("sessions", []), list):  # version 2.0.0 has none
                return manifest
            reason = "it lacks entries"
        except (OSError, ValueError, AttributeError) as error:
            reason = str(error)
        raise BadRequest(
            f"{self.manifest_file} is no manifest of a run ({reason}). Remove it and what belongs to that run, "
            "or choose another output directory."
        )

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        with whole_file(self.manifest_file) as file:
            json.dump(manifest, file, indent=2)
            file.write("\n")

    def remove_run(self, manifest: dict[str, Any]) -> None:
        """Remove what the run of `manifest` wrote, the manifest last."""
        if manifest.get("telemetry"):
            for path in self._telemetry_files:
                path.unlink(missing_ok=True)
        for folder in self._folders:
            remove(folder)
        for path in self._outputs:
            path.unlink(missing_ok=True)
        if manifest.get("kept"):
            for path in (self.chunk_fasta(manifest["settings"].get("chunk_size")), *self._fastas):
                path.unlink(missing_ok=True)
        self.manifest_file.unlink(missing_ok=True)

    def _remove_temporary(self) -> None:
        """Remove what a killed run was about to write, which has none of its final names yet."""
        files = [*self._fastas, self.manifest_file, self.telemetry_file, *self._outputs]
        files += [self.chunk_fasta(chunk_size) for chunk_size in (300, 500)]  # long names stand for no other
        names = [f"{glob.escape(self.stem)}_chunked[0-9]*.fa", *(glob.escape(shortened(file.name)) for file in files)]
        patterns = [(self.root, f".{name}.*.tmp") for name in names]
        patterns.append((self.root, f"{glob.escape(self.copy_prefix)}????????.tmp"))
        patterns += [(folder, ".*.tmp") for folder in self._folders]
        for folder, pattern in patterns:
            for temporary in folder.glob(pattern):
                temporary.unlink(missing_ok=True)

    def remove_windows(self) -> None:
        """Remove what a complete run does not need any more; its results do not depend on that."""
        try:
            remove(self.windows)
        except OSError as error:
            log.warning("%s is not needed any more, and cannot be removed: %s.", self.windows, error)
