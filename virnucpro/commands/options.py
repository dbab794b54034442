"""Options that several commands share, so that they mean the same everywhere."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from virnucpro.models.catalog import ATTENTIONS, AUTO, CPU_PRECISION, ESM2_SIZES, GPU_PRECISION, MODEL_TYPES, PRECISIONS
from virnucpro.models.locate import ENVIRONMENT_VARIABLE
from virnucpro.system.home import expanded

EXIT_CODES = (
    "Exit codes: 0 done, 1 bad data or a failed check, 2 bad request, or weights missing or broken, "
    "3 partial result (what failed is listed), 130 interrupted."
)


def _set_verbosity(context: click.Context, parameter: click.Parameter, given: bool) -> None:
    """-v and -q work before and after the subcommand."""
    if given:
        logging.getLogger().setLevel(logging.DEBUG if parameter.name == "verbose" else logging.WARNING)


class PathOption(click.Path):
    """A path, whose leading ~ is written out: a shell leaves it in ``--option=~/x`` and in a job's environment."""

    def __init__(self, **limits: bool) -> None:
        super().__init__(path_type=Path, **limits)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        return super().convert(expanded(value), parameter, context)


def written_out(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """The input, which need not be a path: ``-`` is standard input."""
    return expanded(value)


def verbosity(command: Callable[..., Any]) -> Callable[..., Any]:
    for flag, name, text in (
        ("-q", "--quiet", "Only warnings and errors."),
        ("-v", "--verbose", "More detail, with tracebacks."),
    ):
        command = click.option(flag, name, is_flag=True, expose_value=False, callback=_set_verbosity, help=text)(
            command
        )
    return command


weights_dir = click.option(
    "--weights-dir",
    type=PathOption(),
    envvar=ENVIRONMENT_VARIABLE,
    show_envvar=True,
    help="Directory with the models' weights.  [default: ./weights if there is one, else ~/.cache/virnucpro/weights]",
)
esm_model = click.option(
    "--esm-model",
    type=click.Choice(list(ESM2_SIZES)),
    default="esm2_t36_3B_UR50D",
    show_default=True,
    metavar="NAME",
    help=f"ESM-2 size: {', '.join(ESM2_SIZES)}.",
)
model_type = click.option(
    "--model-type",
    type=click.Choice(MODEL_TYPES),
    default="500",
    show_default=True,
    help="Classifier, by the chunk size in bp it was trained on.",
)
model_path = click.option(
    "--model-path",
    type=PathOption(),
    help="Classifier file, .pth or .safetensors.  [default: {model-type}_model in --weights-dir]",
)
precision = click.option(
    "--precision",
    type=click.Choice((AUTO, *PRECISIONS)),
    default=AUTO,
    show_default=True,
    help=f"Of weights and arithmetic: auto is {GPU_PRECISION} on a GPU, {CPU_PRECISION} on the CPU.",
)
attention = click.option(
    "--attention",
    type=click.Choice((AUTO, *ATTENTIONS)),
    default=AUTO,
    show_default=True,
    help="Implementation; `virnucpro doctor` shows which can run here.",
)


def _gpu_indices(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    try:
        return tuple(int(index) for index in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of GPU indices such as 0 or 0,1.") from None


gpus = click.option(
    "--gpus", callback=_gpu_indices, metavar="0[,1..]", help="Indices of the GPUs to use.  [default: all visible]"
)
no_progress = click.option("--no-progress", is_flag=True, help="No progress bar (there is none without a terminal).")
