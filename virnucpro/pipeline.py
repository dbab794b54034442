"""The pipeline, from reads to report.

reads -> chunks -> frames -> parts -> features -> scores -> verdicts -> report
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator

from virnucpro.classifier import Classifier, scores
from virnucpro.devices import Placement, place, usable_cpus
from virnucpro.features import is_done, read_features
from virnucpro.manifest import check_same, describe_input, describe_request
from virnucpro.models import Models, check_models
from virnucpro.parts import Part, assign, part_count, read_part, split
from virnucpro.progress import ProgressBars
from virnucpro.reads import Read, read_records, sniff, stem_of, with_unique_names
from virnucpro.report import Counts, has_results, write_fates, write_verdicts
from virnucpro.rundir import RunDirectory
from virnucpro.settings import Settings
from virnucpro.translation import InputDigest, Translated, translate_reads
from virnucpro.verdicts import FrameScore
from virnucpro.workers import Work, extract

log = logging.getLogger(__name__)
MAX_TRANSLATORS = 4  # processes; more do not help, for one process writes the files


def predict(settings: Settings) -> dict[str, int]:
    """Run the pipeline and write its result files.

    Returns:
        How many input records met each fate; a key "failed" means a partial result.
    Raises:
        BadInput: The sequences cannot be used. BadRequest: The request cannot be met.
    """
    kind, reads = sniff(read_records(settings.input), settings.input_type)
    models = check_models(settings, kind)
    placement = place(settings.gpus, settings.parallel, settings.workers_per_gpu, settings.esm_model)
    run = RunDirectory(settings.output_dir, stem_of(settings.input), models.chunk_size)
    reads = with_unique_names(reads, settings.rename_duplicates)
    with run.opened(settings.resume, settings.force) as earlier:
        return _predict(reads, settings, kind, models, placement, run, earlier)


def _predict(
    reads: Iterator[Read],
    settings: Settings,
    kind: str,
    models: Models,
    placement: Placement,
    run: RunDirectory,
    earlier: dict | None,
) -> dict[str, int]:
    """The way from reads to report, once all that could be refused at the outset is checked."""
    started = time.monotonic()
    manifest = describe_request(settings, kind, models, placement)
    if settings.resume and earlier is not None:
        check_same(earlier, manifest, run.root)
        if earlier["status"] == "complete" and has_results(run.results, kind):
            return _confirm_complete(reads, earlier, run)

    def begin(translated: Translated) -> None:
        """All input is read and good: from here on the directory is this run's."""
        manifest.update(describe_input(translated.digest))
        if settings.resume and earlier is not None:
            check_same(earlier, describe_input(translated.digest), run.root)
            manifest["parts"] = earlier["parts"]  # however many workers there are now
        else:
            manifest["parts"] = part_count(translated.sequences, len(placement.workers), settings.parallel)
            if earlier is not None:
                run.remove_run(earlier)
        run.write_manifest(manifest | {"status": "running"})

    processes = settings.num_workers or min(MAX_TRANSLATORS, usable_cpus())
    translated = translate_reads(reads, run, kind, models.chunk_size, processes, begin)
    _say_what_was_read(translated, kind)
    request = json.dumps([manifest["settings"], manifest["weights"]], sort_keys=True)
    parts = split(run, translated.sequences, manifest["parts"], kind == "nucleotide", request)
    translated_at = time.monotonic()

    failed = _extract_features(parts, settings, kind, models, placement)
    extracted_at = time.monotonic()

    run.results.mkdir(exist_ok=True)
    counts, failures = None, {}
    if kind == "nucleotide":
        counts = write_verdicts(run.results, _scored(parts, failed, models.classifier), failures)
    else:
        failures = {name: reason for part, reason in _failed(parts, failed) for name in read_part(part.protein_file)[0]}
    fates = write_fates(run.results, run.reads_table, kind, failures)
    run.write_manifest(manifest | {"status": "partial" if failed else "complete", "fates": fates})
    if not failed:
        _clean_up(run, settings, kind)
    log.info(
        "Seconds: %.1f reading and translating, %.1f features, %.1f scoring.",
        translated_at - started, extracted_at - translated_at, time.monotonic() - extracted_at,
    )  # fmt: skip
    _say_what_came_out(run, fates, counts, _failed(parts, failed), len(parts), models)
    return fates


def _confirm_complete(reads: Iterator[Read], earlier: dict, run: RunDirectory) -> dict[str, int]:
    """Nothing is left to do, provided that the input is the one of the complete run."""
    digest = InputDigest()
    for _ in digest.passing(reads):
        pass
    check_same(earlier, describe_input(digest), run.root)
    log.info("Nothing to do: the run in %s is complete.", run.root)
    return earlier["fates"]


def _extract_features(
    parts: list[Part], settings: Settings, kind: str, models: Models, placement: Placement
) -> dict[int, str]:
    """Have the workers write the feature files that are not there yet; return failures by part index."""
    undone = [part for part in parts if not is_done(part)]
    total, left = (sum(part.sequences for part in group) for group in (parts, undone))
    if left < total:
        log.info("Resuming: %d of %d parts are done.", len(parts) - len(undone), len(parts))
    work = Work(
        weights=models.weights,
        bf16=placement.bf16,
        keep_casts=placement.keep_casts,
        batch_residues=placement.batch_residues(settings.batch_tokens),
        threads=max(1, usable_cpus() // len(placement.workers)),
        log_level=logging.getLogger().level,
    )
    with ProgressBars(settings.show_progress) as bars:
        for model in ("DNABERT-S", "ESM-2") if kind == "nucleotide" else ("ESM-2",):
            bars.add(model, total, done=total - left)
        return extract(assign(undone, len(placement.workers)), placement.workers, work, bars.advance)


def _scored(parts: list[Part], failed: dict[int, str], classifier: Classifier) -> Iterator[FrameScore]:
    """Scores of all frames in order of the input; those of failed parts carry the reason."""
    for part in parts:
        if part.index in failed:
            for name in read_part(part.protein_file)[0]:
                yield FrameScore(name, failure=failed[part.index])
            continue
        names, features_SF = read_features(part.feature_file)
        for name, (others, virus) in zip(names, scores(classifier.model, features_SF).numpy(), strict=True):
            # through the shortest text of the float32, the number that the tables show
            yield FrameScore(name, float(str(others)), float(str(virus)))


def _failed(parts: list[Part], failed: dict[int, str]) -> list[tuple[Part, str]]:
    """The parts that failed, with their reasons."""
    return [(part, failed[part.index]) for part in parts if part.index in failed]


def _clean_up(run: RunDirectory, settings: Settings, kind: str) -> None:
    """Remove what the results no longer need; the features of a protein input are results."""
    if settings.keep_intermediate:
        run.remove_parts()
    else:
        run.remove_intermediate()
        if kind == "nucleotide":
            run.remove_features()


def _say_what_was_read(translated: Translated, kind: str) -> None:
    if translated.digest.reads == 0:
        log.warning("The input holds no records: the result files have headers only.")
    if translated.empty:
        log.warning(
            "%d of %d records are empty; they are listed in sequences.tsv.", translated.empty, translated.digest.reads
        )
    if translated.rna:
        log.warning(
            "The sequences have U and no T: codons with U are left out. Convert U to T to have RNA read as DNA."
        )
    if translated.cut:
        log.warning("%d proteins are longer than 1,024 residues: only their first 1,024 count.", translated.cut)
    if translated.unknown_letters:
        log.warning("%d residues are not in ESM-2's alphabet and are read as X.", translated.unknown_letters)
    what = "open frames" if kind == "nucleotide" else "proteins"
    log.info("Read %d records: %d %s.", translated.digest.reads, translated.sequences, what)


def _say_what_came_out(
    run: RunDirectory,
    fates: dict[str, int],
    counts: Counts | None,
    failed: list[tuple[Part, str]],
    parts: int,
    models: Models,
) -> None:
    log.info("Records: %s.", ", ".join(f"{count} {fate}" for fate, count in fates.items()) or "none")
    if counts is not None:
        log.info(
            "Chunks called viral: %d of %d; contigs called: %d.", counts.viral_chunks, counts.chunks, counts.contigs
        )
    if models.synthetic:
        log.warning("Remember: the weights were synthetic, the results mean nothing.")
    if failed:
        names = ", ".join(f"{part.name} ({reason})" for part, reason in failed)
        log.error(
            "Partial result: %d of %d parts failed: %s. Repeat the command with --resume.", len(failed), parts, names
        )
    log.info("Results: %s", run.results if counts is not None else f"{run.features} (features), {run.results}")
