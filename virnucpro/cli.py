"""Command line: parse, call, translate errors into exit codes. No science, and no torch until it is needed."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from virnucpro import __version__, interrupts
from virnucpro.errors import BadRequest, Interrupted, VirnucproError
from virnucpro.pipeline.runtime_config import RuntimeConfig
from virnucpro.recipe import ATTENTIONS, AUTO, PRECISIONS
from virnucpro.settings import INPUT_TYPES, MODEL_TYPES, Settings
from virnucpro.weights import ENVIRONMENT_VARIABLE, ESM2_SIZES

PARTIAL, INTERRUPTED = 3, 130
log = logging.getLogger("virnucpro")
EXIT_CODES = (
    "Exit codes: 0 done, 1 bad data, 2 bad request or missing weights, "
    "3 partial result (what failed is listed), 130 interrupted."
)


def _set_verbosity(context: click.Context, parameter: click.Parameter, given: bool) -> None:
    """-v and -q work before and after the subcommand."""
    if given:
        logging.getLogger().setLevel(logging.DEBUG if parameter.name == "verbose" else logging.WARNING)


def _verbosity(command: Callable) -> Callable:
    for flag, name, text in (
        ("-q", "--quiet", "Only warnings and errors."),
        ("-v", "--verbose", "More detail, with tracebacks."),
    ):
        command = click.option(flag, name, is_flag=True, expose_value=False, callback=_set_verbosity, help=text)(
            command
        )
    return command


def _gpu_indices(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    try:
        return tuple(int(index) for index in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of GPU indices such as 0 or 0,1.") from None


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, epilog=EXIT_CODES)
@click.version_option(__version__, prog_name="virnucpro")
@_verbosity
def cli() -> None:
    """Tell viral from non-viral DNA with ESM-2 and DNABERT-S features."""


@cli.command(epilog=EXIT_CODES)
@click.argument("input")
@click.option(
    "--output-dir", type=click.Path(path_type=Path), required=True, help="Directory for the results; made if missing."
)
@click.option(
    "--weights-dir",
    type=click.Path(path_type=Path),
    envvar=ENVIRONMENT_VARIABLE,
    show_envvar=True,
    help="Directory with the models' weights.  [default: weights]",
)
@click.option(
    "--model-type",
    type=click.Choice(MODEL_TYPES),
    default="500",
    show_default=True,
    help="Classifier, by the chunk size in bp it was trained on.",
)
@click.option(
    "--model-path",
    type=click.Path(path_type=Path),
    help="Classifier file, .pth or .safetensors.  [default: {model-type}_model in --weights-dir]",
)
@click.option(
    "--esm-model",
    type=click.Choice(list(ESM2_SIZES)),
    default="esm2_t36_3B_UR50D",
    show_default=True,
    metavar="NAME",
    help=f"ESM-2 size: {', '.join(ESM2_SIZES)}.",
)
@click.option(
    "--input-type",
    type=click.Choice(INPUT_TYPES),
    default="auto",
    show_default=True,
    help="Proteins are embedded only: features, no verdicts.",
)
@click.option(
    "--gpus", callback=_gpu_indices, metavar="0[,1..]", help="Indices of the GPUs to use.  [default: all visible]"
)
@click.option(
    "--parallel", is_flag=True, help="All GPUs named by --gpus, a process each (or several processes on the CPU)."
)
@click.option(
    "--workers-per-gpu",
    type=int,
    metavar="N",
    help="Processes with --parallel on the CPU; a GPU has one.  [default: 2]",
)
@click.option(
    "--batch-tokens",
    type=int,
    metavar="N",
    help="Tokens in a pack: residues and two for each sequence.  [default: 16384 on a GPU, 2048 on the CPU]",
)
@click.option(
    "--num-workers",
    type=int,
    metavar="N",
    help="Processes that translate, tokenise and pack for each GPU.  [default: up to 2; on the CPU 0]",
)
@click.option(
    "--precision",
    type=click.Choice((AUTO, *PRECISIONS)),
    default=AUTO,
    show_default=True,
    help="Of weights and arithmetic: auto is fp16 on a GPU, fp32 on the CPU.",
)
@click.option(
    "--attention",
    type=click.Choice((AUTO, *ATTENTIONS)),
    default=AUTO,
    show_default=True,
    help="Implementation; `virnucpro doctor` shows which can run here.",
)
@click.option(
    "--deterministic",
    is_flag=True,
    help="Every sequence by itself: its numbers do not depend, to the last bit, on its neighbours. Slower.",
)
@click.option("--save-embeddings", is_flag=True, help="Write the features too, to embeddings.h5.")
@click.option("--keep-intermediate", is_flag=True, help="Keep the chunk, frame and protein FASTA files.")
@click.option(
    "--set",
    "runtime",
    multiple=True,
    callback=lambda context, parameter, pairs: RuntimeConfig.from_pairs(pairs),
    metavar="KEY=VALUE",
    help="Fine tuning, such as buffer_size=1000 (sequences packed together); all keys are in docs/architecture.md.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in the output directory.")
@click.option("--force", is_flag=True, help="Start the run in the output directory over.")
@click.option("--rename-duplicates", is_flag=True, help="Append _1, _2, ... to repeated ids instead of refusing them.")
@click.option("--no-progress", is_flag=True, help="No progress bar (there is none without a terminal).")
@_verbosity
def predict(input: str, no_progress: bool, **options: object) -> int:
    """Classify the sequences of INPUT: FASTA or FASTQ, plain, .gz, .bz2, .xz or .zst; - is standard input.

    Writes prediction_results.txt (frames), prediction_results_highestscore.csv (chunks), contigs.tsv and
    sequences.tsv (the fate of every record) to DIR/{name of INPUT}_merged/.
    """
    settings = Settings((input,), show_progress=not no_progress, **options)
    from virnucpro.pipeline.run import run

    summary = run(settings, started=lambda computation: interrupts.stop_with(computation.stop))
    return PARTIAL if "failed" in summary.fates else 0


@cli.command(epilog=EXIT_CODES)
@click.argument("source", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--chunk-size",
    type=click.IntRange(min=3),
    metavar="BP",
    help="Chunk size it was trained on, in bp.  [default: from SOURCE]",
)
@_verbosity
def convert(source: Path, target: Path, chunk_size: int | None) -> int:
    """Convert a classifier from .pth (a pickle) to TARGET, a .safetensors file that records its chunk size."""
    if target.suffix != ".safetensors":
        raise BadRequest(f"{target}: the target's name must end in .safetensors.")
    if target.exists():
        raise BadRequest(f"{target} exists. Choose another name or remove it.")
    if not target.parent.is_dir():
        raise BadRequest(f"{target.parent} is not a directory. Make it first.")
    from virnucpro.classifier import convert as convert_classifier  # imports torch

    chunk_size = convert_classifier(source, target, chunk_size)
    log.info("Wrote %s (chunk size %d bp).", target, chunk_size)
    return 0


@cli.command(epilog=EXIT_CODES)
@_verbosity
def doctor() -> int:
    """Show versions, devices, and which attention backends can run here."""
    from virnucpro.doctor import report  # imports torch

    click.echo(report())
    return 0


@cli.command(epilog=EXIT_CODES)
@click.argument("run_dir", type=click.Path(path_type=Path, exists=True))
@_verbosity
def report(run_dir: Path) -> int:
    """Show what the run in RUN_DIR cost, against what is required, and what to do where it is too slow.

    RUN_DIR is a run's output directory, or one telemetry_*.json in it. Prints the text version and writes
    performance_report_NAME.txt and .html (with pictures; one file, no internet) beside the telemetry.
    """
    from virnucpro.utils.performance_report import report_on

    os.environ["MPLBACKEND"] = "svg"  # that of a notebook may be one that is not installed here
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    text, page = report_on(run_dir)
    click.echo(text, nl=False)
    if page is not None:
        log.info("Page: %s", page)
    return 0


class _StderrHandler(logging.StreamHandler):
    """Writes to what sys.stderr is at the moment, so that lines pass above a progress bar."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self):
        return sys.stderr


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return 0 done, 1 bad data, 2 bad request, 3 partial, 130 interrupted."""
    handler = _StderrHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    interrupts.heed()
    try:
        return cli.main(argv, prog_name="virnucpro", standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort, Interrupted):
        click.echo("virnucpro: interrupted. To go on from what is saved, repeat the command with --resume.", err=True)
        return INTERRUPTED
    except VirnucproError as error:
        click.echo(f"virnucpro: error: {error}", err=True)
        log.debug("Raised at", exc_info=True)
        return error.exit_code
    except OSError as error:
        click.echo(f"virnucpro: error: {error}. Check the disk and the permissions.", err=True)
        log.debug("Raised at", exc_info=True)
        return VirnucproError.exit_code
