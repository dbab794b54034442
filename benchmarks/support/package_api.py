"""Package API: how the suite has the package embed, prepare and write, each in two spellings.

Commits up to the last before `virnucpro.streaming` are spelled by their own modules to embed and prepare, the rest by
that one, which is documented and stays. What writes results lies flat in v2.0, and in folders later. A commit with a
third spelling could not be measured.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.support.inputs import GPU_10K

if TYPE_CHECKING:
    from torch import Tensor

ON_A_GPU = {"chunk_size": 500, "token_budget": GPU_10K.token_budget, "buffer_size": GPU_10K.buffer_size}


class Made(NamedTuple):
    """What a file became, and on the way the seconds of stages in the main process and in loader processes."""

    sequences: int
    packs: list[tuple[int, ...]]  # of ESM-2: tokens of each sequence
    main: dict[str, float]
    loader: dict[str, float]


def has_streaming() -> bool:
    return find_spec("virnucpro.streaming") is not None


def has_precision(name: str) -> bool:
    """Whether `--precision` takes that name; False for all commits from before the package had folders, and no int8."""
    if find_spec("virnucpro.output") is None:
        return False
    from virnucpro.models.catalog import PRECISIONS

    return name in PRECISIONS


def embed(
    weights: Path, esm_model: str, proteins: Iterable[tuple[str, str]], device: str, loaders: int, threads: int | None,
    token_budget: int | None, buffer_size: int, precision: str, attention: str, plain: bool,
    now: Callable[[], Any] = time.perf_counter,
) -> list[tuple[Any, Any]]:  # fmt: skip
    """Embed proteins in this process.

    Args:
        token_budget: None for the device's own.
        plain: PyTorch's own steps between the matrix products, where the package would take its kernels in Triton.
        now: What is read when a window is done.
    Returns:
        For each window what was read then, and its costs.
    """
    options = dict(locals())
    return _embed_streaming(**options) if has_streaming() else _embed_inline(**options)


def int8_product(
    device: str,
) -> tuple[Callable[[Tensor], Any], Callable[[Tensor], Any], Callable[[Any, Any], Tensor]]:
    """The package's product in 8 bits, with nothing but scales and bias at its end: what makes a layer of weights in
    16 bits, what makes an operand of activations, and the product of an operand and a layer."""
    import torch

    from virnucpro.models.catalog import PRECISIONS
    from virnucpro.models.linear import Int8Linear, quantise
    from virnucpro.models.ops import choose_ops

    given = torch.device(device), PRECISIONS["int8"], 0  # a model's width, which matters in 16 bits
    ops, said = choose_ops(*given[: len(signature(choose_ops).parameters)])  # at first it took the device alone
    print(said)
    return lambda weight_OI: Int8Linear(weight_OI, weight_OI.new_zeros(len(weight_OI))), quantise, ops.linear


def prepare(path: str, tokenizer: Path, token_budget: int = ON_A_GPU["token_budget"]) -> Made:
    """Make all packs of a file in this process, as for a GPU."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # as in a loader process, or it took all cores
    if not has_streaming():
        return _prepare_by_stages(path, tokenizer, token_budget)
    from virnucpro.streaming import prepare

    made = prepare(path, tokenizer, **ON_A_GPU | {"token_budget": token_budget})
    return Made(made.sequences, made.packs, made.main_seconds, made.loader_seconds)


def can_write() -> bool:
    return _writers() is not None


def write(folder: Path, windows: Iterable[dict[str, Any]], input_type: str) -> dict[str, float]:
    """Write checkpoints and results in this process, as at the end of a run.

    Args:
        windows: The fields of `FinishedWindow`.
        input_type: "nucleotide" or "protein".
    Returns:
        Processor seconds of each stage.
    """
    modules = _writers()
    assert modules is not None, "ask can_write first"
    (window, store), tables, embeddings = modules
    given = [window(**_spelled(window, entries)) for entries in windows]
    kept = store(folder / "windows", lambda: None, 10_000, 300)
    seconds, failures = dict[str, float](), dict[str, str]()

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        begun = time.process_time()
        yield
        seconds[name] = time.process_time() - begun

    with stage("checkpoints"):
        for each in given:
            kept.add(each)
        kept.flush()
    if input_type == "nucleotide":
        with stage("verdicts"):
            read = kept.finished()
            tables.write_verdicts(folder, tables.scored(read) if hasattr(tables, "scored") else read, failures)
    with stage("fates"):
        tables.write_fates(folder, kept.finished(), input_type, failures)
    if input_type == "protein":
        with stage("embeddings"):
            embeddings.write_embeddings(folder / "embeddings.h5", kept.finished(), input_type, {})
    return seconds


def _writers() -> tuple[tuple[Any, Any], Any, Any] | None:
    """The classes of a finished window and of their store, and the modules of tables and embeddings."""
    if find_spec("virnucpro.output") is not None:
        names = "engine.results.FinishedWindow", "pipeline.checkpoints.CheckpointStore"
        modules = "output.tables", "output.embeddings_file"
    elif find_spec("virnucpro.outcomes") is not None:
        names, modules = ("outcomes.Finished", "store.Store"), ("report", "embeddings")
    else:
        return None
    paths = (name.rsplit(".", 1) for name in names)
    window, store = (getattr(import_module(f"virnucpro.{module}"), name) for module, name in paths)
    tables, embeddings = (import_module(f"virnucpro.{module}") for module in modules)
    return (window, store), tables, embeddings


def _spelled(window: Any, entries: dict[str, Any]) -> dict[str, Any]:
    """Of a window's fields, features: by model, or in v2.0 and for some time after, ESM-2's by itself."""
    if "features" in {field.name for field in fields(window)}:
        return entries
    features = entries["features"].get("esm2")
    return {name: value for name, value in entries.items() if name != "features"} | {"esm2_SD": features}


def _embed_streaming(
    weights: Path, esm_model: str, proteins: Iterable[tuple[str, str]], now: Callable[[], Any], **options: Any
) -> list:
    from virnucpro.streaming import Embedder

    with Embedder(weights, esm_model, **options) as embedder:
        costs = [(now(), window.cost) for window in embedder.embed(proteins)]
        print(embedder.backends)
    return costs


def _embed_inline(
    weights: Path, esm_model: str, proteins: Iterable[tuple[str, str]], device: str, loaders: int, threads: int | None,
    token_budget: int | None, buffer_size: int, precision: str, attention: str, plain: bool, now: Callable[[], Any],
) -> list[tuple[Any, Any]]:  # fmt: skip
    from virnucpro.inline import Inline
    from virnucpro.reads import Read
    from virnucpro.recipe import Recipe
    from virnucpro.windows import windows
    from virnucpro.work import Work

    from virnucpro.pipeline.runtime_config import RuntimeConfig
    from virnucpro.weights import WeightPaths

    paths = WeightPaths(weights / f"{esm_model}.pt", None, None)
    token_budget = token_budget or ON_A_GPU["token_budget"]
    recipe = Recipe("protein", paths, esm_model, None, precision, attention, token_budget, True)
    job = Work(recipe, RuntimeConfig(), loaders, threads, logging.INFO)
    reads = (Read(name, residues) for name, residues in proteins)
    made = windows(reads, "protein", 0, buffer_size, token_budget)
    costs: list[tuple[Any, Any]] = []
    with _plain_steps() if plain else nullcontext():
        Inline(job, device).run(
            made, lambda window, cost: costs.append((now(), cost)), lambda backends: print(backends)
        )
    return costs


@contextmanager
def _plain_steps() -> Iterator[None]:
    from virnucpro import fusion

    choose = fusion.choose
    fusion.choose = lambda device: (fusion.Plain(), "PyTorch's own steps, as the benchmark asked")
    try:
        yield
    finally:
        fusion.choose = choose


def _prepare_by_stages(path: str, tokenizer: Path, budget: int) -> Made:
    from virnucpro.loader import FrontEnd
    from virnucpro.recipe import Recipe
    from virnucpro.survey import reread, survey
    from virnucpro.windows import windows

    from virnucpro.weights import WeightPaths

    begun = time.perf_counter()
    seen = survey([path])
    surveyed = time.perf_counter()
    size, buffer = ON_A_GPU["chunk_size"], ON_A_GPU["buffer_size"]
    made = list(windows(reread([path], seen), seen.kind, size, buffer, budget))
    cut = time.perf_counter()
    weights = WeightPaths(Path("unused"), tokenizer, None)
    front_end = FrontEnd(Recipe(seen.kind, weights, "", size, "fp16", "auto", budget, False))
    if made:
        front_end[made[0]]  # loads the tokenizer
    ready = time.perf_counter()
    prepared = [front_end[window] for window in made]
    whole = time.perf_counter() - ready
    packs = [lengths for each in prepared if each.esm2 is not None for lengths in each.esm2.lengths]
    main = {"survey": surveyed - begun, "reading, windows": cut - surveyed}
    return Made(sum(each.sequences for each in prepared), packs, main, {"frames, tokens, packs": whole})
