"""What is collected is the same whenever, wherever and in whatever language: pytest-xdist begins only if it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from conftest import ROOT
from surroundings import HANG

# Of a process, before pytest is imported: its clock runs so many seconds ahead, and it is on a machine of that name.
ELSEWHERE = """
import datetime, os, sys, time

ahead, node = float(sys.argv[1]), sys.argv[2]
plain_time, plain_time_ns, Plain = time.time, time.time_ns, datetime.datetime
time.time = lambda: plain_time() + ahead
time.time_ns = lambda: plain_time_ns() + int(ahead * 1e9)
time.localtime = lambda seconds=None, plain=time.localtime: plain(time.time() if seconds is None else seconds)
time.gmtime = lambda seconds=None, plain=time.gmtime: plain(time.time() if seconds is None else seconds)

class Shifted(Plain):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)

datetime.datetime = Shifted
os.uname = lambda: os.uname_result(("Linux", node, "1", "1", "x86_64"))

import pytest

sys.exit(pytest.main(["--collect-only", "-o", "addopts=", "-q", "-p", "no:cacheprovider", *sys.argv[3:]]))
"""
# Seconds ahead, the machine's name, and variables.
HERE = (0, "here", {"PYTHONHASHSEED": "1", "LC_ALL": "C.UTF-8", "TZ": "UTC"})
THERE = (40_000_001, "there", {
    "PYTHONHASHSEED": "2", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TZ": "Pacific/Auckland",
    "COLUMNS": "33", "PYTHONIOENCODING": "utf-8", "HOME": "/nonexistent", "NO_COLOR": "1",
})  # fmt: skip


def collected(where: Path) -> tuple[list[str], list[str]]:
    """The ids of the tests in a folder, here and there."""
    begun = [
        subprocess.Popen(
            [sys.executable, "-c", ELSEWHERE, str(ahead), node, str(where)],
            env=os.environ | variables, cwd=where, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for ahead, node, variables in (HERE, THERE)
    ]  # fmt: skip
    said = [process.communicate(timeout=HANG)[0] for process in begun]
    assert [process.returncode for process in begun] == [0, 0], said
    here, there = ([line for line in text.splitlines() if "::" in line] for text in said)
    return here, there


def test_no_id_depends_on_the_clock_the_machine_the_language_or_the_order_of_a_set():
    here, there = collected(ROOT / "tests")
    assert here == there
    assert len(here) > 1000


def test_an_id_that_does_is_seen(tmp_path):
    """Each of these stood in an id, or could have."""
    ids = {
        "gzip": 'gzip.compress(b"x")[4:8].hex()',
        "time": "int(time.time() // 1_000_000)",
        "date": "f'{datetime.datetime.now():%Y-%m}'",
        "hash": "','.join({'a', 'b', 'c', 'd', 'e', 'f'})",
        "machine": "platform.node()",
        "locale": "locale.getpreferredencoding(False)",
        "home": "pathlib.Path.home()",
    }
    head = "import datetime, gzip, locale, pathlib, platform, time\nimport pytest\n\n"
    tests = [f"@pytest.mark.parametrize('x', [str({x})])\ndef test_{name}(x): pass\n" for name, x in ids.items()]
    (tmp_path / "test_planted.py").write_text(head + "\n".join(tests) + "def test_nothing(): pass\n")
    here, there = collected(tmp_path)
    assert [each.split("[")[0] for each in here] == [f"test_planted.py::test_{name}" for name in [*ids, "nothing"]]
    assert [one == other for one, other in zip(here, there, strict=True)] == [False] * len(ids) + [True]
