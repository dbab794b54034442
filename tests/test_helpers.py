"""Helpers: they end with the program, however it ends, and are heard of by nobody."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
from surroundings import HANG

from virnucpro.system import helpers

THREE = """
import os, sys, time
from virnucpro.system import helpers
def body():
    os.write(1, f"{os.getpid()}\\n".encode())
    print("nobody asked", file=sys.stderr, flush=True)
    time.sleep(3600)
started = helpers.started([body] * 3)
"""


def test_they_end_with_a_program_that_ends_at_once():
    """Also where it ends them before they have settled: a signal that was then ignored would be waited for."""
    for wait in (0, 0.02, 0.3):
        done = subprocess.run(
            [sys.executable, "-c", f"{THREE}\ntime.sleep({wait})"], capture_output=True, text=True, timeout=HANG
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_they_end_with_a_program_that_is_killed():
    program = subprocess.Popen([sys.executable, "-c", f"{THREE}\ntime.sleep(3600)"], stdout=subprocess.PIPE, text=True)
    pids = [int(program.stdout.readline()) for _ in range(3)]
    program.kill()
    program.wait()
    deadline = time.monotonic() + HANG
    while any(os.path.exists(f"/proc/{pid}/fd/1") for pid in pids):  # a zombie has no files
        assert time.monotonic() < deadline
        time.sleep(0.01)
    program.stdout.close()


def test_what_goes_wrong_in_one_is_told_to_nobody(capfd):
    def wrong():
        raise RuntimeError("wrong")

    (process,) = helpers.started([wrong])
    process.join()
    assert process.exitcode == 0 and capfd.readouterr() == ("", "")


def test_signals_of_the_parent_are_not_theirs():
    """As Ctrl-C in a terminal, which sends it to all."""
    held = multiprocessing.get_context("fork").Event()
    (process,) = helpers.started([lambda: os.kill(os.getpid(), signal.SIGINT) or held.set()])
    process.join()
    assert held.is_set()


@pytest.mark.parametrize("cpus, count", [(1, 0), (2, 1), (5, 2), (12, 6), (64, 6)])
def test_half_of_the_processors_are_for_them(monkeypatch, cpus, count):
    monkeypatch.setattr(helpers, "usable_cpus", lambda: cpus)
    assert helpers.how_many() == count
    monkeypatch.setattr(helpers, "why_no_children", lambda: "a daemonic process")
    assert helpers.how_many() == 0
