"""Run directory: every path a run writes, and the manifest that says that they are its own.

DIR/{stem}_merged/       the results
DIR/{stem}_features/     a feature file (.pt) and a .done marker for each part
DIR/{stem}_nucleotide/   parts: the open frames' DNA, at most 10,000 a file
DIR/{stem}_protein/      parts: the open frames' residues, or the proteins given
DIR/{stem}_run.json      the manifest
"""

from __future__ import annotations

import fcntl
import glob
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from virnucpro.errors import BadRequest
from virnucpro.files import whole_file

log = logging.getLogger(__name__)


class RunDirectory:
    """Paths of one run under `root`; `stem` is the input's name without suffixes.

    Nothing is removed or written over unless a manifest says that a run made it.
    """

    def __init__(self, root: Path, stem: str, chunk_size: int) -> None:
        self.root, self.stem = root, stem
        self.chunk_fasta = root / f"{stem}_chunked{chunk_size}.fa"
        self.nucleotide_fasta = root / f"{stem}_nucleotide.fa"
        self.protein_fasta = root / f"{stem}_protein.faa"
        self.reads_table = root / f"{stem}_reads.tsv"
        self.manifest_file = root / f"{stem}_run.json"
        self.nucleotide_parts = root / f"{stem}_nucleotide"
        self.protein_parts = root / f"{stem}_protein"
        self.features = root / f"{stem}_features"
        self.results = root / f"{stem}_merged"

    @contextmanager
    def opened(self, resume: bool, force: bool) -> Iterator[dict | None]:
        """Make the directory, or take up the one that is there, and keep other runs out meanwhile.

        Nothing but temporary files is removed; a new directory that stays empty goes again.

        Yields:
            The manifest of the run that is there, or None.
        Raises:
            BadRequest: The directory exists and neither `resume` nor `force` is given, another process
                is at work on this run, or there are files that it would write and no run has made.
        """
        if self.root.exists() and not self.root.is_dir():
            raise BadRequest(f"{self.root} is a file, not a directory. Choose another --output-dir.")
        if self.root.exists() and not (resume or force):
            raise BadRequest(
                f"The output directory {self.root} exists. Add --resume to go on with its run, "
                "--force to start that run over, or choose another --output-dir."
            )
        made = not self.root.exists()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadRequest(f"Cannot make the output directory {self.root}: {error.strerror}.") from error
        try:
            with self._lock():
                manifest = self._find_run()
                self._remove_temporary()
                yield manifest
        finally:
            if made:
                with suppress(OSError):  # not empty, as a rule
                    self.root.rmdir()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the run's lock file; the system lets go of it however this process ends."""
        path = self.root / f".{self.stem}.lock"
        with open(path, "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BadRequest(
                    f"Another process is at work on this run in {self.root}. "
                    "Wait for it, or choose another --output-dir."
                ) from None
            except OSError as error:  # a file system without locks
                log.debug("No lock on %s: %s", path, error)
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def _find_run(self) -> dict | None:
        """The manifest of the run that is there; None if none of the run's files is."""
        if self.manifest_file.exists():
            return self._read_manifest()
        foreign = [path for path in (*self._stage_files(), *self._folders()) if path.exists()]
        if foreign:
            raise BadRequest(
                f"{foreign[0]} exists, and no run of virnucpro is recorded in {self.manifest_file.name}. "
                "Move it away or choose another --output-dir."
            )
        return None

    def _read_manifest(self) -> dict:
        try:
            manifest = json.loads(self.manifest_file.read_text(encoding="utf-8"))
            if {"virnucpro", "status", "settings", "weights", "input", "parts"} <= manifest.keys():
                return manifest
            reason = "it lacks entries"
        except (OSError, ValueError, AttributeError) as error:
            reason = str(error)
        raise BadRequest(
            f"{self.manifest_file} is no manifest of a run ({reason}). Remove it and what belongs to that run, "
            "or choose another --output-dir."
        )

    def write_manifest(self, manifest: dict) -> None:
        with whole_file(self.manifest_file) as file:
            json.dump(manifest, file, indent=2)
            file.write("\n")

    def _stage_files(self) -> list[Path]:
        return [self.chunk_fasta, self.nucleotide_fasta, self.protein_fasta, self.reads_table]

    def _folders(self) -> list[Path]:
        return [self.nucleotide_parts, self.protein_parts, self.features, self.results]

    def remove_run(self, manifest: dict) -> None:
        """Remove what the run of `manifest` wrote, the manifest last."""
        for folder in self._folders():
            _remove_folder(folder)
        earlier_chunks = self.root / f"{self.stem}_chunked{manifest['settings'].get('chunk_size')}.fa"
        for path in (*self._stage_files(), earlier_chunks, self.manifest_file):
            path.unlink(missing_ok=True)

    def _remove_temporary(self) -> None:
        """Remove what a killed run was about to write, which has none of its final names yet."""
        for path in (*self._stage_files(), self.manifest_file):
            for temporary in self.root.glob(f".{glob.escape(path.name)}.*.tmp"):
                temporary.unlink(missing_ok=True)
        for folder in (self.features, self.results):
            for temporary in folder.glob(".*.tmp"):
                temporary.unlink(missing_ok=True)

    def remove_intermediate(self) -> None:
        """Remove the stage files between the input and the features."""
        for path in (self.chunk_fasta, self.nucleotide_fasta, self.protein_fasta):
            path.unlink(missing_ok=True)
        self.remove_parts()

    def remove_parts(self) -> None:
        """Remove the split files and the table of reads, which no one asked to keep."""
        self.reads_table.unlink(missing_ok=True)
        _remove_folder(self.nucleotide_parts)
        _remove_folder(self.protein_parts)

    def remove_features(self) -> None:
        _remove_folder(self.features)


def _remove_folder(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
