"""Prefetch: windows are packed ahead of their turn by processes of their own. No torch here."""

from __future__ import annotations

import logging
from collections import deque
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet  # the built-in one since Python 3.11
from typing import Any, NamedTuple

from virnucpro.engine.loader import PackedWindow
from virnucpro.engine.loader_process import Failed, LoaderDied, LoaderProcess, Prepare, answer
from virnucpro.errors import DeviceLost, one_line
from virnucpro.reading.windows import Window
from virnucpro.system.processes import why_no_children

log = logging.getLogger(__name__)
TICK = 1.0  # s, the longest wait before the caller can look at whether it was stopped
SILENCE = 120  # ticks without an answer, after which a process is taken to hang
TRIAL = 60.0  # s, for one that has nothing to do to answer


class _Order(NamedTuple):
    """A window in hand: which process has it (None: nobody yet), and what is to come of it."""

    window: Window
    loader: LoaderProcess | None
    future: Future[Any] | None


class Prefetcher:
    """Gives packed windows back in the order in which they were put in.

    Where a process cannot be started, or hangs, windows are packed by this process: slower, and never not at all.

    Args:
        processes: 0 to have this process prepare every window when its turn comes.
        ahead: Windows that each process has in hand.
        retries: How often dead processes are replaced without an answer in between.
        expendable: Whether this process may prepare what its own processes keep dying of.
    """

    def __init__(self, prepare: Prepare, processes: int, ahead: int, retries: int, expendable: bool = False) -> None:
        self.prepare, self._processes, self._ahead = prepare, processes, ahead
        self._retries, self._expendable = retries, expendable
        self._loaders: list[LoaderProcess] = []
        self._in_hand: deque[_Order] = deque()
        self._deaths = self._silence = 0
        self._start()

    def __len__(self) -> int:
        """Count the windows in hand, packed or not."""
        return len(self._in_hand)

    @property
    def room(self) -> bool:
        """Tell whether a window may be put in."""
        return len(self._in_hand) < max(1, len(self._loaders) * self._ahead)

    def put(self, window: Window) -> None:
        """Have a window packed."""
        loader = future = None
        if self._loaders:
            busy = [order.loader for order in self._in_hand]
            loader = min(self._loaders, key=busy.count)
            future = loader.prepare(window)
        self._in_hand.append(_Order(window, loader, future))

    def next(self) -> tuple[Window, PackedWindow] | None:
        """Give the window whose turn it is, or None if it is not ready within `TICK`.

        Raises:
            DeviceLost: It cannot be prepared, or processes keep dying. Which sequence is the cause is for a
                coordinator to find out, in a process that may die of it.
        """
        window, _, future = self._in_hand[0]
        if future is None:
            packed = answer(self.prepare, window)
        else:
            try:
                packed = future.result(TICK)
            except LoaderDied as death:
                self._replace(death)
                return None
            except NotYet:
                self._wait_no_longer()
                return None
        self._in_hand.popleft()
        self._deaths = self._silence = 0
        if isinstance(packed, Failed):
            raise DeviceLost(f"preparing window {window.index} failed ({packed.reason})")
        return window, packed

    def close(self) -> None:
        """End the processes; what is in hand is forgotten."""
        self._in_hand.clear()
        for loader in self._loaders:
            loader.end()
        self._loaders = []

    def restart(self) -> None:
        """Forget what is in hand, and have new processes."""
        self.close()
        self._start()

    def _start(self) -> None:
        if self._processes and (reason := why_no_children()):
            self._go_on_without(reason)
        for number in range(self._processes):
            try:
                self._loaders.append(LoaderProcess(self.prepare))
            except (OSError, RuntimeError) as error:
                if number == 0:
                    self._go_on_without(f"none can be started ({one_line(error)})")
                break
            except BaseException:
                self.close()
                raise

    def _go_on_without(self, reason: str) -> None:
        log.warning("Without loader processes: %s. Windows are prepared by the run itself, which is slower.", reason)
        self._processes = 0

    def _replace(self, death: Exception) -> None:
        self._deaths += 1
        if self._deaths > self._retries:
            if not self._expendable:
                raise DeviceLost(f"loader processes keep dying ({death})") from death
            self._go_on_without(f"they keep dying ({death})")
        else:
            log.warning("A loader process died (%s); starting new ones.", death)
        self._begin_again()

    def _wait_no_longer(self) -> None:
        # Ticks are counted, not seconds: a run that was suspended has waited for nothing.
        self._silence += 1
        if self._silence >= SILENCE:
            self._go_on_without(f"no answer in {SILENCE * TICK:.0f} s")
            self._begin_again()

    def _begin_again(self) -> None:
        """Hand out once more what is in hand."""
        windows = [order.window for order in self._in_hand]
        self.restart()
        for window in windows:
            self.put(window)


def why_none() -> str | None:
    """Say why a run here would do without loader processes; None if one starts and answers."""
    if reason := why_no_children():
        return reason
    try:
        loader = LoaderProcess(_answer)
    except (OSError, RuntimeError) as error:
        return f"none can be started ({one_line(error)})"
    try:
        loader.prepare(Window(0, ())).result(TRIAL)
    except (LoaderDied, NotYet) as error:
        return f"one that was tried gave no answer ({one_line(error)})"
    finally:
        loader.end()
    return None


def _answer(window: Window) -> Any:
    return window
