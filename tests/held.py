"""The program, held where a test wants it: what the test then does comes in time, however slow the machine is.

`python held.py OUT COUNT ARGUMENTS...` runs it with these arguments until it takes in its COUNT-th window, makes the
file OUT.held, and goes on when there is OUT.go. With COUNT 0 its workers never get to their start.
"""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path


def in_step(plain, all_loaded_is_enough=False):
    """`RetryPolicy.hand_out` that hands out only to all workers at once: none is left out for being slow.

    Args:
        all_loaded_is_enough: Wait for nobody who is merely at work.
    """

    def hand_out(self, members):
        if not all(member.ready and (all_loaded_is_enough or not member.in_hand) for member in members):
            return True
        return plain(self, members)

    return hand_out


def hold(out: Path, count: int) -> None:
    from virnucpro.executors.retry_policy import RetryPolicy
    from virnucpro.pipeline.checkpoints import CheckpointStore

    plain, windows, parent = CheckpointStore.add, [], os.getppid()

    def add(self, window):
        windows.append(window.index)
        if len(windows) == count:
            out.with_suffix(".held").touch()
            while not out.with_suffix(".go").exists() and os.getppid() == parent:
                time.sleep(0.01)
        return plain(self, window)

    CheckpointStore.add = add
    RetryPolicy.hand_out = in_step(RetryPolicy.hand_out, all_loaded_is_enough=True)


def hang_the_workers() -> None:
    from faulty import Fault, faulty_work_for

    from virnucpro.executors import coordinator

    fault = Fault("hang", "start")
    coordinator.Coordinator = partial(coordinator.Coordinator, body=partial(faulty_work_for, fault=fault))


if __name__ == "__main__":
    from virnucpro.cli import main

    if count := int(sys.argv[2]):
        hold(Path(sys.argv[1]), count)
    else:
        hang_the_workers()
    sys.exit(main(sys.argv[3:]))
