"""Options that several commands share, so that they mean the same everywhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from virnucpro.config.runtime import RuntimeConfig
from virnucpro.models.catalog import ATTENTIONS, AUTO, DEFAULT_ESM_MODEL, ESM2_SIZES, MODEL_TYPES, PRECISIONS
from virnucpro.models.locate import ENVIRONMENT_VARIABLE
from virnucpro.system.home import expanded

EXIT_CODES = (
    "Exit codes: 0 done, 1 bad data or a failed check, 2 bad request, or weights missing or broken, "
    "3 partial result (what failed is listed, or which audit), 130 interrupted."
)
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class PathOption(click.Path):
    """A path, whose leading ~ is written out: a shell leaves it in ``--option=~/x`` and in a job's environment."""

    def __init__(self, **limits: bool) -> None:
        super().__init__(path_type=Path, **limits)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        return super().convert(expanded(value), parameter, context)


def written_out(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """The input, which need not be a path: ``-`` is standard input."""
    return expanded(value)


def all_written_out(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(expanded, values))


class ManyFiles(click.Command):
    """Takes several files after one ``--others``, as a shell's pattern gives them; those of viruses come before it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        repeated, following = list[str](), False
        for word in args:
            if word.partition("=")[0] == "--others":
                following = True
                repeated += ["--others", word.partition("=")[2]] if "=" in word else []
            elif following and (word == "-" or not word.startswith("-")):
                repeated += ["--others", word]
            else:
                following = False
                repeated.append(word)
        before = repeated[: repeated.index("--others")] if "--others" in repeated else repeated
        known = {*map(expanded, before)}
        rest = super().parse_args(ctx, repeated)
        if late := [name for name in ctx.params.get("viral") or () if name not in known]:
            raise click.UsageError(f"{late[0]} is among the viruses, and comes after --others. Give these files first.")
        return rest


def _set_verbosity(context: click.Context, parameter: click.Parameter, given: bool) -> None:
    """-v and -q work before and after the subcommand."""
    if given:
        logging.getLogger().setLevel(logging.DEBUG if parameter.name == "verbose" else logging.WARNING)


def _gpu_indices(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    try:
        return tuple(int(index) for index in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of GPU indices such as 0 or 0,1.") from None


def given(names: Iterable[str]) -> list[str]:
    """Those of the running command's options that its command line has, as `--name`."""
    context = click.get_current_context()
    there = {name for name in names if context.get_parameter_source(name) == ParameterSource.COMMANDLINE}
    return [each.opts[0] for each in context.command.params if each.name in there]


def together(*options: Decorator) -> Decorator:
    """Make one option of several; help shows them in this order."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def choice(name: str, values: Sequence[str], default: str, help: str, metavar: str | None = None) -> Decorator:
    return click.option(name, type=click.Choice(values), default=default, show_default=True, help=help, metavar=metavar)


flag = partial(click.option, is_flag=True)
number = partial(click.option, type=int, metavar="N")
path = partial(click.option, type=PathOption())
_level = partial(flag, expose_value=False, callback=_set_verbosity)
verbosity = together(
    _level("-v", "--verbose", help="More detail, with tracebacks."),
    _level("-q", "--quiet", help="Only warnings and errors."),
)
weights_dir = path(
    "--weights-dir",
    envvar=ENVIRONMENT_VARIABLE,
    show_envvar=True,
    help="Directory with the models' weights.  [default: ./weights if there is one, else ~/.cache/virnucpro/weights]",
)
models = together(
    weights_dir,
    path(
        "--model",
        metavar="FILE|demo",
        help="Classifier that `virnucpro train` wrote, which decides chunk size, features and ESM-2; or the small one "
        "that comes with the program, to try it.",
    ),
    choice("--model-type", MODEL_TYPES, "500", "Published classifier, by the chunk size in bp it was trained on."),
    path("--model-path", help="Its file, .pth or .safetensors.  [default: {model-type}_model in --weights-dir]"),
    click.option(
        "--esm-model",
        type=click.Choice(list(ESM2_SIZES)),
        help=f"ESM-2 size: {', '.join(ESM2_SIZES)}.  [default: the one the classifier was trained with, of a published "
        f"one {DEFAULT_ESM_MODEL}]",
        metavar="NAME",
    ),
)
arithmetic = together(
    choice(
        "--precision", (AUTO, *PRECISIONS), AUTO, "Of weights and arithmetic: auto is fp16 on a GPU, fp32 on the CPU."
    ),
    choice("--attention", (AUTO, *ATTENTIONS), AUTO, "Implementation; `virnucpro doctor` shows which can run here."),
)
gpus = click.option(
    "--gpus", callback=_gpu_indices, metavar="0[,1..]", help="Indices of the GPUs to use.  [default: all visible]"
)
no_progress = flag("--no-progress", help="No progress bar (there is none without a terminal).")
# Of commands that classify or train on the way: what predict explains at length.
engine = together(
    gpus,
    flag("--parallel", help="As in predict."),
    number("--batch-tokens", help="As in predict."),
    number("--num-workers", help="As in predict."),
    arithmetic,
    click.option(
        "--set",
        "runtime",
        multiple=True,
        metavar="KEY=VALUE",
        help="Fine tuning, as in predict.",
        callback=lambda context, parameter, pairs: RuntimeConfig.from_pairs(pairs),
    ),
)
