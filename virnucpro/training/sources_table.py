"""Sources table: where the records come from, as the user says."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from virnucpro.errors import BadInput, BadRequest
from virnucpro.training.split import PARTS

_REQUIRED, _OPTIONAL = ("record", "source"), ("group", "part")


class Origin(NamedTuple):
    """Of one record."""

    source: str
    group: str = ""
    part: str = ""  # empty where the rule of the split decides


def read_sources(path: Path) -> dict[str, Origin]:
    """Read a table of tab-separated columns with a header: record and source, and if wanted group and part.

    Returns:
        The origin of each record, by its id.
    Raises:
        BadRequest: It is not there. BadInput: Not such a table, or it says of a record nothing, or two things.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            header = rows.fieldnames or []
            if missing := [name for name in _REQUIRED if name not in header]:
                raise BadInput(
                    f"{path}: no column {missing[0]!r} in its first line ({' '.join(header)[:80]!r}). Give a table "
                    f"with tabs, headed {' '.join((*_REQUIRED, *_OPTIONAL))}; the last two may be left out."
                )
            return _origins(rows, path)
    except OSError as error:
        raise BadRequest(f"--sources {path}: cannot be read ({error.strerror}). Check the path.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path}: is no table of text ({error}). Give one in UTF-8, with tabs.") from error


def _origins(rows: csv.DictReader[str], path: Path) -> dict[str, Origin]:
    origins: dict[str, Origin] = {}
    parts: dict[str, str] = {}  # of sources
    for row in rows:
        record, origin = row["record"], Origin(*((row.get(name) or "").strip() for name in ("source", "group", "part")))
        where = f"{path}, line {rows.line_num}"
        if not record or not origin.source:
            raise BadInput(f"{where}: a record without a source, or a source without a record. Give both.")
        if origin.part not in ("", *PARTS):
            raise BadInput(
                f"{where}: part {origin.part!r} is unknown. Give one of {', '.join(PARTS)}, or leave it empty."
            )
        if origins.setdefault(record, origin) != origin:
            raise BadInput(f"{where}: record {record!r} is there twice, with other columns. Give it once.")
        if parts.setdefault(origin.source, origin.part) != origin.part:
            raise BadInput(
                f"{where}: source {origin.source!r} is in the parts {parts[origin.source]!r} and {origin.part!r}. A "
                "source is in one part, or what is tested was seen in training."
            )
    return origins
