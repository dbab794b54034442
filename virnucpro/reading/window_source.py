"""Window source: where windows come from. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from virnucpro.reading.windows import Window


class Source(Protocol):
    """Where windows come from, all at hand or bit by bit."""

    ended: bool

    def take(self) -> Window | None:
        """The next window; None if there is none at the moment, or no other at all: then `ended` is set."""

    def wait(self) -> None:
        """Return when there is one, or the end."""


class AtHand:
    """A `Source` of windows that are all there, or made when they are asked for; none before it is `ready`."""

    def __init__(self, windows: Iterable[Window], ready: Callable[[], bool] = lambda: True) -> None:
        self._windows, self._ready, self.ended = iter(windows), ready, False

    def take(self) -> Window | None:
        if not self._ready():
            return None
        window = next(self._windows, None)
        self.ended = window is None
        return window

    def wait(self) -> None:
        """There is nothing to wait for."""
