"""Two GPUs against one: the same proteins, the same settings, from the loaded models to the last window.

    python -m pytest -s tests/benchmarks/test_scaling_v2.py

Needs two GPUs of one host. Without a GPU the same check runs on two CPU workers, of a thread each, against one. Writes
scaling.json.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ON_CPU
from validation import (
    advice,
    amount,
    check_work,
    judge,
    proteins,
    require_gpus,
    scaling,
    show_scaling,
)

from benchmarks.support import gpu, inputs
from virnucpro.reporting.decisions import REQUIREMENTS
from virnucpro.reporting.requirements import Finding
from virnucpro.telemetry.documents import write_document

pytestmark = [pytest.mark.slow, pytest.mark.gpu(or_cpu=True)]
COUNT = amount(on_gpu=20_000, on_cpu=72)
# Small windows: what is left to one GPU when the other has nothing more to do is half a window on average.
BUFFER_SIZE = 4 if ON_CPU else 512
MOST_IMBALANCE = 10  # percent
DEVICES = 2


@pytest.fixture(scope="module")
def found(request: pytest.FixtureRequest, results_dir: Path, model_weights: Path) -> dict:
    """Measured once for all tests here."""
    (results_dir / "scaling.json").unlink(missing_ok=True)
    if ON_CPU:
        request.getfixturevalue("quick_workers")
    else:
        require_gpus(DEVICES)
        gpu.cool_down(inputs.cache())
    fasta = proteins(results_dir / "inputs", COUNT)
    config = {"buffer_size": BUFFER_SIZE, "enable_checkpointing": False}
    found = scaling(fasta, results_dir / "scaling", model_weights, DEVICES, **config)
    write_document(results_dir / "scaling.json", found)
    show_scaling(found)
    return found


def check_balance(found: dict, most: float = MOST_IMBALANCE) -> None:
    """Nobody did much more than another."""
    tokens = found["tokens_per_rank"]
    said = f"{tokens}: {found['imbalance_percent']:.1f} % from their mean; {most} % are allowed\n"
    said += advice("scaling")
    assert found["imbalance_percent"] <= most, said


class TestV2Scaling:
    def test_2gpu_scaling_efficiency(self, found: dict, gpu_left_clean: None) -> None:
        check_work(found)
        assert found["num_sequences"] == COUNT
        judge([Finding(REQUIREMENTS["scaling"], found["speedup"])])

    def test_work_balance(self, found: dict) -> None:
        check_work(found)
        # On the CPU every worker has the same windows each time, which are too few to be alike: 12 %.
        check_balance(found, 20 if ON_CPU else MOST_IMBALANCE)
