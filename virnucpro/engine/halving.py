"""Halving: how the one sequence is found that a window fails by. No torch here."""

from __future__ import annotations

from dataclasses import replace

from virnucpro.reading.windows import Window


def next_tries(window: Window, sequences: int, failures: int, patience: int) -> tuple[Window, ...]:
    """Choose what to try after a failure.

    Args:
        sequences: How many the window, or the part of it that `only` names, has.
        failures: Of exactly this window or part, up to now.
        patience: Failures after which it is halved.
    Returns:
        The window itself, its halves, or nothing: it is one sequence, which is to be left out.
    """
    if failures < patience:
        return (window,)
    if sequences <= 1:
        return ()
    first = window.only[0] if window.only else 0
    middle, end = first + sequences // 2, first + sequences
    return replace(window, only=(first, middle)), replace(window, only=(middle, end))
