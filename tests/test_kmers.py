"""4-mers: their numbers, the frequencies that a pack of them gives, and what has none."""

from collections import Counter

import numpy as np
import packing
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.models.catalog import CANONICAL_4MERS, PRECISIONS
from virnucpro.models.kmers import load, means
from virnucpro.models.tokens import kmer_tokeniser
from virnucpro.reading.frames import reverse_complement
from virnucpro.reading.kmers import KMERS, NONE, kmers

DNA = st.text("ACGTN", max_size=40)


def test_a_word_and_its_reverse_complement_are_one():
    assert len(KMERS) == CANONICAL_4MERS == NONE
    assert KMERS[:3] == ("AAAA", "AAAC", "AAAG") and KMERS[-2:] == ("TGCA", "TTAA")
    assert {min(word, reverse_complement(word)) for word in KMERS} == set(KMERS)


@pytest.mark.parametrize(
    "sequences, words, counts",
    [
        (["AAAAC"], ["AAAA", "AAAC"], [2]),
        (["GTTTT", "TTTT"], ["AAAC", "AAAA", "AAAA"], [2, 1]),  # the other strand of the first
        (["AANAA", "ACG", "", "TTAA"], [None, None, None, "TTAA"], [1, 1, 1, 1]),
        (["ACGT", "NACGTN"], ["ACGT", "ACGT"], [1, 1]),
        ([], [], []),
    ],
)
def test_numbers(sequences, words, counts):
    numbers_T, counts_S = kmers(sequences)
    assert [None if number == NONE else KMERS[number] for number in numbers_T] == words
    assert counts_S.tolist() == counts


def frequencies(sequence: str) -> list[float]:
    """Counted one by one."""
    words = [sequence[place : place + 4] for place in range(len(sequence) - 3)]
    counted = Counter(min(word, reverse_complement(word)) for word in words if set(word) <= set("ACGT"))
    return [counted[word] / (counted.total() or 1) for word in KMERS]


@given(st.lists(DNA, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_a_pack_gives_frequencies_in_any_order(sequences, rng):
    tokens = kmer_tokeniser(None)(sequences)
    order = rng.sample(range(len(sequences)), len(sequences))
    ids_T = tokens.joined(np.array(order))
    lengths = [int(tokens.lengths_S[place]) for place in order]
    each = [part.tolist() for part in np.split(ids_T, np.cumsum(lengths)[:-1])]
    model = load(None, torch.device("cpu"), PRECISIONS["fp32"])
    pack = packing.pack_of(each)
    rows_SK = means(model(pack, None, None), pack)
    expected = np.array([frequencies(sequences[place]) for place in order])
    np.testing.assert_allclose(rows_SK.numpy(), expected, atol=1e-6)  # sums of at most 40 float32


@given(DNA)
def test_both_strands_have_the_same_frequencies(sequence):
    both = kmers([sequence, reverse_complement(sequence)])
    one, other = np.split(both[0], [both[1][0]])
    assert sorted(one) == sorted(other)
