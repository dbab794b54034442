"""Viral: the input's records that are called viral, as FASTA."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from xopen import xopen

from virnucpro.errors import BadRequest
from virnucpro.files import whole_path
from virnucpro.intermediate import wrapped
from virnucpro.reads import COMPRESSION, Read
from virnucpro.report import CONTIGS_FILE

CALL = "Viral"


def check_target(path: Path, inputs: Iterable[str], replace: bool) -> None:
    """Refuse a file that could not be written, or must not be, before anything is computed.

    Args:
        inputs: Paths of the input. replace: Whether a file that is there may be replaced.
    Raises:
        BadRequest: It exists, is an input, or its folder does not exist.
    """
    if not path.parent.is_dir():
        raise BadRequest(f"--write-viral {path}: {path.parent} is not a directory. Make it first.")
    if path.is_dir():
        raise BadRequest(f"--write-viral {path} is a directory. Name a file.")
    if path.exists() and any(Path(name).exists() and path.samefile(name) for name in inputs):
        raise BadRequest(f"--write-viral {path} is the input itself. Name another file.")
    if path.exists() and not replace:
        raise BadRequest(f"--write-viral {path} exists. Name another file, or add --force or --resume to replace it.")


def write_viral(path: Path, reads: Iterable[Read], results: Path) -> int:
    """Write the records called Viral in contigs.tsv; return how many.

    Args:
        path: Compressed if its suffix is .gz, .bz2, .xz or .zst; appears whole or not at all.
        reads: The input again, in the same order and with the same unique ids.
        results: The folder with contigs.tsv.
    """
    count = 0
    with (
        open(results / CONTIGS_FILE, encoding="utf-8", newline="") as table,
        whole_path(path) as temporary,
        xopen(temporary, "wt", format=_format(path), threads=0, encoding="utf-8", newline="\n") as file,
    ):
        rows = csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE)
        row = next(rows, None)  # of the next record with a call
        for read in reads:
            if row is None or row["ID"] != read.name:
                continue
            if row["call"] == CALL:
                file.write(f">{read.name} tier={row['tier']} weighted_delta={row['weighted_delta']}\n")
                file.write(wrapped(read.sequence))
                count += 1
            row = next(rows, None)
    assert row is None, "contigs.tsv has records that the input has not"
    return count


def _format(path: Path) -> str | None:
    """Compression in xopen's words."""
    suffix = path.suffix.lower()
    return suffix[1:] if suffix in COMPRESSION else None
