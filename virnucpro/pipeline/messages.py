"""Messages: what a run tells its user, before and after the computation."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from virnucpro.engine.results import FinishedWindow
from virnucpro.models.catalog import PRECISIONS
from virnucpro.output.tables import Counts
from virnucpro.pipeline.audit import Audit
from virnucpro.reading.alphabet import GAPS
from virnucpro.reading.input_kind import InputKind
from virnucpro.reading.survey import Survey

log = logging.getLogger(__name__)


def say_what_was_read(survey: Survey) -> None:
    """Tell of the input, before any model is loaded."""
    if survey.kind == InputKind.PROTEIN:
        log.warning("The input is protein: features are written, no verdicts.")
    if survey.records == 0:
        log.warning("The input holds no records: the result files have headers only.")
    for count, message in (
        (survey.empty, "records are empty; they are listed in sequences.tsv."),
        (survey.glued, "ids have '>' in them. Make sure that no headers were joined when files were."),
        (survey.rna, "records have the letter U: codons with U are left out. Convert U to T to have RNA read as DNA."),
        (survey.gapped, f"records have gaps (one of {GAPS}): they are counted as letters, and codons with them are "
         "left out. Take them out if the sequences come from an alignment."),
        (survey.dna, "records are DNA by their letters. They are read as proteins, as was asked for."),
    ):  # fmt: skip
        if count:
            log.warning("%d of %d %s", count, survey.records, message)
    unit = "bp" if survey.kind == InputKind.NUCLEOTIDE else "residues"
    log.info("Read %d records: %d %s.", survey.records, survey.letters, unit)


@dataclass
class InputWarnings:
    """What a user should know of the sequences, summed up over windows."""

    sequences: int = 0
    failed: int = 0
    cut: int = 0
    unknown: int = 0
    copies: int = 0
    reason: str = ""  # of one failure

    @classmethod
    def of(cls, windows: Iterable[FinishedWindow]) -> InputWarnings:
        sums = cls()
        for window in windows:
            sums.sequences += window.sequences
            sums.failed += len(window.failures)
            sums.cut += window.cut
            sums.unknown += window.unknown
            sums.copies += window.copies
            sums.reason = sums.reason or next(iter(window.failures.values()), "")
        return sums


def say_what_came_out(fates: dict[str, int], counts: Counts | None, odd: InputWarnings, synthetic: bool) -> None:
    """Tell of the results, when their files are written."""
    if odd.cut:
        log.warning("%d proteins are longer than 1,024 residues: only their first 1,024 count.", odd.cut)
    if odd.unknown:
        log.warning("%d residues are not in ESM-2's alphabet and are read as X.", odd.unknown)
    if odd.copies:
        log.info(
            "%d of %d sequences have the residues of another one in their window: they were not computed again.",
            odd.copies, odd.sequences,
        )  # fmt: skip
    log.info("Records: %s.", ", ".join(f"{count} {fate}" for fate, count in fates.items()) or "none")
    if counts is not None:
        calls = ", ".join(f"{count} {call}" for call, count in sorted(counts.calls.items())) or "none called"
        log.info("Chunks called viral: %d of %d. Contigs: %s.", counts.viral_chunks, counts.chunks, calls)
        if counts.within is not None:
            log.info("Contigs within the false discovery rate: %d of %d.", counts.within, counts.contigs)
    if synthetic:
        log.warning("Remember: the weights were synthetic, the results mean nothing.")
    if odd.failed:
        log.error(
            "Partial result: %d of %d sequences failed (%s). Repeat the command with --resume to try them again.",
            odd.failed, odd.sequences, odd.reason,
        )  # fmt: skip


def say_what_the_audit_found(audit: Audit, precision: str, sequences: int) -> None:
    """Tell in one line how near 8 bits came to what they are made of."""
    wider = PRECISIONS[precision].made_of
    what = f"{audit.sequences} of {sequences} sequences were computed in {wider} too"
    if audit.missed:
        log.error(
            "Partial result: the audit of %s failed: %s (%s). Run again with --precision %s, or add --resume --audit "
            "fallback.",
            precision, "; ".join(audit.missed), what, wider,
        )  # fmt: skip
    elif audit.sequences:
        log.info("The audit of %s is passed: %s: %s.", precision, what, audit)
