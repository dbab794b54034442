"""virnucpro evaluate."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click

from virnucpro.commands import options as shared
from virnucpro.config.settings import Settings
from virnucpro.errors import BadRequest, Interrupted
from virnucpro.system import processes
from virnucpro.system.translators import translate_ahead

PARTIAL = 3
log = logging.getLogger(__name__)


@click.command(cls=shared.ManyFiles, epilog=shared.EXIT_CODES)
@click.argument("viral", nargs=-1, required=True, callback=shared.all_written_out, metavar="VIRAL...|RUN_DIR")
@click.option(
    "--others", multiple=True, callback=shared.all_written_out, metavar="OTHER...", help="Files of what is no virus."
)
@shared.path(
    "--labels",
    metavar="TABLE",
    help="Of the records in RUN_DIR: tab-separated, headed record, class (virus or others), and if wanted source and "
    "group. What has one source is drawn together for the intervals.  [default source: the record itself]",
)
@shared.path("--output-dir", help="Directory for the run and the evaluation.  [default with RUN_DIR: that]")
@shared.models
@shared.path("--sources", metavar="TABLE", help="With --others: headed record, source, and if wanted group.")
@click.option(
    "--prevalence", type=float, default=0.05, show_default=True,
    metavar="SHARE", help="Share of viruses for which precision and false discovery rates are told.",
)  # fmt: skip
@shared.flag("--baselines", help="With --others: judge simple predictors of the same chunks, too, by cross-validation.")
@shared.engine
@shared.flag("--resume", help="Go on with the run in the output directory.")
@shared.flag("--force", help="Start the run in the output directory over.")
@shared.no_progress
@shared.verbosity
def evaluate(
    viral: tuple[str, ...], others: tuple[str, ...], labels: Path | None, output_dir: Path | None, sources: Path | None,
    prevalence: float, baselines: bool, no_progress: bool, **options: Any,
) -> int:  # fmt: skip
    """Judge a classifier by sequences of known class: files of VIRAL and --others, or a finished run and --labels.

    With files all of them are classified as `virnucpro predict` does. Prints figures with 95 % intervals over sources,
    and writes evaluation_NAME.html (with pictures; one file, no internet) and .json.
    """
    if not 0 < prevalence < 1:
        raise BadRequest(f"--prevalence must be above 0 and below 1, not {prevalence}.")
    if bool(others) == (labels is not None):
        raise BadRequest("Give files of viruses and --others, or the directory of a finished run and --labels.")
    if others and output_dir is None:
        raise BadRequest("With --others there is a run to be made. Give --output-dir.")
    if labels is not None and (len(viral) > 1 or sources is not None or baselines):
        raise BadRequest("With --labels give one directory of a finished run, and neither --sources nor --baselines.")
    if labels is not None and (idle := shared.given(options)):
        raise BadRequest(f"{idle[0]} is of a run that is to be made, and with --labels there is one. Leave it out.")
    if streams := [name for name in (*viral, *others) if others and not Path(name).is_file()]:
        raise BadRequest(f"{streams[0]} is no regular file, and sequences are read several times. Write them to one.")
    settings = Settings((*viral, *others), output_dir or Path(), show_progress=not no_progress, **options)
    if others:
        translate_ahead("virnucpro.pipeline.run", "virnucpro.executors.local")
    from virnucpro.commands.report import draw_quietly
    from virnucpro.evaluation import page
    from virnucpro.evaluation.records_table import read_records_table
    from virnucpro.pipeline import evaluate as story

    draw_quietly()
    partial, dna = False, None
    if labels is not None:
        run = story.finished_run(Path(viral[0]))
        known = story.labels_of_table(read_records_table(labels, "--labels", "class"))
    else:
        entries = read_records_table(sources, "--sources", "source") if sources else None
        known = story.labels_of_files(viral, others, entries)
        run, partial = _run(settings)
        dna = story.chunk_dna(settings.inputs, run.chunk_size) if baselines else None
    folder = output_dir or run.root
    folder.mkdir(parents=True, exist_ok=True)
    document, path = story.evaluate(run, known, prevalence, folder, dna, not no_progress)
    click.echo(page.text(document), nl=False)
    log.info("Page: %s", path)
    return PARTIAL if partial else 0


def _run(settings: Settings) -> tuple[Any, bool]:
    """Classify the files; returns the finished run, and whether it is partial."""
    from virnucpro.pipeline.evaluate import finished_run
    from virnucpro.pipeline.run import run
    from virnucpro.reading.reads import stem_of

    try:
        summary = run(settings, started=lambda computation: processes.stop_with(computation.stop))
    except KeyboardInterrupt:
        raise Interrupted from None
    return finished_run(settings.output_dir / f"{stem_of(settings.inputs[0])}_run.json"), summary.partial
