"""Loader: a tiny window as it reaches the device."""

import dataclasses
from itertools import accumulate

import numpy as np
import packing
import pytest

from virnucpro.engine.loader import FrontEnd
from virnucpro.models.tokens import load_tokenizer

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
    """Arrays as lists, so that whole windows can be compared."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


def test_a_window_of_dna(weights, window):
    made = FrontEnd(packing.recipe(weights, token_budget=8))[window]
    blank = made.blank
    assert (blank.index, blank.only, blank.sequences, blank.cut, blank.unknown) == (0, None, 6, 0, 0)
    assert blank.open_C.tolist() == [0b111111, 0]  # the empty record has no chunk
    # <cls> 0, <eos> 2; A 5, G 6, P 14, M 20, H 21, W 22
    assert plain(made.packs["esm2"]) == {
        "token_ids_T": [0, 20, 5, 2, 0, 6, 21, 2, 0, 22, 2, 0, 6, 2, 0, 5, 2, 0, 14, 2],  # MA GH, W G, A P
        "cu_seqlens": [0, 4, 8, 0, 3, 6, 0, 3, 6],
        "order_U": [0, 3, 1, 2, 4, 5],
        "lengths": ((4, 4), (3, 3), (3, 3)),
        "places_S": None,
    }
    assert made.packs["esm2"].tokens == 20
    types = [
        made.packs["esm2"].token_ids_T.dtype,
        made.packs["esm2"].cu_seqlens.dtype,
        made.packs["esm2"].order_U.dtype,
    ]
    assert types == [np.uint8, np.int32, np.int64]


def test_the_dna_of_a_window(weights, window):
    made = FrontEnd(packing.recipe(weights))[window].packs["dnabert_s"]
    (lengths,) = made.lengths
    tokenizer = load_tokenizer(weights / "DNABERT-S")
    edges = [0, *accumulate(lengths)]
    parts = np.split(made.token_ids_T, edges[1:-1])
    texts = ["".join(tokenizer.id_to_token(i) for i in ids.tolist()) for ids in parts]
    dna = ["ATGGCC", "TGGC", "GGCC", "GGCCAT", "GCCA", "CCAT"]
    assert texts == [f"[CLS]{dna[i]}[SEP]" for i in made.order_U.tolist()]
    assert list(lengths) == sorted(lengths, reverse=True)
    assert made.cu_seqlens.tolist() == edges
    assert made.token_ids_T.dtype == np.int16


def test_of_equal_sequences_one_is_packed(weights):
    """A read, its reverse complement, and one that has some of its proteins from other codons."""
    (window,) = packing.windows_of({"r": "ATGGCC", "reverse": "ggccat", "other": "ATGGCG"})
    made = FrontEnd(packing.recipe(weights))[window]
    assert made.blank.sequences == 18
    esm2, dnabert_s = made.packs["esm2"], made.packs["dnabert_s"]
    # MA W G GH A P; the same; MA W G RH A P
    assert esm2.places_S.tolist() == [0, 1, 2, 3, 4, 5, 3, 4, 5, 0, 1, 2, 0, 1, 2, 6, 4, 5]
    # as in READS; the same; ATGGCG TGGC GGCG CGCCAT GCCA CCAT
    assert dnabert_s.places_S.tolist() == [0, 1, 2, 3, 4, 5, 3, 4, 5, 0, 1, 2, 6, 1, 7, 8, 4, 5]
    assert (esm2.distinct, esm2.tokens, esm2.order_U.tolist()) == (7, 24, [0, 3, 6, 1, 2, 4, 5])
    assert (dnabert_s.distinct, sum(map(len, dnabert_s.lengths))) == (9, 9)
    assert plain(esm2.mapped(np.copy)) == plain(esm2)


def test_proteins_are_equal_as_they_are_read(weights):
    """In upper case, without a closing stop, with X for what is unknown, and as far as they are not cut."""
    long = "A" * 1024
    proteins = {"p": "MJ", "P": "mx*", "long": f"{long}C", "longer": f"{long}DE", "just": long, "less": long[1:]}
    (window,) = packing.windows_of(proteins, "protein")
    made = FrontEnd(packing.recipe(weights, "protein"))[window]
    assert made.packs["esm2"].places_S.tolist() == [0, 0, 1, 1, 1, 2]


def test_a_part_of_a_window(weights, window):
    part = dataclasses.replace(window, only=(2, 4))
    made = FrontEnd(packing.recipe(weights))[part]
    assert (made.blank.only, made.blank.sequences) == ((2, 4), 2)
    assert made.packs["esm2"].token_ids_T.tolist() == [0, 6, 21, 2, 0, 6, 2]  # GH, G
    assert made.packs["esm2"].order_U.tolist() == [1, 0]
    assert made.blank.open_C.tolist() == [0b111111, 0]


def test_a_window_of_proteins(weights):
    front_end = FrontEnd(packing.recipe(weights, "protein"))
    (window,) = packing.windows_of({"p": "mJ*", "empty": "*", "long": "A" * 1025}, "protein")
    made = front_end[window]
    assert made.blank.open_C.tolist() == [1, 0, 1]
    assert (made.blank.sequences, made.blank.cut, made.blank.unknown) == (2, 1, 1)
    assert made.packs["esm2"].token_ids_T.tolist() == [0, *[5] * 1024, 2, 0, 20, 24, 2]  # X 24
    assert set(made.packs) == {"esm2"}


def test_a_window_with_nothing_to_do(weights):
    (window,) = packing.windows_of({"none": READS["none"], "empty": ""})
    made = FrontEnd(packing.recipe(weights))[window]
    assert (made.blank.sequences, made.packs) == (0, {})
    assert made.blank.open_C.tolist() == [0]
