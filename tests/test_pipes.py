"""A reader that has enough, as in `virnucpro doctor | head -1`, and a device where a file is asked for."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, assert_one_message, command, environment
from surroundings import HANG

from virnucpro.system.files import is_replaceable, whole_file


def ended(weights: Path, stdout: int | None, *arguments: str, **variables: str) -> tuple[int, str]:
    """Exit code and standard error of the program with that standard output."""
    done = subprocess.run(
        command(*arguments), env=environment(weights) | variables, cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE,
        text=True, timeout=HANG,
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.fixture
def nobody():
    """The end of a pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


@pytest.mark.parametrize(
    "arguments, code",
    [
        (("--help",), 0),
        (("predict", "--help"), 0),
        (("weights", "list"), 0),
        (("doctor", "--quick", "--esm-model", "esm2_t33_650M_UR50D"), 1),  # it is missing
    ],
)
def test_a_reader_that_has_gone_changes_no_exit_code(weights, nobody, arguments, code):
    assert ended(weights, nobody, *arguments) == (code, "")


def test_nor_does_it_where_nothing_is_buffered(weights, nobody):
    assert ended(weights, nobody, "weights", "list", PYTHONUNBUFFERED="1") == (0, "")


def test_standard_output_on_a_full_disk_is_told_once(weights):
    with open("/dev/full", "wb") as full:
        code, said = ended(weights, full.fileno(), "weights", "list")
    assert code == 1
    assert_one_message(said, "No space left on device")
    assert said.count("\n") == 1


def test_nor_does_standard_error_on_one(weights):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command("predict", "nothing.fa"), env=environment(weights), stderr=full, timeout=HANG)
        assert done.returncode == 2  # bad request: no --output-dir
        request = command("predict", "nothing.fa", "--output-dir", "out")
        assert subprocess.run(request, env=environment(weights), stderr=full, timeout=HANG).returncode == 2


def test_standard_error_may_lose_its_reader_too(weights, nobody):
    done = subprocess.run(command("predict", "nothing.fa"), env=environment(weights), stderr=nobody, timeout=HANG)
    assert done.returncode == 2


def test_a_pipe_gets_what_is_written_and_stays_one(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with whole_file(pipe) as file:
        file.write("all of it\n")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert os.read(reader, 100) == b"all of it\n"
    os.close(reader)
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_device_is_not_replaced(tmp_path):
    """By its own name (which no test dares to write to), by a link to it, or by the name of standard output."""
    assert not is_replaceable(Path("/dev/null"))
    link = tmp_path / "link"
    link.symlink_to("/dev/null")
    with whole_file(link) as file:
        file.write("nothing")
    assert link.is_symlink()
    with open(tmp_path / "out", "w+") as out:
        name = Path(f"/proc/self/fd/{out.fileno()}")
        with whole_file(name) as file:
            file.write("all of it\n")
        assert name.is_symlink() and out.read() == "all of it\n"


def test_what_cannot_be_written_to_says_so_and_is_left(tmp_path):
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for name in ("folder", "socket"):
            with pytest.raises(OSError, match=name), whole_file(tmp_path / name) as file:
                file.write("x")
    assert sorted(os.listdir(tmp_path)) == ["folder", "socket"]


def test_a_link_to_a_file_is_replaced_and_its_target_is_not(tmp_path):
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with whole_file(tmp_path / "link") as file:
        file.write("new")
    assert ((tmp_path / "link").read_text(), (tmp_path / "target").read_text()) == ("new", "old")
