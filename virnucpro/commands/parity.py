"""virnucpro parity."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import click

from virnucpro.commands import options as shared
from virnucpro.config.settings import INPUT_TYPES, Settings
from virnucpro.errors import BadRequest
from virnucpro.models.catalog import PRECISIONS
from virnucpro.system.folders import check_lengths
from virnucpro.system.translators import translate_ahead

BELOW = 1
log = logging.getLogger(__name__)
_LEAST = ", ".join(f"{name} {row.least_cosine}" for name, row in PRECISIONS.items())
_share = partial(click.option, type=click.FloatRange(0, 1), show_default=True)


@click.command(epilog=shared.EXIT_CODES)
@click.argument("input", callback=shared.written_out)
@shared.path("--output-dir", default=".", show_default="here", help="For parity_{name}.* files, which are replaced.")
@shared.models
@shared.choice("--input-type", INPUT_TYPES, "auto", "As in predict.")
@shared.gpus
@shared.number("--batch-tokens", help="As in predict.")
@shared.arithmetic
@shared.number(
    "--sequences",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Chunks, or proteins, to draw from the whole input; the same ones every time.",
)
@_share("--min-cosine", show_default=_LEAST, help="Least cosine to float32 of any feature.")
@_share("--min-agreement", default=0.99, help="Least share of frames and chunks that keep their label.")
@shared.no_progress
@shared.verbosity
def parity(input: str, output_dir: Path, sequences: int, no_progress: bool, **options: Any) -> int:
    """Compare a precision with float32 on your own sequences and weights, before you trust it.

    Computes N chunks of INPUT in --precision, as predict would, and in float32, one by one; reports the cosines of the
    features, the differences of the scores and whether the labels agree. Exit code 1 below a threshold. Writes
    parity_NAME.html (with pictures; one file, no internet), .tsv (a row a frame) and .json.
    """
    thresholds = {name: options.pop(name) for name in ("min_cosine", "min_agreement")}
    settings = Settings((input,), output_dir, show_progress=not no_progress, **options)
    translate_ahead("virnucpro.diagnostics.parity")
    from virnucpro.commands.report import draw_quietly
    from virnucpro.diagnostics.parity import measure  # imports torch
    from virnucpro.diagnostics.parity_report import shortfalls, text, write
    from virnucpro.reading.reads import stem_of

    draw_quietly()
    check_lengths(
        [output_dir / f"parity_{stem_of(input)}.html"],
        "Give the input a shorter name (a link will do), or choose another --output-dir.",
    )

    def begin() -> None:
        try:
            output_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"Cannot make the output directory {output_dir}: {error.strerror}. Choose another."
            raise BadRequest(message) from error

    agreement, about = measure(settings, sequences, begin)
    if thresholds["min_cosine"] is None:
        thresholds["min_cosine"] = PRECISIONS[about["precision"]].least_cosine
    about["thresholds"] = thresholds
    summary = agreement.summary()
    short = shortfalls(summary, thresholds["min_cosine"], thresholds["min_agreement"])
    page = write(output_dir, stem_of(input), agreement, summary, about, short)
    click.echo(text(agreement, summary, about, short), nl=False)
    log.info("Page: %s", page)
    return BELOW if short else 0
