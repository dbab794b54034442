"""virnucpro train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from virnucpro.commands import options as shared
from virnucpro.config.settings import Settings
from virnucpro.errors import Interrupted
from virnucpro.models.catalog import DEFAULT_ESM_MODEL, ESM2_SIZES
from virnucpro.models.language_models import FEATURE_ORDER, PUBLISHED_FEATURES, parse_features, spelled
from virnucpro.system import processes
from virnucpro.system.translators import translate_ahead
from virnucpro.training.recipes import FRAMES, LICENCE, RECIPES

PARTIAL = 3


@click.command(cls=shared.ManyFiles, epilog=shared.EXIT_CODES)
@click.argument("viral", nargs=-1, required=True, callback=shared.all_written_out, metavar="VIRAL...")
@click.option(
    "--others",
    multiple=True,
    required=True,
    callback=shared.all_written_out,
    metavar="OTHER...",
    help="Files of what is no virus.",
)
@shared.path("--output", "-o", required=True, help="The classifier, a .safetensors file.")
@shared.number("--chunk-size", default=500, show_default=True, type=click.IntRange(min=3), metavar="BP",
               help="Length of chunks, in bp.")  # fmt: skip
@click.option(
    "--features",
    default=spelled(PUBLISHED_FEATURES),
    show_default=True,
    metavar="A+B",
    help=f"What a frame is known by: some of {', '.join(FEATURE_ORDER)}, joined by '+'.",
)
@shared.weights_dir
@shared.choice("--esm-model", list(ESM2_SIZES), DEFAULT_ESM_MODEL, f"ESM-2 size: {', '.join(ESM2_SIZES)}.", "NAME")
@shared.path(
    "--sources",
    metavar="TABLE",
    help="Tab-separated, headed record, source, and if wanted group (for tables of figures) and part (train, "
    "validation or test). What has one source is in one part.  [default: each record its own source]",
)
@click.option("--test", default=0.25, show_default=True, help="Share of the sources that judge, and never train.")
@click.option("--validation", default=0.1, show_default=True, help="Share of the others, which choose the best epoch.")
@shared.number("--seed", default=0, show_default=True, help="Of what is drawn; the test part does not depend on it.")
@shared.choice(
    "--frames", FRAMES, "open", "What trains: all open frames, or those that read a record as it begins (coding "
    "sequences). All open ones are judged."
)  # fmt: skip
@shared.choice("--recipe", list(RECIPES), "default", "How to fit: AdamW on scaled features, or as the published ones.")
@click.option("--licence", default=LICENCE, show_default=True, metavar="TEXT", help="Of the classifier, for its card.")
@click.option("--note", default="", metavar="TEXT", help="A line on what it is good for, which `predict` shows.")
@shared.engine
@shared.flag("--save-embeddings", help="Write the features of all frames, too, to embeddings.h5.")
@shared.flag("--resume", help="Go on with the training of --output.")
@shared.flag("--force", help="Start the training of --output over.")
@shared.no_progress
@shared.verbosity
def train(
    viral: tuple[str, ...], others: tuple[str, ...], output: Path, chunk_size: int, features: str, sources: Path | None,
    test: float, validation: float, seed: int, frames: str, recipe: str, licence: str, note: str, no_progress: bool,
    **options: Any,
) -> int:  # fmt: skip
    """Train a classifier on the sequences of VIRAL and of --others: FASTA or FASTQ of DNA, plain or compressed.

    Writes the classifier, with all that belongs to it in its metadata, for `virnucpro predict --model`; and beside it
    NAME_training/ with metrics.json, scores.tsv (every chunk of the test), split.tsv, model_card.md and report.html.
    Sources that judge a classifier train none: the same ones whatever the seed, by the sha256 of their names.
    """
    settings = Settings(
        (*viral, *others), output.parent, features=parse_features(features), chunks=chunk_size,
        show_progress=not no_progress, **options,
    )  # fmt: skip
    translate_ahead("virnucpro.pipeline.train", "virnucpro.executors.local")
    from virnucpro.pipeline.train import train as train_classifier
    from virnucpro.training.settings import TrainingSettings
    from virnucpro.training.split import SplitRule

    asked = TrainingSettings(
        viral, others, output, settings, sources, SplitRule(test, validation, seed), frames, recipe, licence, note
    )
    from virnucpro.commands.report import draw_quietly

    draw_quietly()
    try:
        summary = train_classifier(asked, started=lambda computation: processes.stop_with(computation.stop))
    except KeyboardInterrupt:
        raise Interrupted from None
    return PARTIAL if summary.failed else 0
