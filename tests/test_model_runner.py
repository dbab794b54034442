"""Model runner and window loop: numbers that do not depend on company, and failures that stay with their sequence."""

import dataclasses
import shutil
import time
from collections import Counter

import numpy as np
import packing
import pytest
import torch
from conftest import ESM_8M
from hypothesis import given, settings
from hypothesis import strategies as st
from references import assert_equal_within_float32

from benchmarks import workloads
from virnucpro.engine import loader
from virnucpro.engine.events import WindowCost
from virnucpro.engine.loader import FrontEnd
from virnucpro.engine.model_runner import ModelRunner
from virnucpro.engine.pending_result import PendingResult
from virnucpro.engine.prefetch import Prefetcher
from virnucpro.engine.results import WindowResult, finish
from virnucpro.engine.window_loop import WindowLoop
from virnucpro.errors import BadRequest
from virnucpro.models.esm2 import protein_means
from virnucpro.models.pack import Pack
from virnucpro.pipeline.runtime_config import RuntimeConfig
from virnucpro.reading.window_source import AtHand

CPU = torch.device("cpu")
READS = {name: sequence[:120] for name, sequence in workloads.reads(8)}
COLUMNS = ("esm2", "dnabert_s", "scores_S2")
POISON = "ATGTGGTGGTGGTGGTGGTGGTGGTGGATG"  # F1 is MWWWWWWWWM
POISON_TOKENS = [20, *[22] * 8, 20]


@pytest.fixture(scope="module")
def engine(weights):
    return ModelRunner(packing.recipe(weights), CPU)


@pytest.fixture(scope="module")
def exact_engine(weights):
    return ModelRunner(packing.recipe(weights, deterministic=True, token_budget=1), CPU)


@pytest.fixture(scope="module")
def expected(engine):
    """The numbers of READS, all in one window."""
    found = numbers(engine, READS)
    assert len(found) > len(READS)
    return found


def outcome_of(engine, window):
    return engine.submit(FrontEnd(engine.config)[window]).result()


def at_hand(engine):
    """Windows prepared by this process itself."""
    return Prefetcher(FrontEnd(engine.config).__getitem__, 0, 2, retries=3)


def numbers(engine, reads, buffer_size=64):
    """Every frame's numbers by its name: (features of ESM-2, of DNABERT-S, scores)."""
    found = {}
    for window in packing.windows_of(reads, buffer_size=buffer_size):
        found |= by_name(finish(window, [outcome_of(engine, window)]))
    return found


def column_of(result, name):
    """Features of a model, or scores; None if there are none."""
    return result.scores_S2 if name == "scores_S2" else result.features.get(name)


def by_name(finished):
    columns = [torch.from_numpy(column_of(finished, column)) for column in COLUMNS]
    return {name: [column[i] for column in columns] for i, name in enumerate(finished.sequence_names("nucleotide"))}


def assert_within_float32(found, expected):
    assert set(found) <= set(expected)
    for column in range(len(COLUMNS)):
        assert_equal_within_float32(
            *(torch.stack([rows[name][column] for name in found]) for rows in (found, expected))
        )


SETTINGS = {
    "reversed": (dict(reversed(READS.items())), 64),
    "alone": (dict([next(iter(READS.items()))]), 64),
    "small windows": (READS, 2),
    "large windows": (READS, 1000),
    "new neighbours": (READS | {"new": "ATGGCC" * 30, "r": POISON}, 64),
}


@pytest.mark.parametrize("reads, buffer_size", SETTINGS.values(), ids=SETTINGS)
def test_company_changes_nothing_beyond_float32(engine, expected, reads, buffer_size):
    found = numbers(engine, reads, buffer_size)
    assert_within_float32({name: found[name] for name in found if name in expected}, expected)


def test_deterministic_numbers_do_not_depend_on_company_to_the_last_bit(exact_engine):
    reads = dict(list(READS.items())[:4])
    expected = numbers(exact_engine, reads, 64)
    for others, buffer_size in ((dict(reversed(reads.items())), 64), (reads, 2), (reads | {"r": POISON}, 1000)):
        found = numbers(exact_engine, others, buffer_size)
        assert len(found) >= len(expected)
        assert all(torch.equal(one, other) for name in expected for one, other in zip(found[name], expected[name]))


def test_an_outcome(engine):
    (window,) = packing.windows_of({"r": "ATGGCC", "none": "TAATTAGTTAACTAATTAACTAGTTAA", "empty": ""})
    pending = engine.submit(FrontEnd(engine.config)[window])
    assert pending.ready()
    outcome = pending.result()
    assert outcome.open_C.tolist() == [0b111111, 0]
    assert (outcome.index, outcome.only, outcome.sequences, outcome.tokens, outcome.packs) == (0, None, 6, 20, 1)
    assert (outcome.cut, outcome.unknown, outcome.failures) == (0, 0, {})
    assert [column_of(outcome, column).shape for column in COLUMNS] == [(6, 320), (6, 24), (6, 2)]
    assert all(column_of(outcome, column).dtype == np.float32 for column in COLUMNS)


@pytest.mark.parametrize(
    "kind, sequence, keep_features, columns",
    [
        ("nucleotide", "ATGGCC", False, ["scores_S2"]),
        ("protein", "MA", True, ["esm2"]),
        ("nucleotide", "TAATTAGTTAACTAATTAACTAGTTAA", True, []),  # no open frame
        ("protein", "*", True, []),
    ],
)
def test_an_outcome_holds_what_was_asked_for(weights, kind, sequence, keep_features, columns):
    engine = ModelRunner(packing.recipe(weights, kind, keep_features=keep_features), CPU)
    (window,) = packing.windows_of({"r": sequence}, kind)
    outcome = outcome_of(engine, window)
    assert [column for column in COLUMNS if column_of(outcome, column) is not None] == columns


def test_a_backend_that_cannot_run_here_is_refused(weights):
    with pytest.raises(BadRequest, match="--attention varlen cannot run here: needs a CUDA GPU"):
        ModelRunner(packing.recipe(weights, attention="varlen"), CPU)


@pytest.mark.parametrize(
    "precision, reason",
    [
        ("fp32", "features are not finite"),
        ("fp16", "features are not finite in fp16 (try --precision bf16)"),
        ("int8", "features are not finite in int8 (try --precision fp16)"),
    ],
)
def test_features_that_are_not_finite_are_failures(engine, monkeypatch, precision, reason):
    monkeypatch.setattr(engine, "config", dataclasses.replace(engine.config, precision=precision))

    def spoilt(x_TD, pack: Pack):
        means_SD = protein_means(x_TD, pack)
        means_SD[[i for i, length in enumerate(pack.lengths) if length == 4]] = torch.inf
        return means_SD

    monkeypatch.setitem(engine._means, "esm2", spoilt)
    (window,) = packing.windows_of({"r": "ATGGCC"})  # MA W G GH A P
    outcome = outcome_of(engine, window)
    assert outcome.failures == dict.fromkeys((0, 3), reason)
    assert np.isfinite(outcome.scores_S2).all(axis=1).tolist() == [False, True, True, False, True, True]


@pytest.mark.parametrize("precision, advice", [("fp32", ""), ("int8", " in int8 (try --precision fp16)")])
def test_weights_that_are_not_finite_are_told(weights, tmp_path, precision, advice):
    spoilt = shutil.copytree(weights, tmp_path / "weights")
    packing.spoil_esm2(spoilt / f"{ESM_8M}.pt")
    (window,) = packing.windows_of({"a": "MKVLAAGIVG", "b": "MA"}, "protein")
    outcome = outcome_of(ModelRunner(packing.recipe(spoilt, "protein", precision=precision), CPU), window)
    assert outcome.failures == dict.fromkeys((0, 1), f"features are not finite{advice}")


def raise_for(monkeypatch, model, condition, error):
    """Have a model fail on the packs that meet a condition; returns the lengths of those that passed."""
    forward, passed = model.forward, []

    def limited(pack, attend, ops):
        if condition(pack):
            raise error
        passed.append(pack.lengths)
        return forward(pack, attend, ops)

    monkeypatch.setattr(model, "forward", limited)
    return passed


@pytest.mark.parametrize("model", ["esm2", "dnabert_s"])
def test_a_pack_that_does_not_fit_is_halved(engine, expected, monkeypatch, caplog, model):
    error = torch.OutOfMemoryError("CUDA out of memory")
    passed = raise_for(monkeypatch, engine.models[model], lambda pack: len(pack.lengths) > 2, error)
    found = numbers(engine, READS)
    assert max(map(len, passed)) == 2
    assert_within_float32(found, expected)
    assert "Out of GPU memory on a pack of" in caplog.text


def test_a_sequence_that_does_not_fit_by_itself_is_a_failure(engine, monkeypatch):
    (window,) = packing.windows_of({"r": "ATGGCC"})  # MA W G GH A P
    expected = outcome_of(engine, window)
    raise_for(
        monkeypatch, engine.models["esm2"], lambda pack: 4 in pack.lengths, torch.OutOfMemoryError("CUDA out of memory")
    )
    outcome = outcome_of(engine, window)
    assert outcome.failures == dict.fromkeys((0, 3), "too little GPU memory for a sequence of 4 tokens")
    assert np.isnan(outcome.scores_S2[[0, 3]]).all()
    others = [1, 2, 4, 5]
    assert_equal_within_float32(*(torch.from_numpy(each.features["esm2"][others]) for each in (outcome, expected)))


COPIES = {"r": "ATGGCC", "reverse": "GGCCAT", "other": "ATGGCG"}  # see test_loader
ESM2_COPIES = [0, 1, 2, 3, 4, 5, 3, 4, 5, 0, 1, 2, 0, 1, 2, 15, 4, 5]  # where each protein is for the first time


@settings(deadline=None, max_examples=25)
@given(st.lists(st.sampled_from(["ATGGCC", "GGCCAT", "ATGGCG", "ATGGCCATG", "TAATTAGTTAACTAG"]), max_size=8))
def test_copies_have_what_they_would_have_by_themselves(exact_engine, reads):
    """To the last bit where every sequence is computed by itself."""
    for window in packing.windows_of({f"r{place}": read for place, read in enumerate(reads)}):
        once = outcome_of(exact_engine, window)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loader, "distinct", lambda texts: (texts, None))
            each = outcome_of(exact_engine, window)
        for column in COLUMNS:
            assert np.array_equal(column_of(once, column), column_of(each, column))
        proteins = once.sequences - once.copies
        assert (once.packs, each.packs, each.copies) == (proteins, each.sequences, 0)


def test_what_is_computed_counts_and_copies_are_counted(engine):
    (window,) = packing.windows_of(COPIES)
    outcome = outcome_of(engine, window)
    # MA W G GH A P, and RH
    assert (outcome.sequences, outcome.copies, outcome.tokens, outcome.packs) == (18, 11, 24, 1)
    parts = [outcome_of(engine, dataclasses.replace(window, only=only)) for only in ((0, 6), (6, 12), (12, 18))]
    assert [part.copies for part in parts] == [0, 0, 0]
    assert_equal_within_float32(
        *(torch.from_numpy(made) for made in (outcome.scores_S2, np.concatenate([part.scores_S2 for part in parts])))
    )
    assert finish(window, [outcome]).copies == 11
    assert finish(window, [dataclasses.replace(part, copies=2) for part in parts]).copies == 6
    cost = WindowCost.of([outcome, outcome], 0, "cpu", 1.0, 0.0)
    assert (cost.copies, (cost + cost).copies) == (22, 44)
    assert engine.failed(FrontEnd(engine.config)[window], "no reason").copies == 0


def test_all_copies_of_a_sequence_that_does_not_fit_fail(engine, monkeypatch):
    (window,) = packing.windows_of(COPIES)
    raise_for(
        monkeypatch, engine.models["esm2"], lambda pack: 4 in pack.lengths, torch.OutOfMemoryError("CUDA out of memory")
    )
    outcome = outcome_of(engine, window)
    places = [place for place, first in enumerate(ESM2_COPIES) if first in (0, 3, 15)]  # MA, GH and RH
    assert outcome.failures == dict.fromkeys(places, "too little GPU memory for a sequence of 4 tokens")
    assert np.flatnonzero(np.isnan(outcome.scores_S2).all(axis=1)).tolist() == places
    assert np.isnan(outcome.features["esm2"]).any(axis=1).sum() == len(places)


def test_all_copies_of_features_that_are_not_finite_fail(engine, monkeypatch):
    (window,) = packing.windows_of(COPIES)
    means = engine._means["esm2"]

    def spoilt(x_TD, pack):
        return means(x_TD, pack).masked_fill(torch.tensor(pack.lengths)[:, None] == 4, torch.inf)

    monkeypatch.setitem(engine._means, "esm2", spoilt)
    places = [place for place, first in enumerate(ESM2_COPIES) if first in (0, 3, 15)]
    assert outcome_of(engine, window).failures == dict.fromkeys(places, "features are not finite")


def test_all_copies_of_a_sequence_that_always_fails_are_left_out(engine, monkeypatch):
    reads = {"poison": POISON, "again": POISON} | dict(list(READS.items())[:3]) | {"last": POISON}
    raise_for(monkeypatch, engine.models["esm2"], holds_poison, RuntimeError("a bad sequence"))
    (finished,) = streamed(engine, packing.windows_of(reads))
    named = list(finished.sequence_names("nucleotide"))
    assert {named[place]: reason for place, reason in finished.failures.items()} == dict.fromkeys(
        ("poison_chunk_1F1", "again_chunk_1F1", "last_chunk_1F1"), "RuntimeError: a bad sequence"
    )


def streamed(engine, windows, **config):
    """The finished windows of a stream."""
    stream = WindowLoop(AtHand(windows), at_hand(engine), RuntimeConfig(**config))
    return [finish(window, event.results) for window, event in packing.computed(stream, engine)]


def holds_poison(pack):
    tokens, size = pack.token_ids_T.tolist(), len(POISON_TOKENS)
    return any(tokens[i : i + size] == POISON_TOKENS for i in range(len(tokens)))


def test_a_sequence_that_always_fails_is_found_and_left_out(engine, monkeypatch, caplog):
    names = list(READS)
    reads = {name: READS[name] for name in names[:5]} | {"poison": POISON} | {name: READS[name] for name in names[5:]}
    windows = packing.windows_of(reads, buffer_size=16)
    assert len(windows) == 3
    expected = numbers(engine, reads, 16)
    raise_for(monkeypatch, engine.models["esm2"], holds_poison, RuntimeError("device-side\tassert\nsomewhere"))
    finished = streamed(engine, windows)
    assert [window.index for window in finished] == [0, 1, 2]
    failures = {}
    for window in finished:
        names = list(window.sequence_names("nucleotide"))
        failures |= {names[place]: reason for place, reason in window.failures.items()}
        found = by_name(window)
        for name in failures.keys() & found.keys():
            assert all(row.isnan().all() for row in found.pop(name))
        assert_within_float32(found, expected)
    assert failures == {"poison_chunk_1F1": "RuntimeError: device-side assert somewhere"}
    assert "Left out one sequence of window" in caplog.text


def test_an_error_that_passes_costs_nothing(engine, expected, monkeypatch, caplog):
    once = iter([True])
    raise_for(monkeypatch, engine.models["dnabert_s"], lambda pack: next(once, False), RuntimeError("a hiccup"))
    finished = streamed(engine, packing.windows_of(READS))
    assert not any(window.failures for window in finished)
    for window in finished:
        assert_within_float32(by_name(window), expected)
    assert "Window 0 failed (RuntimeError: a hiccup); trying again." in caplog.text


def test_what_fails_again_and_again_is_packed_for_its_first_try_and_once_more(engine, monkeypatch):
    prepare, packed = FrontEnd.__getitem__, Counter()
    monkeypatch.setattr(FrontEnd, "__getitem__", lambda self, part: packed.update([part.key]) or prepare(self, part))
    raise_for(monkeypatch, engine.models["esm2"], holds_poison, RuntimeError("a bad sequence"))
    (finished,) = streamed(engine, packing.windows_of({"poison": POISON}), max_retries_poison=5)
    assert [*finished.failures.values()] == ["RuntimeError: a bad sequence"]
    assert packed[0, None] == max(packed.values()) == 2


def test_a_stopped_stream_delivers_what_is_under_way_and_no_more(engine):
    windows = packing.windows_of(READS, buffer_size=8)
    delivered = []
    stream = WindowLoop(AtHand(windows), at_hand(engine), RuntimeConfig())
    for window, _ in packing.computed(stream, engine):
        delivered.append(window.index)
        stream.stop()
    assert delivered == [0]


@pytest.mark.parametrize(
    "wait, idle, starved",
    [
        (2.0, [None], 2.0),  # the CPU, or the first window of a GPU
        (2.0, [0.5], 0.5),  # the GPU had work queued for the first 1.5 s
        (0.25, [0.5], 0.25),  # and the rest of the half second is not the loader's fault
        (2.0, [0.0, 0.25], 0.25),  # a window that was computed in two parts
    ],
)
def test_a_wait_counts_as_far_as_the_device_had_nothing_to_do(wait, idle, starved):
    results = [WindowResult(0, None, np.ones(1, np.uint8), 1, idle_seconds=seconds) for seconds in idle]
    assert WindowCost.of(results, 0, "cuda:0", seconds=3.0, wait=wait).wait == starved


def test_time_without_a_window_is_waiting_too(engine):
    source = packing.Hesitant(packing.windows_of(READS, buffer_size=4)[:2], wait=lambda: time.sleep(0.25))
    (first, _), (second, event) = packing.computed(WindowLoop(source, at_hand(engine), RuntimeConfig()), engine)
    assert (first.index, second.index) == (0, 1)
    assert event.cost.wait >= 0.25


def test_what_the_packs_could_have_held(weights):
    """A sequence over the budget has a pack of its own size, which leaves no room in the others."""
    engine = ModelRunner(packing.recipe(weights, "protein", token_budget=10), CPU)
    (window,) = packing.windows_of({"a": "M" * 18, "b": "MKVA", "c": "MKVAA"}, "protein")
    outcome = outcome_of(engine, window)
    assert (outcome.tokens, outcome.packs, outcome.capacity) == (20 + 6 + 7, 3, 20 + 10 + 10)


def test_a_device_that_fails_is_found_out_where_its_numbers_are_taken(engine):
    class Broken:
        def query(self):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

        synchronize = query

    (window,) = packing.windows_of({"r": "ATGGCC"})
    pending = PendingResult(FrontEnd(engine.config)[window], engine.config, {}, {}, (None, None, Broken(), None))
    assert pending.ready()
    with pytest.raises(RuntimeError, match="illegal memory access"):
        pending.result()


def test_what_could_not_be_computed_is_blank(engine):
    (window,) = packing.windows_of({"r": "ATGGCC"})
    part = FrontEnd(engine.config)[dataclasses.replace(window, only=(4, 6))]
    outcome = engine.failed(part, "no reason")
    assert outcome.failures == {0: "no reason", 1: "no reason"}
    assert finish(window, [outcome]).failures == {4: "no reason", 5: "no reason"}
    assert all(np.isnan(column_of(outcome, column)).all() for column in COLUMNS)
    assert [column_of(outcome, column).shape for column in COLUMNS] == [(2, 320), (2, 24), (2, 2)]
