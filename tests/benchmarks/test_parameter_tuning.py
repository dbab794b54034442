"""Parameters: how fast proteins are embedded with other loaders, packs and windows than the defaults.

    python -m pytest -s tests/benchmarks/test_parameter_tuning.py [-k loader | -k packing]

Every figure is tokens a second from the loaded models to the last window, of the same proteins on one GPU. Writes
tuning.json, in which each run is described as in a telemetry file, and tuning_packing.svg.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

import pytest
from conftest import ON_CPU
from validation import WORK, amount, let_go, machine, proteins, read_json

from benchmarks import history
from benchmarks.support.tables import table
from virnucpro.config.placement import place
from virnucpro.errors import BadRequest
from virnucpro.pipeline.multi_gpu_inference import run_multi_gpu_inference
from virnucpro.pipeline.runtime_config import RuntimeConfig
from virnucpro.system.files import whole_file
from virnucpro.telemetry.documents import write_document

pytestmark = [pytest.mark.slow, pytest.mark.gpu(or_cpu=True)]
COUNT = amount(on_gpu=3000, on_cpu=24)
LOADERS = {"num_workers": (0, 1) if ON_CPU else (0, 1, 2, 4), "prefetch_factor": (1,) if ON_CPU else (1, 2, 4)}
PACKING = {
    "token_budget": (1024, 2048) if ON_CPU else (4096, 8192, 16384, 32768),
    "buffer_size": (8, 16) if ON_CPU else (256, 512, 2048),
}
MEASURED, OUT_OF_MEMORY = "measured", "out of memory"
WORTH = 3  # percent that a setting has to be faster by before it is recommended over the default


class Sweep:
    """Runs, each measured once, in the order in which they were asked for."""

    def __init__(self, fasta: Path, folder: Path, weights: Path) -> None:
        self._fasta, self._folder = fasta, folder
        self._model = {"model_name": WORK.esm_model, "weights_dir": weights}
        self.runs: dict[tuple, dict] = {}

    def measure(self, **parameters: int) -> dict:
        """A run with these, and the defaults for all others: its telemetry, with "parameters" and "status"."""
        key = tuple(sorted(parameters.items()))
        if key not in self.runs:
            self.runs[key] = self.run_once(parameters)
            print(f"  {parameters or 'defaults'}: {told(self.runs[key])}", flush=True)
        return self.runs[key]

    def run_once(self, parameters: Mapping[str, int]) -> dict:
        """The same, whether it was measured before or not, and not remembered."""
        import torch

        metadata = {"parameters": dict(parameters), "status": MEASURED}
        try:
            return self._run(metadata, RuntimeConfig(enable_checkpointing=False, **parameters))
        except (torch.OutOfMemoryError, MemoryError, BadRequest) as error:
            if isinstance(error, BadRequest) and "too little memory" not in str(error):
                raise
            return {"run_metadata": metadata | {"status": OUT_OF_MEMORY}, "summary": None}
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
            let_go()

    def _run(self, metadata: dict, config: RuntimeConfig) -> dict:
        with halvings() as halved:
            run_multi_gpu_inference(self._fasta, self._folder, self._model, 1, runtime_config=config)
        document = read_json(self._folder / f"telemetry_{self._fasta.stem}.json")
        computed = len(history.protein_embeddings(self._folder, self._fasta.stem))
        if halved:  # a pack that does not fit is halved, and the run goes on: slower, or without a sequence
            metadata |= {"status": OUT_OF_MEMORY, "packs_halved": len(halved)}
        else:
            assert computed == COUNT, f"{computed} of {COUNT} proteins were embedded: the log says why"
        stages = document["run_metadata"]["stage_seconds"]
        metadata |= {"stage_seconds": stages, "tokens_per_second": document["summary"]["tokens"] / stages["computing"]}
        return {"run_metadata": metadata, "summary": document["summary"]}


class halvings(logging.Handler):
    """Within it, lists what the engine says of packs that did not fit."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, message: logging.LogRecord) -> None:
        if "Out of GPU memory on a pack" in message.msg:
            self.said.append(message.getMessage())

    def __enter__(self) -> list[str]:
        logging.getLogger("virnucpro.engine.model_runner").addHandler(self)
        return self.said

    def __exit__(self, *_: object) -> None:
        logging.getLogger("virnucpro.engine.model_runner").removeHandler(self)


def speed(entry: dict) -> float | None:
    """Tokens a second; None where memory did not suffice."""
    return entry["run_metadata"]["tokens_per_second"] if entry["run_metadata"]["status"] == MEASURED else None


def told(entry: dict) -> str:
    if speed(entry) is None:
        return OUT_OF_MEMORY
    return f"{speed(entry):,.0f} tokens/s, packs {100 * entry['summary']['packing_efficiency']:.1f} % full"


def defaults() -> dict[str, int]:
    """What a run takes where nothing is asked for."""
    placement, config = place((0,) if not ON_CPU else None, False, None), RuntimeConfig()
    return {
        "num_workers": placement.loaders,
        "prefetch_factor": config.prefetch_factor,
        "token_budget": placement.token_budget,
        "buffer_size": placement.buffer_size,
    }


def recommendation(runs: list[dict], baseline: dict, drift: float) -> str:
    """What to use.

    Args:
        drift: Percent by which the baseline, measured again, differs from itself: a gain within it is none.
    """
    fastest = max((entry for entry in runs if speed(entry) is not None), key=speed)
    gain = 100 * (speed(fastest) / speed(baseline) - 1)
    if gain <= max(WORTH, drift):
        return (
            f"Keep the defaults: nothing is faster by more than {max(WORTH, drift):.1f} % (the best by {gain:.1f} %)."
        )
    pairs = [f"{name}={value}" for name, value in fastest["run_metadata"]["parameters"].items()]
    return (
        f"{' '.join(f'--set {pair}' for pair in pairs)}: {gain:.1f} % faster than the defaults (the baseline itself "
        f"moves by {drift:.1f} %). Run the production validation again with it: "
        f"VIRNUCPRO_VALIDATION_SET='{' '.join(pairs)}' python -m pytest -s "
        "tests/benchmarks/test_production_validation.py"
    )


@pytest.fixture(scope="module")
def sweep(results_dir: Path, model_weights: Path) -> Iterator[Sweep]:
    """The baseline is measured first, and once more when all is done; then the results are written."""
    (results_dir / "tuning.json").unlink(missing_ok=True)
    made = Sweep(proteins(results_dir / "inputs", COUNT), results_dir / "tuning", model_weights)
    made.run_once({})  # does not count: the first run of a process is slower, by 3 % on an H200
    print("\nTokens a second:")
    baseline = made.measure()
    assert speed(baseline) is not None, "the defaults do not fit into this GPU's memory"
    yield made
    again = made.run_once({})
    drift = 100 * abs(speed(again) / speed(baseline) - 1)
    runs = list(made.runs.values())
    advice = recommendation(runs, max(baseline, again, key=speed), drift)
    grid = packing_grid(made)
    write_document(
        results_dir / "tuning.json",
        {
            "run_metadata": {"run_id": "tuning", "workload": WORK.name, "num_sequences": COUNT, "hardware": machine(),
                             "defaults": defaults(), "baseline_drift_percent": drift},
            "runs": [*runs, again], "packing_grid": grid, "recommendation": advice,
        },
    )  # fmt: skip
    print("\n" + table([[str(e["run_metadata"]["parameters"] or "defaults"), told(e)] for e in [*runs, again]],
                       ["parameters", "result"]))  # fmt: skip
    print(advice)
    if grid is not None:
        from virnucpro.reporting.pictures import packing_map

        with whole_file(results_dir / "tuning_packing.svg") as file:
            file.write(packing_map(grid).replace("currentColor", "#333333"))


def packing_grid(sweep: Sweep) -> dict | None:
    """Tokens a second by token_budget and buffer_size; None unless all of it was measured."""
    budgets, buffers = PACKING.values()
    keys = [[tuple(sorted({"token_budget": t, "buffer_size": b}.items())) for b in buffers] for t in budgets]
    if not all(key in sweep.runs for line in keys for key in line):
        return None
    return {
        "token_budgets": list(budgets),
        "buffer_sizes": list(buffers),
        "tokens_per_second": [[speed(sweep.runs[key]) for key in line] for line in keys],
        "none": OUT_OF_MEMORY,
    }


class TestParameterTuning:
    def test_baseline(self, sweep: Sweep, gpu_left_clean: None) -> None:
        entry = sweep.measure()
        assert entry["summary"]["sequences"] == COUNT
        assert list(sweep.runs) == [()]  # it was first

    def test_dataloader_parameter_sweep(self, sweep: Sweep, gpu_left_clean: None) -> None:
        workers, prefetch = LOADERS.values()
        for number in workers:
            sweep.measure(num_workers=number)
        for factor in prefetch:
            sweep.measure(num_workers=max(workers), prefetch_factor=factor)
        assert all(speed(entry) is not None for entry in sweep.runs.values())  # none of these needs memory

    def test_packing_sweep(self, sweep: Sweep, gpu_left_clean: None) -> None:
        for budget, size in product(*PACKING.values()):
            entry = sweep.measure(token_budget=budget, buffer_size=size)
            assert entry["summary"] is None or entry["summary"]["sequences"] == COUNT
        packs = [
            entry["summary"]["packs"]
            for budget in PACKING["token_budget"]
            if (entry := sweep.measure(token_budget=budget, buffer_size=max(PACKING["buffer_size"])))["summary"]
        ]
        assert packs == sorted(packs, reverse=True) and len(set(packs)) == len(packs)  # the setting reached them

    def test_interactions(self, sweep: Sweep, gpu_left_clean: None) -> None:
        """The fastest packing with other loaders: what is best alone need not be best together."""
        grid = {key: entry for key, entry in sweep.runs.items() if dict(key).keys() == PACKING.keys()}
        if not grid:
            pytest.skip("needs the packing sweep, which was not run")
        best = max((entry for entry in grid.values() if speed(entry) is not None), key=speed)
        for number in {min(LOADERS["num_workers"]), max(LOADERS["num_workers"])}:
            sweep.measure(**best["run_metadata"]["parameters"], num_workers=number)
