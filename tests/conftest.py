"""Fixtures: small weights in the published formats, and the program as a user starts it."""

from __future__ import annotations

import copy
import gc
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
import surroundings

surroundings.settle()
gc.disable()  # while tests are collected: what is imported stays, and to look through it takes nearly half of that time
# Before anything starts CUDA: then no test meets a GPU, and those that can do without run small.
if ON_CPU := os.environ.get("VIRNUCPRO_BENCH_DEVICE") == "cpu":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
# Beside other tests (pytest -n) one thread each: PyTorch's spin while they wait for each other, which on a busy machine
# is long.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["VIRNUCPRO_DIGEST_CACHE"] = ""  # neither read nor written: the user's own
ROOT = Path(__file__).parent.parent
DATA = Path(__file__).parent / "data"
sys.path.insert(0, str(ROOT))  # for benchmarks/, which is not part of the package
sys.path.insert(0, str(Path(__file__).parent))  # for references.py, packing.py and runs.py

pytest_plugins = ["real_weights", "runs", "server", "validation"]
# Ignored under nohup, or where a script started the tests in the background: the program would inherit and heed that.
# A handler that does nothing is not inherited.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, lambda *_: None)
ESM_8M = "esm2_t6_8M_UR50D"
TINY_DNABERT = {"num_hidden_layers": 2, "hidden_size": 24, "num_attention_heads": 12, "intermediate_size": 40}


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights directory: ESM-2 8M as published by fair-esm, a tiny DNABERT-S, classifiers that fit."""
    from benchmarks import synthetic_weights  # torch takes seconds, and the controller of pytest-xdist needs none

    directory = tmp_path_factory.mktemp("weights")
    synthetic_weights.write_fair_esm(directory / f"{ESM_8M}.pt", 6, 320, 20)
    synthetic_weights.write_dnabert(directory / "DNABERT-S", **TINY_DNABERT)
    for chunk_size in (300, 500):
        synthetic_weights.write_classifier(directory / f"{chunk_size}_model.pth", 320 + 24)
    return directory


@pytest.fixture(scope="session")
def program(weights: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Run ``python -m virnucpro`` in a process of its own, with the small weights at hand."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess:
        return subprocess.run(
            command(*arguments),
            env=environment(weights),
            capture_output=True,
            text=True,
            timeout=surroundings.HANG,
            **options,
        )

    return run


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "virnucpro", *map(str, arguments)]


def environment(weights: Path) -> dict[str, str]:
    """For a run on the CPU, which is what the expected numbers are for."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"VIRNUCPRO_WEIGHTS": str(weights), "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """How many threads share a sum decides its last bits; here all processes have one (and do not fight for cores)."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def quick_workers(one_thread: None) -> Iterator[None]:
    """Workers are forks of a process that has imported torch, which else takes most of the time that they live."""
    multiprocessing.set_forkserver_preload(["virnucpro.executors.local"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("virnucpro.executors.agent.START", "forkserver")
        yield


@pytest.fixture(scope="module")
def quantised_once() -> Iterator[None]:
    """The same weights are quantised once in this process, since a CPU takes 2 s for it and gets the same each time.
    What is handed out is a copy, which a test may spoil; worker processes quantise for themselves."""
    import spoilt
    import torch

    from virnucpro.models import quantised_esm2

    plain, known = quantised_esm2.quantised, {}

    def quantised(model, kept=quantised_esm2.KEPT):
        digest = hashlib.sha256()
        for tensor in model.state_dict().values():
            digest.update(tensor.contiguous().view(torch.uint8).numpy())
        key = digest.digest(), *sorted(kept)
        if key not in known:
            known[key] = plain(model, kept)
        return copy.deepcopy(known[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantised_esm2, "quantised", quantised)
        patch.setattr(spoilt, "plain", quantised)
        yield


@pytest.fixture
def brief_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the mean inputs of products 4 proteins, not 24, which take a CPU 2 s; they decide about biases alone."""
    monkeypatch.setattr("virnucpro.models.quantised_esm2.CALIBRATION", (100,) * 4)


@pytest.fixture
def main(weights: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> Callable:
    """The command line in this process: returns (exit code, standard error)."""
    from virnucpro.cli import main as cli_main

    monkeypatch.setenv("VIRNUCPRO_WEIGHTS", str(weights))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    def run(*arguments: object) -> tuple[int, str]:
        code = cli_main([str(argument) for argument in arguments])
        return code, capfd.readouterr().err

    return run


def assert_one_message(said: str, message: str) -> None:
    """One line of error, with the message, and no traceback (other lines are warnings of the log)."""
    (line,) = [line for line in said.splitlines() if line.startswith("virnucpro: error: ")]
    assert message in line
    assert "Traceback" not in said


def pytest_configure(config: pytest.Config) -> None:
    # On a busy machine an example may take long: that is no failure.
    hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
    hypothesis.settings.load_profile("busy")
    config.addinivalue_line("markers", "slow: takes minutes where it measures a GPU")
    config.addinivalue_line(
        "markers",
        "gpu(or_cpu=False): needs a CUDA GPU; with or_cpu=True it runs small, on the CPU, where "
        "VIRNUCPRO_BENCH_DEVICE=cpu asks for it",
    )


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist, which asks nobody else
def pytest_runtestloop() -> None:
    gc.freeze()  # nor is that looked through while tests run
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip GPU tests where there is none, and say so."""
    marked = [(item, mark) for item in items if (mark := item.get_closest_marker("gpu"))]
    if marked:
        import torch

        if not torch.cuda.is_available():
            why = "needs a CUDA GPU, and none is visible here"
            for item, mark in marked:
                if not mark.kwargs.get("or_cpu"):
                    item.add_marker(pytest.mark.skip(reason=why))
                elif not ON_CPU:
                    hint = "VIRNUCPRO_BENCH_DEVICE=cpu runs it small, on the CPU"
                    item.add_marker(pytest.mark.skip(reason=f"{why}; {hint}"))
