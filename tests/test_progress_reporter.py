"""Progress reporter: what stands on a terminal, read back from a pseudo-terminal."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from surroundings import HANG

from virnucpro.pipeline.progress_reporter import InferenceProgressReporter

ROOT = Path(__file__).parent.parent
TERMINAL = {"TERM": "xterm-256color", "COLUMNS": "120", "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
PREAMBLE = "import sys; from virnucpro.pipeline.progress_reporter import InferenceProgressReporter as Reporter\n"


def on_a_terminal(script, **environment):
    """Run a script whose standard error is a terminal; return the lines it leaves there, and standard output."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-c", PREAMBLE + script]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=TERMINAL | environment)
    os.close(theirs)
    received = b""
    try:
        while block := os.read(ours, 65_536):
            received += block
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(ours)
    output = process.communicate(timeout=HANG)[0].decode()
    assert process.returncode == 0, received.decode()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", received.decode())
    return [line.rsplit("\r", 1)[-1] for line in text.replace("\r\n", "\n").split("\n")], output


def test_the_bar():
    lines, _ = on_a_terminal(
        "with Reporter(200) as bar:\n"
        "    bar.update(sequences=50, tokens=30_000, seconds=2.0, gpu_utilization=87.4, packing_efficiency=0.994)\n"
        "    bar.update(sequences=50)\n"  # what is not given stays
    )
    assert re.fullmatch(r"Sequences \S+ 100/200 15,000 tok/s GPU 87 % packed 99\.4 % left \S+ *", lines[-2])


def test_the_bar_fits_a_narrow_terminal():
    lines, _ = on_a_terminal(
        "with Reporter(6_000_000) as bar:\n    bar.update(1_234_567, 500_000, 1.0, 100.0, 0.994)\n", COLUMNS="80"
    )
    assert re.fullmatch(r"Sequences \S+ 1234567/6000000 500,000 tok/s GPU 100 % packed 99\.4 % left \S+ *", lines[-2])


def test_nothing_known_yet():
    lines, _ = on_a_terminal("with Reporter(None, description='Frames') as bar:\n    bar.update(sequences=7)\n")
    assert re.fullmatch(r"Frames \S+ 7/\? - tok/s GPU - % packed - % left *", lines[-2])


def test_a_total_that_becomes_known():
    lines, _ = on_a_terminal(
        "with Reporter(None) as bar:\n    bar.update(7)\n    bar.set_total(9)\n    bar.update(1)\n"
    )
    assert " 8/9 " in lines[-2]


def test_log_lines_stand_above_the_bar_and_results_stay_out_of_it():
    lines, output = on_a_terminal(
        "with Reporter(2) as bar:\n"
        "    bar.update(1)\n"
        "    print('worker 0 died', file=sys.stderr)\n"
        "    print('a result')\n"
        "    bar.update(1)\n"
    )
    assert [line.strip() for line in lines if "died" in line] == ["worker 0 died"]
    assert " 2/2 " in lines[-2] and "died" not in lines[-2]
    assert output == "a result\n"


def test_hidden_on_request():
    lines, _ = on_a_terminal("with Reporter(2, show=False) as bar:\n    bar.update(1)\n    bar.set_total(3)\n")
    assert lines == [""]


def test_hidden_without_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with InferenceProgressReporter(2) as bar:
        bar.update(1, tokens=5, seconds=1.0)
    assert sys.stderr.getvalue() == ""


@pytest.mark.parametrize(
    "updates, shown",
    [
        ([], "-"),
        ([(100, 0.0)], "-"),  # no time has passed yet
        ([(100, 0.0), (0, 2.0)], "47"),  # 100 * exp(-2 / 30) / 2: the tokens were not lost meanwhile
        ([(1000, 1.0)], "1,000"),
        ([(100, 1.0), (100, 1.0)], "100"),
        # 30 s later the old second weighs 1/e: (1000 / e + 0) / (1 / e + 30) = 12.1
        ([(1000, 1.0), (0, 30.0)], "12"),
        ([(1000, 1.0), (600, 600.0)], "1"),  # and is forgotten in the end
    ],
)
def test_throughput_is_smoothed(updates, shown):
    bar = InferenceProgressReporter(None, show=False)
    for tokens, seconds in updates:
        bar.update(tokens=tokens, seconds=seconds)
    (task,) = bar._progress.tasks
    assert task.fields["speed"] == shown
