"""Trainings that take a moment, for test_train.py. As a program: that of `doomed`, for these."""

from __future__ import annotations

from dataclasses import replace

from virnucpro.training.recipes import RECIPES

# Fewer epochs and hidden units; all else is as users have it.
SHORT = {name: replace(recipe, epochs=12, hidden=32) for name, recipe in RECIPES.items()}

if __name__ == "__main__":
    # What a training imports, once for all of them; an optimizer imports the last, which takes longest.
    import doomed
    import torch._dynamo  # noqa: F401

    import virnucpro.pipeline.training_files
    import virnucpro.reporting.curves  # noqa: F401

    RECIPES.update(SHORT)
    doomed.serve()
