"""The sha256 of weights: what a file says of itself, kept between runs, and taken by a process of its own."""

import hashlib
import json
import mmap
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from conftest import ESM_8M, ROOT
from hypothesis import example, given, settings
from hypothesis import strategies as st

from virnucpro.errors import BadWeights
from virnucpro.models.locate import WeightPaths
from virnucpro.system import fingerprint, hashing
from virnucpro.system.files import locked
from virnucpro.system.fingerprint import Fingerprint
from virnucpro.system.hashing import damage_of, digest_of
from virnucpro.weights.digest_cache import DigestCache
from virnucpro.weights.digests import WeightDigests
from virnucpro.weights.sources import BY_NAME

PATIENCE = 60  # s, for a process to end
ENDLESS = 2**40  # bytes of a file that nobody reads to its end


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def settled(monkeypatch):
    """Every file counts as old, so what holds when it changes is not for its youth."""
    monkeypatch.setattr(hashing, "SETTLED", -3600.0)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A file of torch.save."""
    path = tmp_path_factory.mktemp("saved") / "model.pt"
    torch.save({"a": torch.arange(1000.0), "b": torch.ones(3)}, path)
    return path.read_bytes()


def with_hole(content):
    place = content.index(torch.arange(1000.0).numpy().tobytes())
    return content[: place + 400] + bytes(800) + content[place + 1200 :]


def without_crc(content, path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.arange(1000.0)}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    return path.read_bytes()


@pytest.mark.parametrize(
    "change, damage",
    [
        (lambda content, path: content, None),
        (lambda content, path: with_hole(content), "Bad CRC-32 for file 'model/data/0'"),
        (lambda content, path: content[:-30], "File is not a zip file"),
        (lambda content, path: content[:2000] + bytes(len(content) - 2000), "File is not a zip file"),
        (lambda content, path: content + b"\n", None),  # no part has that byte
        (without_crc, None),
        (lambda content, path: b"", None),
        (lambda content, path: b"<html>", None),
    ],
    ids=["whole", "hole", "cut off", "zeros to the end", "longer", "without checksums", "empty", "no zip file"],
)
def test_what_a_file_says_of_itself(saved, tmp_path, change, damage):
    path = tmp_path / "x.pt"
    path.write_bytes(change(saved, path))
    digest = digest_of(path)
    assert digest.sha256 == sha256(path)
    assert digest.damage == damage if damage is None else damage in digest.damage
    assert digest_of(path, [digest.sha256]).damage is None  # what is known to be good is not looked at twice


@given(st.data())
@settings(max_examples=60)
def test_no_damage_is_too_much(saved, data):
    """Whatever is written over, or cut off: the answer is a text or None."""
    content = bytearray(saved)
    for place in data.draw(st.lists(st.integers(0, len(content) - 9), max_size=4)):
        content[place : place + 8] = data.draw(st.binary(min_size=8, max_size=8))
    with memory_file(content[: data.draw(st.integers(0, len(content)))]) as file:
        assert isinstance(damage_of(file), str | None)


def memory_file(content):
    file = os.fdopen(os.memfd_create("x"), "rb+")
    file.write(content)
    file.flush()
    return file


# Each leaves the size as it is and, as far as a user can, the times.
def overwrite(path):
    with open(path, "rb+") as file:
        file.write(os.urandom(8))


def overwrite_in_secret(path):
    times = path.stat()
    overwrite(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def overwrite_mapped(path):
    with open(path, "rb+") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[3:11] = os.urandom(8)


def put_another(path):
    other, times = path.with_name("other"), path.stat()
    other.write_bytes(os.urandom(len(path.read_bytes())))
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    os.replace(other, path)


def punch(path):
    with open(path, "rb+") as file:
        file.seek(16)
        file.write(bytes(32))


def lengthen(path):
    with open(path, "ab") as file:
        file.write(b"x")


def link_to_another(path):
    other = path.with_name("target")
    other.unlink(missing_ok=True)
    other.write_bytes(os.urandom(64))
    path.unlink()
    path.symlink_to(other)


CHANGES = {
    change.__name__: change
    for change in (
        overwrite, overwrite_in_secret, overwrite_mapped, put_another, punch, lengthen, link_to_another, Path.touch,
    )
}  # fmt: skip


def tick(folder):
    """Return when files that are changed now have other times than those that were changed before."""
    probe = folder / "probe"
    probe.write_bytes(b"")
    first = probe.stat().st_mtime_ns
    while probe.stat().st_mtime_ns == first:
        time.sleep(0.001)
        probe.write_bytes(b"")


@given(changes=st.lists(st.sampled_from(sorted(CHANGES)), max_size=5))
@example(changes=sorted(CHANGES))
@settings(max_examples=15)
def test_after_any_change_the_digest_is_that_of_the_bytes(tmp_path_factory, changes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashing, "SETTLED", -3600.0)
        folder = tmp_path_factory.mktemp("w")
        path, cache = folder / "model.pt", DigestCache(folder / "digests.json")
        path.write_bytes(os.urandom(64))
        for name in [*changes, None]:
            digest = digest_of(path)
            cache.keep({digest.identity: digest.sha256})
            assert cache.look_up({"m": path}) == {"m": sha256(path)}  # it is used at all
            tick(folder)
            if name is not None:
                CHANGES[name](path)
            assert cache.look_up({"m": path}).get("m", sha256(path)) == sha256(path)


def test_a_file_that_changed_a_moment_ago_is_not_kept(tmp_path):
    """Another change might leave it the same times."""
    path = tmp_path / "x"
    path.write_bytes(b"x")
    assert digest_of(path).identity is None
    os.utime(path, (0, 0))  # a user can set this time, not the one of the last change of the inode
    assert digest_of(path).identity is None


def test_a_file_that_changes_while_it_is_read_is_not_kept(tmp_path, settled):
    path = tmp_path / "x"
    path.write_bytes(b"x" * 10)
    assert digest_of(path).identity is not None
    tick(tmp_path)
    assert digest_of(path, progress=lambda done, total: overwrite(path)).identity is None


def test_of_a_machine_whose_boot_has_no_name_nothing_is_kept(tmp_path, settled, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(b"x")
    real = open
    monkeypatch.setattr(
        "builtins.open", lambda name, *more, **options: real(str(name).replace("boot_id", "none"), *more, **options)
    )
    assert digest_of(path).identity is None


GOOD = {"a": "0" * 64}


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"7", b'{"a": 5}', b'{"a": "%s"}' % (b"g" * 64), b"\xff\x00", b"[" * 100_000, b" " * 2**21],
    ids=["empty", "cut off", "a list", "a number", "no text", "no sha256", "no UTF-8", "deep", "too long"],
)
def test_a_broken_cache_is_none(tmp_path, content):
    path = tmp_path / "digests.json"
    path.write_bytes(content)
    path.chmod(0o600)
    cache = DigestCache(path)
    assert cache.look_up({"x": path}) == {}
    cache.keep(GOOD)
    assert json.loads(path.read_text()) == GOOD
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_others_can_write_is_not_believed(tmp_path, settled):
    path, cache = tmp_path / "x", DigestCache(tmp_path / "digests.json")
    path.write_bytes(b"x")
    cache.keep({digest_of(path).identity: "0" * 64})
    assert cache.look_up({"x": path}) == {"x": "0" * 64}
    for mode in (0o620, 0o602):
        (tmp_path / "digests.json").chmod(mode)
        assert cache.look_up({"x": path}) == {}


@pytest.mark.parametrize("place", ["x/digests.json", "folder"], ids=["below a file", "a folder"])
def test_where_no_cache_can_be_there_is_none(tmp_path, place):
    (tmp_path / "x").write_text("")
    (tmp_path / "folder").mkdir()
    cache = DigestCache(tmp_path / place)
    cache.keep(GOOD)
    assert cache.look_up({"x": tmp_path / "x"}) == {}


def test_a_cache_that_another_process_writes_is_left_to_it(tmp_path):
    cache = DigestCache(tmp_path / "digests.json")
    with locked(tmp_path / ".digests.json.lock", "ab"):
        cache.keep(GOOD)
    assert not (tmp_path / "digests.json").exists()
    cache.keep(GOOD)
    assert (tmp_path / "digests.json").exists()


def test_the_oldest_entries_go(tmp_path, monkeypatch):
    monkeypatch.setattr("virnucpro.weights.digest_cache.MOST", 3)
    cache = DigestCache(tmp_path / "digests.json")
    for name in "abcad":
        cache.keep({name: "0" * 64})
    assert list(json.loads((tmp_path / "digests.json").read_text())) == ["c", "a", "d"]


@pytest.mark.parametrize(
    "environment, path",
    [
        ({"HOME": "/home/ada"}, "/home/ada/.cache/virnucpro/digests.json"),
        ({"HOME": "/home/ada", "XDG_CACHE_HOME": "/c"}, "/c/virnucpro/digests.json"),
        ({"HOME": "/home/ada", "XDG_CACHE_HOME": "c"}, "/home/ada/.cache/virnucpro/digests.json"),
        ({"HOME": "/home/ada", "VIRNUCPRO_DIGEST_CACHE": "/d.json"}, "/d.json"),
        ({"HOME": "/home/ada", "VIRNUCPRO_DIGEST_CACHE": ""}, None),
        ({"HOME": "/home/ada", "VIRNUCPRO_DIGEST_CACHE": "/dev/null"}, None),
        ({}, None),
    ],
    ids=["home", "XDG", "XDG is relative", "named", "switched off", "a device", "no home"],
)
def test_where_the_cache_is(monkeypatch, environment, path):
    def no_entry(uid):
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", no_entry)
    for name in ("HOME", "XDG_CACHE_HOME", "VIRNUCPRO_DIGEST_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    cache = DigestCache.of_user()
    assert cache._path == (path and Path(path))
    if path is None:
        cache.keep(GOOD)
        assert cache.look_up({"x": Path(__file__)}) == {}


@pytest.fixture
def files(tmp_path, saved):
    """Some files, one with a name that is no UTF-8, one with a hole."""
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "b").write_bytes(os.urandom(100_000))
    (tmp_path / "c").write_bytes(with_hole(saved))
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n"))
    odd.write_bytes(b"odd")
    return {"a": tmp_path / "a", "b": tmp_path / "b", "c": tmp_path / "c", "odd": odd}


def check(print_of):
    digests = print_of.digests()
    assert {name: digest.sha256 for name, digest in digests.items()} == {
        name: sha256(path) for name, path in print_of._files.items()
    }
    assert {name for name, digest in digests.items() if digest.damage} == {"c"}
    assert list(digests) == ["a", "b", "c", "odd"]


@pytest.fixture
def apart(monkeypatch):
    """No file is too small for a process of its own."""
    monkeypatch.setattr(fingerprint, "LARGE", 0)


@pytest.fixture
def not_here(apart, monkeypatch):
    """The digests come from the process, or fail."""

    def here(*arguments):
        raise AssertionError("taken here")

    monkeypatch.setattr(fingerprint, "digest_of", here)


def test_threads_take_the_digests(files):
    taken = Fingerprint(files)
    check(taken)
    assert taken._process is None


def test_a_process_takes_the_digests(files, not_here):
    taken = Fingerprint(files)
    assert not taken.done()
    check(taken)
    assert taken.done()
    assert taken._process.wait(PATIENCE) == 0


EMPTY = hashlib.sha256().hexdigest()
NONSENSE = {
    "no such program": None,
    "ends at once": "",
    "says something else": "echo hello",
    "says too little": f"echo '[0, \"{EMPTY}\", null, null]'",
    "says it twice": f"echo '[0, \"{EMPTY}\", null, null]'; echo '[0, \"{EMPTY}\", null, null]'",
    "says half a line": "printf '[0, '",
    "says a line without end": "while true; do printf xxxxxxxx; done",
    "a number nobody asked for": f"echo '[9, \"{EMPTY}\", null, null]'",
    "a negative number": f"echo '[-1, \"{EMPTY}\", null, null]'",
    "no sha256": "echo '[0, \"hello\", null, null]'",
    "an identity that is no text": f"echo '[1, \"{EMPTY}\", null, 5]'",
    "dies": "kill -9 $$",
    "stops": "kill -STOP $$",
    "is silent": "exec sleep 1000",
    "says no more": "exec >&-; exec sleep 1000",
    "is silent after a sign of life": "echo; exec sleep 1000",
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_whatever_the_process_does_the_digests_are_right(files, apart, monkeypatch, tmp_path, kind):
    program = tmp_path / "program"
    if NONSENSE[kind] is not None:
        program.write_text(f"#!/bin/sh\n{NONSENSE[kind]}\n")
        program.chmod(0o755)
    monkeypatch.setattr("multiprocessing.spawn.get_executable", lambda: os.fsencode(program))
    monkeypatch.setattr(fingerprint, "SILENCE", 0.5)
    monkeypatch.setattr(fingerprint, "LONGEST", 1000)
    taken = Fingerprint(files)
    check(taken)
    if taken._process is not None:
        taken._process.wait(PATIENCE)  # it does not stay


def test_a_python_without_a_name(files, apart, monkeypatch):
    monkeypatch.setattr("multiprocessing.spawn.get_executable", lambda: None)
    check(Fingerprint(files))


@pytest.mark.parametrize("large", [0, 2**40], ids=["a process", "threads"])
def test_a_file_that_cannot_be_read(files, monkeypatch, large):
    monkeypatch.setattr(fingerprint, "LARGE", large)
    with pytest.raises(FileNotFoundError):
        Fingerprint(files | {"none": Path("/none")}).digests()


def begun(path, size):
    """A file of zeros that takes no room, and a process that reads it."""
    with open(path, "wb") as file:
        file.truncate(size)
    taken = Fingerprint({"x": path})
    taken.begin()
    while taken._process is None:
        time.sleep(0.001)
    return taken


def test_a_process_that_gives_signs_of_life_is_left_to_it(tmp_path, not_here, monkeypatch):
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\necho; echo; sleep 0.1; echo; exec {sys.executable} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr("multiprocessing.spawn.get_executable", lambda: os.fsencode(program))
    taken = begun(tmp_path / "x", 100)
    assert taken.result() == {"x": hashlib.sha256(bytes(100)).hexdigest()}


def test_the_program_gives_signs_of_life(tmp_path):
    """It reads a file that is longer than any test has time for."""
    (tmp_path / "x").touch()
    os.truncate(tmp_path / "x", ENDLESS)
    request = json.dumps([[str(tmp_path / "x"), []]])
    with subprocess.Popen(
        [sys.executable, "-I", "-S", hashing.__file__, request], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"\n"
        process.stdin.close()
        assert process.wait(PATIENCE) == 1


def test_closed_it_leaves_no_process(tmp_path, apart):
    taken = begun(tmp_path / "x", ENDLESS)
    assert not taken.done()
    taken.close()
    assert taken._process.wait(PATIENCE) == -signal.SIGKILL
    with pytest.raises(CancelledError):
        taken.result()


def test_a_signal_does_not_end_the_process(tmp_path, not_here):
    taken = begun(tmp_path / "x", 2**27)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        taken._process.send_signal(number)  # the decision is the parent's
    assert taken.result() == {"x": hashlib.sha256(bytes(2**27)).hexdigest()}
    assert taken._process.wait(PATIENCE) == 0


@pytest.mark.parametrize("large", [0, 2**40], ids=["a process", "threads"])
def test_a_pipe_is_not_waited_for(tmp_path, monkeypatch, large):
    monkeypatch.setattr(fingerprint, "LARGE", large)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="Not a regular file"):
        Fingerprint({"x": tmp_path / "pipe"}).result()


def test_where_no_thread_can_be_started_the_digests_are_taken_at_once(files, apart, monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", start)
    check(Fingerprint(files))


def test_the_process_ends_with_a_parent_that_is_killed(tmp_path):
    (tmp_path / "x").touch()
    os.truncate(tmp_path / "x", ENDLESS)
    body = (
        "import time; from pathlib import Path; from virnucpro.system import fingerprint\n"
        "fingerprint.LARGE = 0\n"
        f"taken = fingerprint.Fingerprint({{'x': Path({str(tmp_path / 'x')!r})}}); taken.begin()\n"
        "while taken._process is None: time.sleep(0.001)\n"
        "print(taken._process.pid, flush=True); time.sleep(1000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", body], stdout=subprocess.PIPE, cwd=ROOT) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + PATIENCE
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def in_a_daemon(path, pipe):
    taken = Fingerprint({"x": path})
    pipe.send((taken.result(), taken._process is not None))


def test_a_daemonic_process_has_none(files, apart):
    """As the workers of a multiprocessing.Pool are."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=in_a_daemon, args=(files["b"], theirs), daemon=True)
    process.start()
    assert ours.recv() == ({"x": sha256(files["b"])}, False)
    process.join()
    assert process.exitcode == 0


@pytest.fixture
def known(tmp_path, monkeypatch):
    """Weights of a run: only its ESM-2, which is zeros; its published sha256 may be set."""
    (tmp_path / f"{ESM_8M}.pt").write_bytes(bytes(100))
    model = BY_NAME[ESM_8M]

    def publish(sha256):
        files = tuple(replace(file, sha256=sha256) for file in model.files)
        monkeypatch.setitem(BY_NAME, ESM_8M, replace(model, files=files))

    return publish


ZEROS, OTHER = hashlib.sha256(bytes(100)).hexdigest(), "0" * 64


@pytest.mark.parametrize(
    "published, recorded, refused, warned",
    [
        (None, None, False, False),
        (ZEROS, None, False, False),
        (OTHER, None, False, True),
        (OTHER, ZEROS, False, False),
        (None, ZEROS, False, False),
        (None, OTHER, True, False),
        (OTHER, OTHER, True, False),
        (ZEROS, OTHER, False, False),
    ],
    ids=[
        "nothing known", "as published", "not as published", "own, on record", "on record",
        "not on record", "neither", "published, though another is on record",
    ],
)  # fmt: skip
def test_what_a_run_says_of_weights(tmp_path, known, caplog, published, recorded, refused, warned):
    known(published)
    if recorded:
        (tmp_path / "SHA256SUMS").write_text(f"{recorded}  {ESM_8M}.pt\n")
    digests = WeightDigests(WeightPaths({"esm2": tmp_path / f"{ESM_8M}.pt"}, None, ESM_8M))
    try:
        with digests:
            assert digests.result() == {f"{ESM_8M}.pt": ZEROS}
            digests.warn()
        assert not refused
    except BadWeights as error:
        assert refused, error
        assert f"{ESM_8M}.pt: not the file on record (sha256 {ZEROS}, expected {OTHER})" in str(error)
    assert ("Not the published file" in caplog.text) == warned


def test_a_file_that_cannot_be_read_is_named():
    with pytest.raises(OSError, match="/proc/self/mem"):
        hashing.digest_of("/proc/self/mem")  # reading at its begin fails


def test_a_model_in_several_files_is_known_by_all_of_them(tmp_path):
    """Whatever lies beside what its tensors are read from; in the order of their names."""
    folder = tmp_path / "model"
    folder.mkdir()
    shards = {name: torch.ones(number) for number, name in enumerate(("b.safetensors", "a.safetensors"), 1)}
    for name, tensor in shards.items():
        safetensors.torch.save_file({name[0]: tensor}, folder / name)
    index = {"metadata": {"total_size": 12}, "weight_map": {name[0]: name for name in shards}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    def known():
        with WeightDigests(WeightPaths({"esm2": folder}, None, ESM_8M)) as digests:
            return digests.model_sha256()

    of_both = "\n".join(sha256(folder / name) for name in sorted(shards))
    assert known() == {"esm2": hashlib.sha256(of_both.encode()).hexdigest()}
    (folder / "config.json").write_text("{}")
    assert known() == {"esm2": hashlib.sha256(of_both.encode()).hexdigest()}
    safetensors.torch.save_file({"a": torch.zeros(2)}, folder / "a.safetensors")
    assert known() != {"esm2": hashlib.sha256(of_both.encode()).hexdigest()}
