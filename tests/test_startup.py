"""What a start need not pay for: bytecode that is made anew, torch before its time, and the way out."""

import os
import stat
import subprocess
import sys
import types
from pathlib import Path

import packing
import pytest
from conftest import DATA, ESM_8M, ROOT, environment
from surroundings import HANG

from virnucpro.config.settings import Settings
from virnucpro.diagnostics.doctor import examine
from virnucpro.diagnostics.finding import NOTE
from virnucpro.executors import launch
from virnucpro.system.imports import why_compiled_anew

KEEP = "from virnucpro.system.imports import keep_bytecode; keep_bytecode(); import torch; print(torch.__cached__)"


@pytest.fixture
def toy(tmp_path):
    """A package by the name of torch that nobody has compiled."""
    place = tmp_path / "site" / "torch"
    place.mkdir(parents=True)
    (place / "__init__.py").write_text("ANSWER = 42\n")
    return place


def start(tmp_path: Path, toy: Path, code: str = KEEP, **variables: str) -> str:
    """What a program prints that imports the toy where Python is told to write no bytecode."""
    known = {
        "PYTHONPATH": f"{toy.parent}:{ROOT}",
        "XDG_CACHE_HOME": f"{tmp_path}/cache",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=known | variables, cwd=tmp_path, check=True, capture_output=True,
        text=True, timeout=HANG,
    )  # fmt: skip
    return done.stdout.strip()


def test_bytecode_that_nobody_keeps_is_kept_in_the_cache(tmp_path, toy):
    kept = start(tmp_path, toy)
    cache = tmp_path / "cache/virnucpro/bytecode"
    assert kept.startswith(str(cache)) and Path(kept).is_file()
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert os.listdir(toy) == ["__init__.py"]
    written = os.stat(kept).st_mtime_ns
    assert start(tmp_path, toy) == kept and os.stat(kept).st_mtime_ns == written, "it was made anew"


def test_so_do_children(tmp_path, toy):
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import torch; print(torch.__cached__)'])"
    first, second = start(tmp_path, toy, f"{KEEP}; sys = __import__('sys'); sys.stdout.flush(); {child}").split()
    assert first == second


def test_so_do_workers(tmp_path, toy):
    """multiprocessing tells them to write none where this process was told so."""
    (tmp_path / "worker.py").write_text(
        "from virnucpro.system.imports import keep_bytecode\n"
        "def body():\n"
        "    keep_bytecode()\n"
        "    import torch\n"
        "    print(torch.__cached__, flush=True)\n"
    )
    code = (
        "import sys, multiprocessing; sys.path.insert(0, '.'); import worker; worker.keep_bytecode()\n"
        "process = multiprocessing.get_context('spawn').Process(target=worker.body)\n"
        "process.start()\n"
        "process.join()"
    )
    assert Path(start(tmp_path, toy, code)).is_file()


def test_a_file_that_the_disk_cuts_short_is_not_kept(tmp_path, toy):
    code = f"import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n{KEEP}"
    (toy / "__init__.py").write_text(f"ANSWER = {'x' * 9000!r}\n")
    limited = code.replace("; import", "; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); import", 2)
    kept = start(tmp_path, toy, limited)
    assert not Path(kept).exists()
    assert start(tmp_path, toy) == kept and Path(kept).stat().st_size > 9000


def test_another_version_is_not_taken_for_this(tmp_path, toy):
    """Of one date and size, as reproducible images have them."""
    for version in ("2.9.0", "2.9.1"):
        (toy / "__init__.py").write_text(f"VERSION = {version!r}\n")
        os.utime(toy / "__init__.py", (0, 0))
        for found in toy.parent.glob("*.dist-info"):
            found.rmdir()
        (toy.parent / f"torch-{version}.dist-info").mkdir()
        assert start(tmp_path, toy, f"{KEEP}; print(torch.VERSION)").split()[1] == version


def test_what_changed_is_made_anew(tmp_path, toy):
    start(tmp_path, toy)
    (toy / "__init__.py").write_text("ANSWER = 43 + 0\n")
    assert start(tmp_path, toy, f"{KEEP}; print(torch.ANSWER)").split()[1] == "43"


def compiled(tmp_path: Path, toy: Path) -> dict[str, str]:
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(toy)], check=True)
    return {}


def writable(tmp_path: Path, toy: Path) -> dict[str, str]:
    return {"PYTHONDONTWRITEBYTECODE": ""}


def named(tmp_path: Path, toy: Path) -> dict[str, str]:
    return {"PYTHONPYCACHEPREFIX": str(tmp_path / "named")}


def homeless(tmp_path: Path, toy: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": "", "HOME": "nowhere"}


def everybodys(tmp_path: Path, toy: Path) -> dict[str, str]:
    folder = tmp_path / "cache/virnucpro/bytecode"
    folder.mkdir(parents=True)
    folder.chmod(0o777)  # what lies there is run
    return {}


def above_is_everybodys(tmp_path: Path, toy: Path) -> dict[str, str]:
    (tmp_path / "cache/virnucpro/bytecode").mkdir(parents=True, mode=0o700)
    (tmp_path / "cache/virnucpro").chmod(0o777)  # another folder could take its place
    return {}


def cache_is_everybodys(tmp_path: Path, toy: Path) -> dict[str, str]:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    return {}


def a_file(tmp_path: Path, toy: Path) -> dict[str, str]:
    (tmp_path / "cache").write_text("not a folder")
    return {}


@pytest.mark.parametrize(
    "circumstances, where",
    [
        (compiled, "site/torch/__pycache__"),
        (writable, "site/torch/__pycache__"),
        (named, "named"),
        (homeless, "site/torch/__pycache__"),
        (everybodys, "site/torch/__pycache__"),
        (cache_is_everybodys, "site/torch/__pycache__"),
        (above_is_everybodys, "site/torch/__pycache__"),
        (a_file, "site/torch/__pycache__"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_elsewhere_it_lies_where_python_has_it(tmp_path, toy, circumstances, where):
    kept = start(tmp_path, toy, **circumstances(tmp_path, toy))
    assert kept.startswith(f"{tmp_path}/{where}")
    assert not [*tmp_path.glob("cache/virnucpro/bytecode/*")]


def test_doctor_says_that_it_is_made_anew(monkeypatch, tmp_path):
    place = tmp_path / "torch"
    place.mkdir()
    (place / "__init__.py").write_text("")
    import importlib.util

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(
        "virnucpro.system.imports.find_spec",
        lambda name: importlib.util.spec_from_file_location(name, place / "__init__.py"),
    )
    assert why_compiled_anew() == "PYTHONDONTWRITEBYTECODE is set"
    (found,) = (found for found in examine(Settings(("-",), tmp_path), quick=True) if found.subject == "start-up")
    assert found.verdict == NOTE and "at every start" in found.text and "XDG_CACHE_HOME" in found.advice


def test_loaders_are_there_before_torch(tmp_path, weights):
    code = (
        "import sys, virnucpro.engine.prefetch as prefetch\n"
        "make = prefetch.Prefetcher.__init__\n"
        "def noted(self, *given):\n"
        "    assert 'torch' not in sys.modules\n"
        "    print('loaders')\n"
        "    make(self, *given)\n"
        "prefetch.Prefetcher.__init__ = noted\n"
        "from virnucpro.cli import run\n"
        "run()"
    )
    options = ("--output-dir", "out", "--esm-model", ESM_8M, "--num-workers", "1", "--no-progress")
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", DATA / "small.fa", *options], cwd=tmp_path, env=environment(weights),
        capture_output=True, text=True, timeout=HANG,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "loaders\n"), done.stderr


LEAVE = "from virnucpro.system.imports import leave_quickly; leave = leave_quickly();"


@pytest.mark.parametrize(
    "body, code, printed",
    [
        ("import atexit; atexit.register(print, 'registered'); print('before'); leave(3)", 3, "before\nregistered\n"),
        ("import threading; threading.Timer(0.2, print, ['thread']).start(); leave(0)", 0, "thread\n"),
        ("import sys; sys.stdout = sys.stderr = None; leave(2)", 2, ""),
        ("import sys; sys.stdout.close(); leave(2)", 2, ""),
        ("raise ValueError", 1, ""),
    ],
    ids=["registered", "a thread", "no streams", "closed", "an error"],
)
def test_what_python_does_at_an_end_is_done(body, code, printed):
    done = subprocess.run(
        [sys.executable, "-c", f"{LEAVE} {body}"], cwd=ROOT, capture_output=True, text=True, timeout=HANG
    )
    assert (done.returncode, done.stdout) == (code, printed)
    assert ("Traceback" in done.stderr) == ("raise" in body)


def test_a_profiler_gets_what_it_measured(tmp_path):
    subprocess.run([sys.executable, "-m", "cProfile", "-o", tmp_path / "profile", "-m", "virnucpro", "--version"],
                   cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=HANG)  # fmt: skip
    assert (tmp_path / "profile").stat().st_size > 0


def test_a_signal_after_the_end_changes_nothing():
    code = (
        "import atexit, os, signal\n"
        "from virnucpro import cli\n"
        "atexit.register(lambda: None)\n"
        "def main():\n"
        "    atexit.register(os.kill, os.getpid(), signal.SIGINT)\n"
        "    return 0\n"
        "cli.main = main\n"
        "cli.run()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=HANG)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
def test_what_a_gpu_has_none_of_is_no_error_ahead_of_torch(weights, monkeypatch, caplog, device):
    """No driver, no Triton: whoever asks for them hears of it."""
    monkeypatch.setattr(launch.ctypes, "CDLL", lambda name: types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, "triton.runtime.cache", None)
    with caplog.at_level("DEBUG"):
        launch._wake(packing.recipe(weights, precision="fp16"), device)
    said = [record.message.partition(" ahead")[0] for record in caplog.records]
    assert said == ([] if device == "cpu" else [f"No context for {device}", "No Triton"])


@pytest.mark.parametrize(
    "device, recipe, times",
    [
        ("cuda:0", {"precision": "fp16"}, 1),
        ("cuda:0", {"precision": "fp32"}, 0),
        ("cuda:0", {"precision": "fp16", "plain": True}, 0),
        ("cpu", {"precision": "fp16"}, 0),
    ],
)
def test_triton_looks_at_itself_ahead_where_it_will_be_asked(weights, monkeypatch, device, recipe, times):
    asked = []
    monkeypatch.setattr(launch.ctypes, "CDLL", lambda name: types.SimpleNamespace())
    cache = types.ModuleType("triton.runtime.cache")
    cache.triton_key = lambda: asked.append(1)
    for name in ("triton", "triton.runtime"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, cache.__name__, cache)
    launch._wake(packing.recipe(weights, **recipe), device)
    assert len(asked) == times
