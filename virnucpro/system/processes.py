"""Processes: signals, and child processes that leave them to their parent."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# A batch system's SIGTERM and a lost terminal end a run as tidily as Ctrl-C does.
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE = 20.0  # s, for the windows in hand: Slurm and Kubernetes kill 30 s after SIGTERM, and there is more to save
LAST = 60.0  # s after that, for saving it
EXIT_CODE = 130
log = logging.getLogger(__name__)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Start children in this context: signals reach the parent after it, for a child half started cannot be ended.

    The children inherit the hold, until they `follow_the_parent`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def why_no_children() -> str | None:
    """Say why this process may start no others at all; None if it may try."""
    import multiprocessing  # which --help does without

    daemonic = multiprocessing.current_process().daemon
    return "this is a daemonic process (of a pool, say), which may start none" if daemonic else None


def follow_the_parent(ended_by: int | None = None) -> None:
    """Leave all signals to the parent, and end when it is gone, even if it was killed.

    A terminal sends Ctrl-C and its own end to every process, some batch systems SIGTERM too; the windows in hand
    are to be finished all the same.

    Args:
        ended_by: A signal that ends this process, also if it came while signals were held.
    """
    import multiprocessing.connection

    for number in INTERRUPTS:
        signal.signal(number, signal.SIG_DFL if number == ended_by else signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS)

    def watch(sentinel: int) -> None:
        multiprocessing.connection.wait([sentinel])
        os._exit(1)

    parent = multiprocessing.parent_process()
    assert parent is not None, "this process is no child"
    threading.Thread(target=watch, args=(parent.sentinel,), daemon=True).start()


@contextmanager
def signals_handled() -> Iterator[None]:
    """Have signals end the program tidily meanwhile; those that are ignored, as under nohup, stay so.

    A thread watches over it, for Python calls its handlers only between two of its own steps: a program that waits for
    a device or a disk that never answers would not be told of any signal.
    """
    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    over = threading.Event()
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)  # written to by the system's own handler
    threading.Thread(target=_watch, args=(reader, over), daemon=True).start()
    _handle(_interrupt)
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        os.close(writer)  # which ends the thread


def _watch(reader: int, over: threading.Event) -> None:
    """End a program that has not ended by itself some time after the first signal."""
    with open(reader, "rb", buffering=0) as numbers:  # to the end, or later signals could not be written
        while (number := numbers.read(1)) and number[0] not in INTERRUPTS:
            pass
        if number and not over.wait(GRACE):
            log.warning("What is in hand is not finished %.0f s after the signal: ending without it.", GRACE)
            os.kill(os.getpid(), signal.SIGTERM)  # the second
            if not over.wait(LAST):
                log.error("The program does not end by itself. What was saved is whole.")
                os._exit(EXIT_CODE)


def stop_with(stop: Callable[[], None]) -> None:
    """From now on the first signal lets the run finish the windows in hand; the second ends it at once."""

    def finish(number: int, frame: object) -> None:
        _handle(_interrupt)
        # By a thread: this may have come in the middle of writing a line, which must not begin another.
        message = "Stopping when what is in hand is finished; once more stops at once."
        threading.Thread(target=log.warning, args=(message,)).start()
        stop()

    _handle(finish)


def ignore() -> None:
    """From now on no signal changes how the program ends."""
    _handle(signal.SIG_IGN)


def _interrupt(number: int, frame: object) -> None:
    """End the run tidily; another signal must not disturb that."""
    _handle(signal.SIG_IGN)
    raise KeyboardInterrupt


def _handle(handler: Callable[[int, object], None] | signal.Handlers) -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    for number in INTERRUPTS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)
