"""Recipes: how a classifier is fitted; each is a row."""

from __future__ import annotations

from dataclasses import dataclass

FRAMES = ("open", "coding")  # which frames train
LICENCE = "not stated"  # of a classifier, where nobody says


@dataclass(frozen=True)
class Recipe:
    """A row of `RECIPES`."""

    name: str
    optimizer: str  # adamw or sgd
    learning_rate: float
    batch: int  # frames
    epochs: int  # most
    patience: int  # epochs without a lower loss on the validation part, after which fitting ends
    weight_decay: float = 0.0
    momentum: float = 0.0
    decay_every: int = 0  # epochs after which the learning rate is multiplied by `decay`; 0: never
    decay: float = 1.0
    scaled: bool = True  # features to a mean of 0 and a deviation of 1
    balanced: bool = True  # both classes weigh the same, however many frames they have
    hidden: int = 512
    dropout: float = 0.5


RECIPES = {
    row.name: row
    for row in (
        Recipe("default", "adamw", 1e-3, 128, 100, 10, weight_decay=0.01),
        # Li-Jing-1997/VirNucPro 0f93f27; there "the best" weights were those of the last epoch, here they are the best.
        Recipe(
            "published", "sgd", 2e-4, 32, 200, 5, momentum=0.9, decay_every=10, decay=0.85, scaled=False, balanced=False
        ),
    )
}
