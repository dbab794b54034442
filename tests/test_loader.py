"""Loader: a tiny window as it reaches the device, and the processes that make it so."""

import dataclasses
import multiprocessing
import os
import signal

import packing
import pytest
import torch

from virnucpro.engine import Pending
from virnucpro.loader import FrontEnd, load
from virnucpro.pipeline.runtime_config import RuntimeConfig
from virnucpro.stream import Stream, _is_death
from virnucpro.tokens import load_tokenizer

READS = {"r": "ATGGCC", "none": "TAATTAGTTAACTAATTAACTAGTTAA", "empty": ""}
# frame      F1     F2    F3    R1      R2    R3
# protein    MA     W     G     GH      A     P
# DNA        ATGGCC TGGC  GGCC  GGCCAT  GCCA  CCAT


@pytest.fixture(scope="module")
def window():
    """All three records in one window."""
    (window,) = packing.windows_of(READS)
    return window


def plain(value):
    """Tensors and arrays as lists, so that whole windows can be compared."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value.tolist() if hasattr(value, "tolist") else value


def test_a_window_of_dna(weights, window):
    made = FrontEnd(packing.recipe(weights, token_budget=8))[window]
    assert (made.index, made.only, made.sequences, made.cut, made.unknown) == (0, None, 6, 0, 0)
    assert made.open_C.tolist() == [0b111111, 0]  # the empty record has no chunk
    # <cls> 0, <eos> 2; A 5, G 6, P 14, M 20, H 21, W 22
    assert plain(made.esm2) == {
        "token_ids_T": [0, 20, 5, 2, 0, 6, 21, 2, 0, 22, 2, 0, 6, 2, 0, 5, 2, 0, 14, 2],  # MA GH, W G, A P
        "cu_seqlens": [0, 4, 8, 0, 3, 6, 0, 3, 6],
        "order_S": [0, 3, 1, 2, 4, 5],
        "lengths": ((4, 4), (3, 3), (3, 3)),
    }
    assert made.esm2.tokens == 20
    types = [made.esm2.token_ids_T.dtype, made.esm2.cu_seqlens.dtype, made.esm2.order_S.dtype]
    assert types == [torch.uint8, torch.int32, torch.int64]


def test_the_dna_of_a_window(weights, window):
    made = FrontEnd(packing.recipe(weights))[window].dnabert
    (lengths,) = made.lengths
    tokenizer = load_tokenizer(weights / "DNABERT-S")
    texts = ["".join(tokenizer.id_to_token(i) for i in ids.tolist()) for ids in made.token_ids_T.split(list(lengths))]
    dna = ["ATGGCC", "TGGC", "GGCC", "GGCCAT", "GCCA", "CCAT"]
    assert texts == [f"[CLS]{dna[i]}[SEP]" for i in made.order_S.tolist()]
    assert list(lengths) == sorted(lengths, reverse=True)
    assert made.cu_seqlens.tolist() == [0, *torch.tensor(lengths).cumsum(0).tolist()]
    assert made.token_ids_T.dtype == torch.int16


def test_a_part_of_a_window(weights, window):
    part = dataclasses.replace(window, only=(2, 4))
    made = FrontEnd(packing.recipe(weights))[part]
    assert (made.only, made.sequences) == ((2, 4), 2)
    assert made.esm2.token_ids_T.tolist() == [0, 6, 21, 2, 0, 6, 2]  # GH, G
    assert made.esm2.order_S.tolist() == [1, 0]
    assert made.open_C.tolist() == [0b111111, 0]


def test_a_window_of_proteins(weights):
    front_end = FrontEnd(packing.recipe(weights, "protein"))
    (window,) = packing.windows_of({"p": "mJ*", "empty": "*", "long": "A" * 1025}, "protein")
    made = front_end[window]
    assert made.open_C.tolist() == [1, 0, 1]
    assert (made.sequences, made.cut, made.unknown) == (2, 1, 1)
    assert made.esm2.token_ids_T.tolist() == [0, *[5] * 1024, 2, 0, 20, 24, 2]  # X 24
    assert made.dnabert is None


def test_a_window_with_nothing_to_do(weights):
    (window,) = packing.windows_of({"none": READS["none"], "empty": ""})
    made = FrontEnd(packing.recipe(weights))[window]
    assert (made.sequences, made.esm2, made.dnabert) == (0, None, None)
    assert made.open_C.tolist() == [0]


ERRORS = {
    "no answer": (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), True),
    "memory that is gone": (ConnectionResetError("[Errno 104] Connection reset by peer"), True),
    "half an answer": (EOFError(), True),
    "while pinning": (FileNotFoundError("Caught FileNotFoundError in pin memory thread for device 0."), True),
    "an error inside": (OSError("Caught OSError in DataLoader worker process 0.\nOriginal ..."), False),
    "a bug inside": (RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nOriginal ..."), False),
    "an error here": (RuntimeError("something else"), False),
}


@pytest.mark.parametrize("error, dead", ERRORS.values(), ids=ERRORS)
def test_how_the_death_of_a_loader_process_shows(error, dead):
    assert _is_death(error) == dead


@pytest.fixture
def several():
    made = packing.windows_of({f"r{i}": "ATGGCC" * i for i in range(1, 12)}, buffer_size=8)
    assert len(made) == 4
    return made


def test_loader_processes_give_the_same_in_the_same_order(weights, several):
    front_end = FrontEnd(packing.recipe(weights))
    windows = [several[0], None, *several[1:]]  # None: nothing for now
    here, there = (list(load(front_end, windows, number, 2)) for number in (0, 2))
    assert [made and made.index for made in there] == [0, None, 1, 2, 3]
    assert [plain(made) for made in there] == [plain(made) for made in here]


class Environment(FrontEnd):
    def __getitem__(self, window):
        return os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"], signal.getsignal(signal.SIGINT)


def test_loader_processes_see_no_gpu_and_leave_signals_to_their_parent(weights):
    ((pid, devices, handler),) = load(Environment(packing.recipe(weights)), [None], 1, 2)
    assert pid != os.getpid()
    assert (devices, handler) == ("", signal.SIG_IGN)


def test_a_loader_process_with_cuda_is_an_error(weights, several, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(AssertionError, match="a loader process has used CUDA"):
        next(load(FrontEnd(packing.recipe(weights)), several, 1, 2))


class Echo:
    """An engine that computes nothing."""

    device = torch.device("cpu")

    def __init__(self, recipe):
        self.recipe = recipe

    def submit(self, prepared, between):
        return Pending(prepared, self.recipe, {}, {})


def test_a_loader_process_that_dies_is_replaced(weights, several, caplog):
    others = set(multiprocessing.active_children())  # of tests before, on their way out
    recipe = packing.recipe(weights)
    stream = Stream(several, FrontEnd(recipe), lambda: Echo(recipe), RuntimeConfig(), num_workers=1)
    seen = []

    def deliver(step):
        seen.append((step.window.index, step.outcomes[0].sequences))
        if len(seen) == 1:
            (loader,) = set(multiprocessing.active_children()) - others
            loader.kill()
            loader.join()

    # What it had finished may be there to be read or gone with its memory: both end well.
    stream.run(deliver)
    expected = [FrontEnd(packing.recipe(weights))[window] for window in several]
    assert seen == [(made.index, made.sequences) for made in expected]
    assert "A loader process died" in caplog.text
