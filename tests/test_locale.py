"""Locale: what is read and written is the same bytes, whatever encoding the user's locale has."""

import subprocess

import h5py
import pytest
from conftest import ESM_8M, command, environment

NAMES = ["café|1", "試験", "€"]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
READ = "ATGGCCAAAGTTCTGGAC" * 5


@pytest.fixture
def in_ascii(weights):
    """Run the program in the locale C; its standard error as bytes."""

    def run(*arguments):
        return subprocess.run(command(*arguments), env=environment(weights) | ASCII, capture_output=True, timeout=300)

    return run


def test_ids_are_the_same_bytes_in_every_file(in_ascii, tmp_path):
    fasta = tmp_path / "café.fa"
    fasta.write_bytes(b"".join(f">{name} ".encode() + b"C\xf4te\n" + READ.encode() + b"\n" for name in NAMES))
    out = tmp_path / "out"
    kept = ("--keep-intermediate", "--save-embeddings", "--write-viral", tmp_path / "viral.fa")
    done = in_ascii("predict", fasta, "--output-dir", out, "--esm-model", ESM_8M, "--no-progress", *kept)
    assert done.returncode == 0, done.stderr
    merged = out / "café_merged"
    rows = (merged / "sequences.tsv").read_text(encoding="utf-8").splitlines()
    assert [row.split("\t")[0] for row in rows[1:]] == NAMES
    headers = [line for line in (out / "café_chunked500.fa").read_bytes().splitlines() if line.startswith(b">")]
    assert headers == [f">{name}_chunk_1".encode() for name in NAMES]
    with h5py.File(merged / "embeddings.h5") as file:
        frames = file["ids"].asstr()[:].tolist()
    assert list(dict.fromkeys(frame.rsplit("_chunk_", 1)[0] for frame in frames)) == NAMES


def test_messages_can_be_written_in_every_locale(in_ascii, tmp_path):
    (tmp_path / "in.fa").write_text(f">{NAMES[1]}\nAC1GT\n", encoding="utf-8")
    done = in_ascii("predict", tmp_path / "in.fa", "--output-dir", tmp_path / "out", "--esm-model", ESM_8M)
    assert done.returncode == 1
    assert b"in.fa, line 2: record 1 (" in done.stderr and b") has '1' in its sequence" in done.stderr
    assert b"Traceback" not in done.stderr
