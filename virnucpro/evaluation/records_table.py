"""Records table: what the user says of the records: class, source, group and part."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from virnucpro.errors import BadInput, BadRequest

CLASSES = ("others", "virus")  # in order of their scores
TRAIN, VALIDATION, TEST = PARTS = ("train", "validation", "test")
COLUMNS = ("record", "class", "source", "group", "part")
_CHOICES = {"class": CLASSES, "part": PARTS}


class Entry(NamedTuple):
    """What is said of one record; empty where nothing is."""

    source: str = ""
    group: str = ""
    part: str = ""
    kind: str = ""  # the column "class"


def read_records_table(path: Path, option: str, needed: str) -> dict[str, Entry]:
    """Read a table of tab-separated columns with a header: of `COLUMNS`, "record" and one that is needed, and others.

    Args:
        option: What named the table. needed: "source" or "class".
    Returns:
        The entry of each record, by its id.
    Raises:
        BadRequest: It is not there. BadInput: Not such a table, or it says of a record nothing, or two things.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            header = rows.fieldnames or []
            if missing := [name for name in ("record", needed) if name not in header]:
                others = [name for name in COLUMNS[1:] if name != needed]
                raise BadInput(
                    f"{path}: no column {missing[0]!r} in its first line ({' '.join(header)[:80]!r}). Give a table "
                    f"with tabs, headed record and {needed}, and if wanted {', '.join(others)}."
                )
            return _entries(rows, path, needed)
    except OSError as error:
        raise BadRequest(f"{option} {path}: cannot be read ({error.strerror}). Check the path.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path}: is no table of text ({error}). Give one in UTF-8, with tabs.") from error


def _entries(rows: csv.DictReader[str], path: Path, needed: str) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    parts: dict[str, str] = {}  # of sources
    for row in rows:
        values = {name: (row.get(name) or "").strip() for name in COLUMNS}
        record, where = values["record"], f"{path}, line {rows.line_num}"
        if not record or not values[needed]:
            raise BadInput(f"{where}: a record without a {needed}, or a {needed} without a record. Give both.")
        for name, choices in _CHOICES.items():
            if values[name] not in ("", *choices):
                raise BadInput(f"{where}: {name} {values[name]!r} is unknown. Give one of {', '.join(choices)}.")
        entry = Entry(values["source"], values["group"], values["part"], values["class"])
        if entries.setdefault(record, entry) != entry:
            raise BadInput(f"{where}: record {record!r} is there twice, with other columns. Give it once.")
        if entry.source and parts.setdefault(entry.source, entry.part) != entry.part:
            raise BadInput(
                f"{where}: source {entry.source!r} is in the parts {parts[entry.source]!r} and {entry.part!r}. A "
                "source is in one part, or what is tested was seen in training."
            )
    return entries
