"""Interrupts: how a signal ends a run."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable

# A batch system's SIGTERM and a lost terminal end a run as tidily as Ctrl-C does.
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
log = logging.getLogger(__name__)


def heed() -> None:
    """Have signals end the program tidily; those that are ignored, as under nohup, stay so."""
    _handle(_interrupt)


def stop_with(stop: Callable[[], None]) -> None:
    """From now on the first signal lets the run finish the windows in hand; the second ends it at once."""

    def finish(number: int, frame: object) -> None:
        _handle(_interrupt)
        # By a thread: this may have come in the middle of writing a line, which must not begin another.
        told = "Stopping when the window in hand is finished; once more stops at once."
        threading.Thread(target=log.warning, args=(told,)).start()
        stop()

    _handle(finish)


def _interrupt(number: int, frame: object) -> None:
    """End the run tidily; another signal must not disturb that."""
    _handle(signal.SIG_IGN)
    raise KeyboardInterrupt


def _handle(handler: Callable[[int, object], None] | signal.Handlers) -> None:
    for number in INTERRUPTS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)
