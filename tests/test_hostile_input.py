"""Hostile input and hostile surroundings: any bytes, files that change or go, full and read-only disks, odd paths."""

import ctypes
import errno
import os
import random
import subprocess
from pathlib import Path

import hostile
import pytest
from conftest import DATA, ESM_8M, assert_one_message, command, environment
from hypothesis import example, given, settings
from hypothesis import strategies as st

SMALL = ("--esm-model", ESM_8M, "--no-progress")
READ = "ATGGCCAAAGTTCTGGAC" * 5


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.sampled_from(hostile.SEEDS), max_size=4).map(b"".join), st.binary(max_size=8), st.integers(0, 10_000),
    st.sampled_from(hostile.CODECS), st.booleans(), st.sampled_from(["auto", "nucleotide", "protein"]), st.booleans(),
)  # fmt: skip
@example(b"@q0\nATGG\n+\x1b[2J\nIIII\n", b"", 0, bytes, False, "auto", False)  # told once with its control characters
def test_any_bytes_end_in_a_documented_way(tmp_path_factory, seed, planted, place, codec, cut, kind, rename):
    """`tests/fuzz_input.py` does the same a million times, led by coverage."""
    place %= len(seed) + 1
    content = codec(seed[:place] + planted + seed[place:])
    path = tmp_path_factory.mktemp("hostile") / "input.any"
    path.write_bytes(content[: len(content) * 3 // 4] if cut else content)
    hostile.outcome(path, kind, rename)


def test_what_is_well_formed_is_read_as_it_is(tmp_path):
    """So that the test above does not pass because everything is refused."""
    (tmp_path / "in.fa").write_bytes(b"".join(seed for seed in hostile.SEEDS if seed.startswith(b">r0")))
    found = hostile.outcome(tmp_path / "in.fa")
    assert (found.records, found.letters) == (40, 40 * 18)


@pytest.mark.parametrize(
    "name", ["with blanks.fa", "ümläut 試験.fa", "quote'\"$(touch x);&.fa", "-dash.fa", "%s{0}.fa"]
)
def test_odd_paths(main, tmp_path, name):
    folder = tmp_path / f"dir of {name}"
    folder.mkdir()
    (folder / name).write_text(f">a\n{READ}\n")
    out = folder / "out put"
    code, said = main("predict", folder / name, "--output-dir", out, *SMALL, "--write-viral", folder / "v.fa")
    assert code == 0, said
    assert (out / f"{name[:-3]}_merged" / "sequences.tsv").read_text().splitlines()[1].split("\t")[0] == "a"
    assert sorted(path.name for path in folder.iterdir()) == sorted([name, "out put", "v.fa"])


def test_a_relative_path_that_looks_like_an_option(weights, tmp_path):
    (tmp_path / "-x.fa").write_text(f">a\n{READ}\n")
    run = command("predict", "--output-dir", "out", *SMALL, "--", "-x.fa")
    done = subprocess.run(run, env=environment(weights), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("fate", ["grows", "is cut", "is removed", "is replaced"])
def test_input_that_changes_during_the_run(main, monkeypatch, tmp_path, fate):
    """After the survey, before the models are loaded. A file that is open may be removed: it is read to its end."""
    path = tmp_path / "in.fa"
    path.write_text("".join(f">r{i}\n{READ}\n" for i in range(40)))
    from virnucpro.pipeline import compute

    plain = compute.make_executor

    def change(*arguments):
        if fate == "grows":
            with open(path, "a") as file:
                file.write(f">late\n{READ}\n")
        elif fate == "is cut":
            os.truncate(path, 1000)
        elif fate == "is removed":
            path.unlink()
        else:
            (tmp_path / "other").write_text(f">other\n{READ}\n")
            (tmp_path / "other").replace(path)
        return plain(*arguments)

    monkeypatch.setattr(compute, "make_executor", change)
    code, said = main("predict", path, "--output-dir", tmp_path / "out", *SMALL)
    if fate == "is removed":
        assert code == 2
        assert_one_message(said, "no such file")
    else:
        assert code == 1
        assert_one_message(said, "changed while it was read; the results so far are of no use. Repeat the command")
    assert not list(tmp_path.rglob("*.tsv"))


def _unshared():
    """A mount namespace of this process's own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x00020000) != 0:  # CLONE_NEWNS
        raise OSError(ctypes.get_errno(), "unshare")
    return libc


def _mounted(folder: Path, options: str, read_only: bool = False):
    """For preexec_fn: a tmpfs over `folder` that only the program sees."""

    def mount() -> None:
        libc = _unshared()
        libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None)  # MS_REC | MS_PRIVATE
        flags = 1 if read_only else 0  # MS_RDONLY
        if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", flags, options.encode()) != 0:
            raise OSError(ctypes.get_errno(), "mount")

    return mount


@pytest.fixture(scope="module")
def may_mount(tmp_path_factory):
    """Skips where this user may not."""
    folder = tmp_path_factory.mktemp("mount")
    try:
        subprocess.run(["true"], preexec_fn=_mounted(folder, "size=4k"), check=True)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"cannot mount a tmpfs here: {error}")


def proteins(path, count):
    rng = random.Random(2)
    path.write_text("".join(f">p{i}\n{''.join(rng.choices('ACDEFGHIKLMNPQRSTVWY', k=12))}\n" for i in range(count)))
    return path


@pytest.mark.parametrize("size", ["16k", "256k"])
def test_a_disk_that_fills_up(weights, may_mount, tmp_path, size):
    """A real, small file system: full before the first checkpoint, or while the results are written."""
    (tmp_path / "disk").mkdir()
    run = command("predict", proteins(tmp_path / "p.faa", 150), "--output-dir", tmp_path / "disk" / "out", *SMALL)
    disk = _mounted(tmp_path / "disk", f"size={size}")
    done = subprocess.run(run, env=environment(weights), capture_output=True, text=True, preexec_fn=disk)
    assert done.returncode == 1
    assert_one_message(done.stderr, os.strerror(errno.ENOSPC))
    assert_one_message(done.stderr, "Check the disk and the permissions.")


def test_a_read_only_file_system(weights, may_mount, tmp_path):
    (tmp_path / "disk").mkdir()
    run = command("predict", DATA / "small.fa", "--output-dir", tmp_path / "disk" / "out", *SMALL)
    disk = _mounted(tmp_path / "disk", "size=1m", read_only=True)
    done = subprocess.run(run, env=environment(weights), capture_output=True, text=True, preexec_fn=disk)
    assert done.returncode == 2
    assert_one_message(done.stderr, "Cannot make the output directory")
    assert_one_message(done.stderr, os.strerror(errno.EROFS))


def test_a_contig_of_10_mbp(tmp_path):
    """Cut, translated and packed window by window; the memory that is held beside it stays small."""
    import tracemalloc

    from virnucpro.reading.input_files import InputFiles
    from virnucpro.reading.window_sequences import sequences_of
    from virnucpro.reading.windows import windows

    length = 10_000_000
    rng = random.Random(3)
    text = "".join(rng.choices("ACGT", k=100_000)) * (length // 100_000)
    path = tmp_path / "long.fa"
    with open(path, "w") as file:
        file.write(">long\n" + "\n".join(text[i : i + 80] for i in range(0, length, 80)) + "\n")
    files = InputFiles([str(path)])
    assert (files.survey.records, files.survey.letters) == (1, length)
    tracemalloc.start()
    chunks = frames = 0
    for window in windows(files.reads(), "nucleotide", 500, 2048, 16384):
        chunks += sum(len(piece.spans) for piece in window.pieces)
        frames += len(sequences_of(window, "nucleotide").proteins)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert chunks == length // 500
    assert frames > 0
    assert peak < 8 * length  # the record a few times over, not per chunk
