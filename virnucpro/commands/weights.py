"""virnucpro weights list|fetch|verify|convert."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from virnucpro.commands import options as shared
from virnucpro.errors import BadRequest, BadWeights, Interrupted
from virnucpro.models.locate import DEMO, default_directory
from virnucpro.system.folders import check_lengths
from virnucpro.weights.sources import BY_NAME, USUAL

if TYPE_CHECKING:
    from virnucpro.weights.inventory import Shown

log = logging.getLogger(__name__)
names = click.argument("names", nargs=-1, metavar="[NAME]...", type=click.Choice(list(BY_NAME)))


@click.group(epilog=shared.EXIT_CODES)
@shared.verbosity
def weights() -> None:
    """Fetch, check and convert the models' weights."""


@weights.command("list", epilog=shared.EXIT_CODES)
@shared.weights_dir
@shared.flag("--urls", help="Only sha256, address and path of every published file, to fetch them by other means.")
@shared.verbosity
def list_models(weights_dir: Path | None, urls: bool) -> int:
    """Show which models there are, where they are published, and which of them are here."""
    if urls:
        for model in BY_NAME.values():
            for file in model.files:
                click.echo(f"{file.sha256 or '-':<64}  {file.address()}  {file.path}")
        return 0
    from virnucpro.weights.inventory import holding

    directory = weights_dir or default_directory()
    click.echo(f"{'NAME':<20}{'SIZE':>10}  {'WHAT FOR':<30}STATE")
    for model in BY_NAME.values():
        stock = holding(directory, model)
        state = "here" if stock.whole else "not whole" if stock.files else "-"
        if not stock.whole and stock.arrived:
            state = f"{stock.arrived / 1e6:,.0f} MB have arrived"
        size = "unknown" if model.size is None else f"{model.size / 1e6:,.0f} MB"
        click.echo(f"{model.name:<20}{size:>10}  {model.what:<30}{state}")
    click.echo(f"{DEMO:<20}{'':>13}  {'to try it: predict --model':<30}comes with the program")
    click.echo(
        f"\nDirectory: {directory}\nTo fetch what `virnucpro predict` needs: virnucpro weights fetch; to check what is "
        "here: virnucpro weights verify."
    )
    return 0


@weights.command(epilog=shared.EXIT_CODES)
@click.argument("names", nargs=-1, metavar="[NAME]...", type=click.Choice([*BY_NAME, DEMO]))
@shared.weights_dir
@click.option(
    "--mirror",
    envvar="VIRNUCPRO_MIRROR",
    show_envvar=True,
    metavar="URL",
    help="Fetch from a web server that serves a copy of a weights directory, SHA256SUMS included.",
)
@shared.flag("--force", help="Fetch again what is here.")
@shared.no_progress
@shared.verbosity
def fetch(names: tuple[str, ...], weights_dir: Path | None, mirror: str | None, force: bool, no_progress: bool) -> int:
    """Fetch the models NAME..., or what `virnucpro predict` needs by default: 3B ESM-2, DNABERT-S, both classifiers.

    A download that was broken off is resumed. Every file is checked against the published sha256 and goes on record
    in SHA256SUMS. Proxies are taken from HTTPS_PROXY; HF_ENDPOINT names a mirror of the Hugging Face hub.
    """
    from virnucpro.weights.inventory import fetch as fetch_model

    directory = weights_dir or default_directory()
    try:
        with _bars(not no_progress) as shown:
            for name in names or USUAL:
                if name == DEMO:
                    log.info("%s comes with the program: virnucpro predict FILE --model demo --output-dir out", name)
                elif not fetch_model(BY_NAME[name], directory, mirror, force, shown):
                    log.info("%s is here already.", name)
    except KeyboardInterrupt:
        raise Interrupted("What has arrived is kept: repeat the command to go on.") from None
    log.info("Directory: %s", directory)
    if weights_dir is None and directory.is_absolute():
        log.info("`virnucpro predict` finds it by itself.")
    return 0


@weights.command(epilog=shared.EXIT_CODES)
@names
@shared.weights_dir
@shared.flag("--record", help="Put files on record whose sha256 nobody knows yet.")
@shared.flag("--force", help="With --record: also files that differ from what is known.")
@shared.no_progress
@shared.verbosity
def verify(names: tuple[str, ...], weights_dir: Path | None, record: bool, force: bool, no_progress: bool) -> int:
    """Check the models NAME..., or all that are here, against their sha256, and read them as a run would.

    The sha256 is the published one where that is known, or the one on record in SHA256SUMS.
    """
    from virnucpro.weights.inventory import Verdict, holding, put_on_record
    from virnucpro.weights.inventory import verify as verify_model

    directory = weights_dir or default_directory()
    models = [BY_NAME[name] for name in names] or [
        model for model in BY_NAME.values() if holding(directory, model).files
    ]
    if not models:
        raise BadWeights(f"{directory} holds no model. Fetch what is needed: virnucpro weights fetch")
    bad = 0
    for model in models:
        try:
            if record:
                put_on_record(model, directory, force)
            with _bars(not no_progress) as shown:
                verdicts = verify_model(model, directory, shown)
        except BadWeights as error:
            verdicts = [Verdict(model.name, "", str(error))]
        for verdict in verdicts:
            click.echo(f"BAD  {verdict.wrong}" if verdict.wrong else f"ok   {verdict.path}: {verdict.state}")
        bad += any(verdict.wrong for verdict in verdicts)
    if bad:
        raise BadWeights(f"{bad} of {len(models)} models cannot be used as they are.")
    return 0


@weights.command(epilog=shared.EXIT_CODES)
@click.argument("source", type=shared.PathOption(exists=True, dir_okay=False))
@click.argument("target", type=shared.PathOption())
@shared.number(
    "--chunk-size",
    type=click.IntRange(min=3),
    metavar="BP",
    help="Chunk size it was trained on, in bp.  [default: from SOURCE]",
)
@shared.verbosity
def convert(source: Path, target: Path, chunk_size: int | None) -> int:
    """Convert a classifier from .pth (a pickle) to TARGET, a .safetensors file that records its chunk size."""
    if target.suffix != ".safetensors":
        raise BadRequest(f"{target}: the target's name must end in .safetensors.")
    check_lengths([target], "Name another.")
    if target.exists():
        raise BadRequest(f"{target} exists. Choose another name or remove it.")
    if not target.parent.is_dir():
        raise BadRequest(f"{target.parent} is not a directory. Make it first.")
    from virnucpro.models.classifier import convert as convert_classifier  # imports torch

    chunk_size = convert_classifier(source, target, chunk_size)
    log.info("Wrote %s (chunk size %d bp).", target, chunk_size)
    return 0


@contextmanager
def _bars(show: bool) -> Iterator[Shown]:
    """Make bars of bytes, one a file, on a terminal."""
    import sys

    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    with Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not (show and sys.stderr is not None and sys.stderr.isatty()),
    ) as progress:  # fmt: skip

        @contextmanager
        def shown(title: str) -> Iterator[Callable[[int, int | None], None]]:
            task = progress.add_task(title, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)

        yield shown
