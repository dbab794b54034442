"""Settings of one training, checked when they are made. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from virnucpro.config.settings import Settings
from virnucpro.errors import BadRequest
from virnucpro.training.recipes import FRAMES, LICENCE, RECIPES
from virnucpro.training.split import SplitRule


@dataclass(frozen=True)
class TrainingSettings:
    """What `virnucpro train` was asked to do; see its --help for the meaning of each.

    Raises:
        BadRequest: Settings that do not go together.
    """

    viral: tuple[str, ...]
    others: tuple[str, ...]
    output: Path
    run: Settings  # of the engine; its inputs are the viral files and the others
    sources: Path | None = None
    split: SplitRule = field(default_factory=SplitRule)
    frames: str = "open"
    recipe: str = "default"
    licence: str = LICENCE
    note: str = ""  # a line that a run with the classifier shows

    def __post_init__(self) -> None:
        if self.output.suffix != ".safetensors":
            raise BadRequest(f"--output {self.output}: the name of a classifier ends in .safetensors. Give it so.")
        if self.output.is_dir():
            raise BadRequest(f"--output {self.output} is a directory. Name a file.")
        if both := {*self.viral} & {*self.others}:
            raise BadRequest(f"{min(both)} is given as viral and with --others. Give it once.")
        for name, value, known in (("frames", self.frames, FRAMES), ("recipe", self.recipe, tuple(RECIPES))):
            if value not in known:
                raise BadRequest(f"--{name} {value} is unknown. Choose one of {', '.join(known)}.")
