"""Labels: of which class every record is, which source it comes from, and into which part that puts it.

Axes: N records, C chunks of all records, both in order of the input.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from virnucpro.errors import BadInput
from virnucpro.evaluation.records_table import CLASSES, PARTS, TEST, Entry
from virnucpro.reading.chunks import chunk_spans
from virnucpro.reading.frames import reverse_complement
from virnucpro.reading.reads import Read
from virnucpro.training.split import SplitRule

_UNKNOWN = "NRYSWKMBDHVX-.~*?"  # letters that are no base


@dataclass(frozen=True)
class Labels:
    """What is known of every record; parts are places in `PARTS`.

    shared_C: chunks of training and validation whose sequence, on either strand, another class or part has too; they
    are left out. conflicting: chunks of the test whose sequence the other class has there, too; they count all the
    same.
    """

    names: list[str]
    virus_N: np.ndarray  # bool
    sources: list[str]
    groups: list[str]
    part_N: np.ndarray  # uint8
    shared_C: np.ndarray  # bool
    conflicting: int = 0

    def digest(self) -> str:
        """The sha256 of all that is known."""
        rows = zip(self.names, self.virus_N.tolist(), self.sources, self.groups, self.part_N.tolist(), strict=True)
        return hashlib.sha256("\n".join("\t".join(map(str, row)) for row in rows).encode()).hexdigest()

    def counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """Count records and sources by part and class."""
        table: dict[str, dict[str, dict[str, int]]] = {}
        for place, part in enumerate(PARTS):
            for virus, name in enumerate(CLASSES):
                chosen = np.flatnonzero((self.part_N == place) & (self.virus_N == bool(virus)))
                sources = {self.sources[number] for number in chosen}
                table.setdefault(part, {})[name] = {"records": len(chosen), "sources": len(sources)}
        return table


def label(
    viral: Iterable[Read], others: Iterable[Read], entries: dict[str, Entry] | None, rule: SplitRule, chunk_size: int
) -> Labels:
    """Label all records, viral ones first.

    Args:
        entries: Of the table of sources, by id; None where every record is a source of its own.
        chunk_size: bp.
    Raises:
        BadInput: A record has no source, two records have the same sequence, on either strand, in both classes or in
            two parts, or a class has no source in a part.
    """
    names, virus, sources, groups, parts = list[str](), list[bool](), list[str](), list[str](), list[int]()
    records: dict[bytes, int] = {}  # the first with that sequence
    chunk_digests, chunk_records = list[int](), list[int]()
    for is_virus, reads in ((True, viral), (False, others)):
        for read in reads:
            number = len(names)
            entry = Entry(read.name) if entries is None else entries.get(read.name)
            if entry is None:
                raise BadInput(
                    f"record {read.name!r} is not in the table of --sources. Add it, or leave the record out."
                )
            names.append(read.name)
            virus.append(is_virus)
            sources.append(entry.source)
            groups.append(entry.group)
            parts.append(PARTS.index(entry.part or rule.part_of(entry.source)))
            sequence = read.sequence.upper().replace("U", "T")
            known = bool(sequence.strip(_UNKNOWN))  # without a base it has no frame, and is like all others of its kind
            if known and (twin := records.setdefault(_digest(sequence), number)) != number:
                _check_twins(names, virus, parts, twin, number)
            for start, end in chunk_spans(len(sequence), chunk_size):
                piece = sequence[start:end]
                own = f"{number} {start}"  # of a piece without a base, which has no frame
                chunk_digests.append(int.from_bytes(_digest(piece if piece.strip(_UNKNOWN) else own)[:8], "little"))
                chunk_records.append(number)
    virus_N, part_N = np.array(virus, bool), np.array(parts, np.uint8)
    record_C = np.array(chunk_records, np.int64)
    digest_C, tested_C = np.array(chunk_digests, np.uint64), part_N[record_C] == PARTS.index(TEST)
    shared_C = _shared(digest_C, 2 * part_N[record_C] + virus_N[record_C]) & ~tested_C
    conflicting = int(_shared(digest_C[tested_C], virus_N[record_C[tested_C]]).sum())
    labels = Labels(names, virus_N, sources, groups, part_N, shared_C, conflicting)
    _check_parts(labels, rule)
    return labels


def _digest(sequence: str) -> bytes:
    """The same for both strands."""
    return hashlib.blake2b(min(sequence, reverse_complement(sequence)).encode(), digest_size=16).digest()


def _check_twins(names: list[str], virus: list[bool], parts: list[int], one: int, other: int) -> None:
    if virus[one] != virus[other]:
        where, advice = "is viral and is not", "Take it out of one of the classes."
    elif parts[one] != parts[other]:
        where = f"is in the parts {PARTS[parts[one]]} and {PARTS[parts[other]]}"
        advice = "Give both the same source, or leave one out."
    else:
        return
    raise BadInput(
        f"records {names[one]!r} and {names[other]!r} are the same sequence, on the same strand or the other, which "
        f"{where}. {advice}"
    )


def _shared(digest_C: np.ndarray, kind_C: np.ndarray) -> np.ndarray:
    """Which chunks have the digest of a chunk of another kind: bool (C,)."""
    _, number_C = np.unique(digest_C, return_inverse=True)
    pairs = np.unique(np.stack([number_C, kind_C.astype(np.int64)]), axis=1)
    kinds = np.bincount(pairs[0], minlength=int(number_C.max(initial=-1)) + 1)
    shared_C: np.ndarray = kinds[number_C] > 1
    return shared_C


def _check_parts(labels: Labels, rule: SplitRule) -> None:
    counts = labels.counts()
    for name in CLASSES:
        total = Counter({part: counts[part][name]["sources"] for part in PARTS})
        if not total.total():
            which = "VIRAL" if name == "virus" else "--others"
            raise BadInput(f"no record is given for the class {name!r}: {which} has none. Give sequences of both.")
        if empty := [part for part in PARTS if not total[part]]:
            raise BadInput(
                f"the class {name!r} has {total.total()} sources, of which none is in the part {empty[0]} (--test "
                f"{rule.test}, --validation {rule.validation}). Give more sources, other shares, or the parts "
                "themselves in a column 'part' of --sources."
            )
