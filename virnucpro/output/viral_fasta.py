"""Viral FASTA: the input's records that are called viral, as FASTA."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from xopen import xopen

from virnucpro.errors import BadRequest
from virnucpro.output.fasta_files import wrapped
from virnucpro.output.tables import CONTIGS_FILE, FDR, PROBABILITY, WITHIN
from virnucpro.reading.containers import STDIN
from virnucpro.reading.reads import COMPRESSION, Read
from virnucpro.system.files import temporary_name, whole_path
from virnucpro.system.folders import check_lengths

csv.field_size_limit(sys.maxsize)  # an id may be longer than what csv takes of itself


def check_target(path: Path, inputs: Iterable[str], owns: Callable[[Path], bool], root: Path) -> None:
    """Refuse a target that must not be written, before anything is made or computed.

    Args:
        inputs: Paths of the input.
        owns: Whether the run writes files of its own at a path. root: The run's directory, which may not be there yet.
    Raises:
        BadRequest: It is no regular file, an input, or a place of the run's own, its folder does not exist, or the name
            is too long.
    """
    where = f"--write-viral {path}"
    check_lengths([path], "Name another file for --write-viral.")
    if path.exists() and not path.is_file():
        raise BadRequest(f"{where} is not a regular file. Name one.")
    if path.exists() and any(_is_same(path, name) for name in inputs):
        raise BadRequest(f"{where} is the input itself. Name another file.")
    if owns(path):
        raise BadRequest(f"{where} is a place where the run writes its own files. Name another file.")
    if not path.parent.is_dir() and path.parent.resolve() != root.resolve():
        raise BadRequest(f"{where}: {path.parent} is not a directory. Make it first.")


def _is_same(path: Path, name: str) -> bool:
    if name == STDIN:
        try:
            return sys.stdin is not None and os.path.samestat(path.stat(), os.fstat(sys.stdin.fileno()))
        except io.UnsupportedOperation:  # of a notebook
            return False
    return Path(name).exists() and path.samefile(name)


def check_writable(path: Path, earlier: str | None) -> None:
    """Refuse a target that could not be written, or is not a run's of this directory, before anything is computed.

    Args:
        earlier: What the run that is there, to be resumed or replaced, has written so.
    Raises:
        BadRequest: See above.
    """
    if path.exists() and earlier != str(path.resolve()):
        raise BadRequest(
            f"--write-viral {path} exists, and no run in this output directory has written it. Name another file."
        )
    temporary = temporary_name(path)
    try:
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise BadRequest(f"--write-viral {path} cannot be written: {error.strerror}. Name another file.") from error


def write_viral(path: Path, reads: Iterable[Read], results: Path) -> int:
    """Write the records called Viral in contigs.tsv, or there within a false discovery rate; return how many.

    Args:
        path: Compressed if its suffix is .gz, .bz2, .xz or .zst; appears whole or not at all.
        reads: The input again, in the same order and with the same unique ids.
        results: The folder with contigs.tsv.
    Raises:
        BadRequest: contigs.tsv is not what the run wrote.
    """
    count, suffix = 0, path.suffix.lower()
    compression = suffix[1:] if suffix in COMPRESSION else None  # in xopen's words
    with (
        open(results / CONTIGS_FILE, encoding="utf-8", newline="") as table,
        whole_path(path) as temporary,
        xopen(temporary, "wt", format=compression, threads=0, encoding="utf-8", newline="\n") as file,
    ):
        rows = csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE)
        row = next(rows, None)  # of the next record with a call
        for read in reads:
            if row is None or row.get("ID") != read.name:
                continue
            if row.get(WITHIN, str(row.get("call") == "Viral")) == "True":
                file.write(f">{read.name} {_described(row)}\n")
                file.write(wrapped(read.sequence))
                count += 1
            row = next(rows, None)
        if row is not None:
            raise BadRequest(
                f"{results / CONTIGS_FILE} is not as the run wrote it: no record {row.get('ID')!r} in its place in the "
                "input. Start the run over with --force."
            )
    return count


def _described(row: dict[str, str]) -> str:
    """What the description of a record says of it."""
    return " ".join(f"{name}={row[name]}" for name in ("tier", "weighted_delta", PROBABILITY, FDR) if name in row)
