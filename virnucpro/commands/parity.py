"""virnucpro parity."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click

from virnucpro.commands import options as shared
from virnucpro.config.settings import INPUT_TYPES, Settings
from virnucpro.errors import BadRequest
from virnucpro.system.folders import check_lengths

BELOW = 1
log = logging.getLogger(__name__)
_share = click.FloatRange(0, 1)


@click.command(epilog=shared.EXIT_CODES)
@click.argument("input", callback=shared.written_out)
@click.option(
    "--output-dir",
    type=shared.PathOption(),
    default=".",
    show_default="here",
    help="For parity_{name}.* files, which are replaced.",
)
@shared.weights_dir
@shared.model_type
@shared.model_path
@shared.esm_model
@click.option("--input-type", type=click.Choice(INPUT_TYPES), default="auto", show_default=True, help="As in predict.")
@shared.gpus
@click.option("--batch-tokens", type=int, metavar="N", help="As in predict.")
@shared.precision
@shared.attention
@click.option(
    "--sequences",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    metavar="N",
    help="Chunks, or proteins, to draw from the whole input; the same ones every time.",
)
@click.option(
    "--min-cosine", type=_share, default=0.999, show_default=True, help="Least cosine to float32 of any feature."
)
@click.option(
    "--min-agreement", type=_share, default=0.99, show_default=True, help="Least share of frames and chunks that keep "
    "their label.",
)  # fmt: skip
@shared.no_progress
@shared.verbosity
def parity(
    input: str,
    output_dir: Path,
    sequences: int,
    min_cosine: float,
    min_agreement: float,
    no_progress: bool,
    **options: Any,
) -> int:
    """Compare a precision with float32 on your own sequences and weights, before you trust it.

    Computes N chunks of INPUT in --precision, as predict would, and in float32, one by one; reports the cosines of the
    features, the differences of the scores and whether the labels agree. Exit code 1 below a threshold. Writes
    parity_NAME.html (with pictures; one file, no internet), .tsv (a row a frame) and .json.
    """
    settings = Settings((input,), output_dir, show_progress=not no_progress, **options)
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
            raise BadRequest(
                f"Cannot make the output directory {output_dir}: {error.strerror}. Choose another."
            ) from error

    agreement, about = measure(settings, sequences, begin)
    about["thresholds"] = {"min_cosine": min_cosine, "min_agreement": min_agreement}
    summary = agreement.summary()
    short = shortfalls(summary, min_cosine, min_agreement)
    page = write(output_dir, stem_of(input), agreement, summary, about, short)
    click.echo(text(agreement, summary, about, short), nl=False)
    log.info("Page: %s", page)
    return BELOW if short else 0
