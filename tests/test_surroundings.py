"""What a program may find around it: threads, streams, locales, names and work directories of other people."""

import io
import os
import subprocess
import sys
import threading

import pytest
from conftest import ESM_8M, ROOT, assert_one_message

import virnucpro
from virnucpro.system.files import whole_file

PROTEIN = ">p\nMKVLAAGIVGLLSK\n"


def in_a_thread(job):
    results = []
    thread = threading.Thread(target=lambda: results.append(job()))
    thread.start()
    thread.join()
    return results


def test_in_a_thread(main, tmp_path):
    """Signals are the main thread's own."""
    (tmp_path / "in.faa").write_text(PROTEIN)
    call = ("predict", tmp_path / "in.faa", "--output-dir", tmp_path / "out", "--esm-model", ESM_8M)
    assert [code for code, _ in in_a_thread(lambda: main(*call))] == [0]
    summaries = in_a_thread(lambda: virnucpro.predict(tmp_path / "in.faa", tmp_path / "again", esm_model=ESM_8M))
    assert [summary.fates for summary in summaries] == [{"embedded": 1}]


@pytest.mark.parametrize(
    "encoding, name, written",
    [
        ("latin-1", "wŁ", b"Directory: w\\u0141\n"),
        ("utf-8", "wŁ", "Directory: wŁ\n".encode()),
        ("utf-8", os.fsdecode(b"w\xff"), b"Directory: w\\udcff\n"),
    ],
    ids=["latin-1", "utf-8", "bytes"],
)
def test_output_holds_every_path(main, monkeypatch, encoding, name, written):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    code, _ = main("weights", "list", "--weights-dir", name)
    stream.flush()
    assert code == 0 and written in stream.buffer.getvalue()


def test_names_that_are_no_text(main, tmp_path):
    """Linux takes any bytes as a name."""
    path = os.fsencode(tmp_path) + b"/in\xff.fa"
    with open(path, "w") as file:
        file.write(">a\n" + "GCTAAAGTTCTG" * 25 + "\n")
    out = os.fsdecode(os.fsencode(tmp_path) + b"/o\xff")
    small = ("--esm-model", ESM_8M, "--model-type", "300")
    options = ("--save-embeddings", "--keep-intermediate", "--write-viral", f"{out}/v.fa")
    code, said = main("predict", os.fsdecode(path), "--output-dir", out, *small, *options)
    assert code == 0, said
    assert os.path.exists(os.path.join(out, os.fsdecode(b"in\xff_merged"), "contigs.tsv"))
    assert main("report", out)[0] == 0


def test_files_hold_names_that_are_no_text(tmp_path):
    """Such as the page of parity, with the input's name."""
    with whole_file(tmp_path / "page") as file:
        file.write("in\udcff.fa, wŁ\n")
    assert (tmp_path / "page").read_bytes() == "in\\udcff.fa, wŁ\n".encode()


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path):
    code = (
        "import os, sys; from virnucpro.system.console import make_usable; make_usable()\n"
        f"file = open({str(tmp_path / 'file')!r}, 'w'); sys.exit(file.fileno())"
    )
    closed = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert closed.returncode == 3


def test_a_work_directory_that_is_gone(main, tmp_path, monkeypatch):
    (tmp_path / "in.faa").write_text(PROTEIN)

    def gone():
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "getcwd", gone)
    code, said = main("predict", tmp_path / "in.faa", "--output-dir", tmp_path / "out", "--esm-model", ESM_8M)
    monkeypatch.undo()
    assert code == 2
    assert_one_message(said, "The work directory is not there any more. Change to one that is (cd).")
