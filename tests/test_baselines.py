"""Baselines: their features by hand and by a slower way, and that they learn what there is to learn."""

import random
import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.errors import BadInput
from virnucpro.evaluation.baselines import (
    AMINO_ACIDS,
    BASELINES,
    amino_acids,
    gc_content,
    kmer_frequencies,
    longest_stretch,
)
from virnucpro.reading.frames import Translation, reverse_complement

pieces = st.lists(st.text("ACGTNacgt-", max_size=60), max_size=6)


def canonical(k):
    names = map("".join, product("ACGT", repeat=k))
    return [name for name in names if name <= reverse_complement(name)]


@pytest.mark.parametrize("k, count", [(1, 2), (2, 10), (4, 136), (5, 512), (6, 2080)])
def test_columns(k, count):
    assert kmer_frequencies(["ACGT"], k).shape == (1, count) and len(canonical(k)) == count


def test_kmers_by_hand():
    """AACN has AA and AC; TTG has TT, which is AA, and TG, which is CA; N breaks, and so does the end of a piece."""
    found = kmer_frequencies(["AACNTTG", "ac", "A", ""], 2)
    columns = canonical(2)  # AA AC AG AT CA CC CG GA GC TA
    rows = [{name: share for name, share in zip(columns, row) if share} for row in found.tolist()]
    assert rows == [{"AA": 0.5, "AC": 0.25, "CA": 0.25}, {"AC": 1}, {}, {}]


@given(pieces, st.integers(1, 4))
def test_kmers_are_those_of_a_slow_count(dna, k):
    columns = canonical(k)
    expected = np.zeros((len(dna), len(columns)))
    for row, piece in enumerate(dna):
        kmers = [piece.upper()[place : place + k] for place in range(len(piece) - k + 1)]
        kmers = [min(kmer, reverse_complement(kmer)) for kmer in kmers if {*kmer} <= {*"ACGT"}]
        for kmer in kmers:
            expected[row, columns.index(kmer)] += 1 / len(kmers)
    assert kmer_frequencies(dna, k) == pytest.approx(expected)


@given(pieces, st.sampled_from([4, 5, 6]))
def test_either_strand_has_the_same_kmers(dna, k):
    other = [reverse_complement(piece.upper()) for piece in dna]
    assert np.array_equal(kmer_frequencies(dna, k), kmer_frequencies(other, k))


def test_three_thousand_chunks_take_a_moment():
    dna = ["".join(random.Random(i).choices("ACGT", k=500)) for i in range(3000)]
    begin = time.perf_counter()
    kmer_frequencies(dna, 6)
    assert time.perf_counter() - begin < 6  # 0.25 s on two cores; the machine may be busy


def test_gc_content():
    assert gc_content(["GCAT", "gg", "NNGA", "NN", ""]).tolist() == [[0.5], [1], [0.5], [0], [0]]


@pytest.mark.parametrize(
    "piece, codons",
    [
        ("", 0),
        ("AT", 0),
        ("GCCGCC", 2),
        ("TAA", 1),  # TTA, on the other strand, is no stop
        ("TTA", 1),  # nor is TTA on this one
        ("TAATTA", 1),  # frame 1 has a stop on either strand, the other frames have one codon each
        ("TAAGCCGCCTTAGCCGCC", 5),
    ],
)
def test_longest_stretch_by_hand(piece, codons):
    assert longest_stretch([piece]).tolist() == [[codons]]


@given(st.text("ACGTacgtN", max_size=80))
def test_an_open_frame_is_a_stretch(piece):
    """And each stretch is one, of a part of the piece: the slow way, all parts on either strand."""
    translation, longest = Translation(piece), 0
    for start, end in ((a, b) for a in range(len(piece)) for b in range(a + 3, len(piece) + 1, 3)):
        span = piece[start:end].upper()
        for strand in (span, reverse_complement(span)):
            codons = [strand[place : place + 3] for place in range(0, len(strand), 3)]
            if not {*codons} & {"TAA", "TAG", "TGA"}:
                longest = max(longest, len(codons))
    assert longest_stretch([piece]).tolist() == [[longest]]
    frames = translation.open_frames(0, len(piece))
    assert all(len(residues) <= longest for _, residues, _ in frames)


def test_amino_acids_are_a_mean_over_open_frames():
    """GCCGCC has six: A A, P (CCG), R (CGC), and back (GGCGGC) G G, A (GCG), R (CGG): 2 of 6 are A and 2 are R."""
    assert AMINO_ACIDS == "ACDEFGHIKLMNPQRSTVWY"
    found, none = amino_acids(["GCCGCC", "TA"])
    shares = {letter: share for letter, share in zip(AMINO_ACIDS, found.tolist()) if share}
    assert shares == pytest.approx({"A": 2 / 6, "P": 1 / 6, "R": 2 / 6, "G": 1 / 6})
    assert not none.any()


def drawn(letters, count, seed):
    generator = random.Random(seed)
    return ["".join(generator.choices("ACGT", letters, k=300)) for _ in range(count)]


@pytest.mark.parametrize("name", [*BASELINES])
def test_each_learns_what_there_is_to_learn(name):
    """Viruses are rich in A and T here, in which stops are, too; whoever guesses is right half of the time."""
    rich, poor = (4, 1, 1, 4), (1, 4, 4, 1)
    train = drawn(rich, 40, 1) + drawn(poor, 40, 2)
    test = drawn(rich, 30, 3) + drawn(poor, 30, 4)
    score_N = BASELINES[name](train, np.arange(80) < 40, test)
    assert score_N.shape == (60,) and score_N.dtype == np.float64 and ((score_N >= 0) & (score_N <= 1)).all()
    assert ((score_N >= 0.5) == (np.arange(60) < 30)).mean() > 0.9
    assert np.array_equal(BASELINES[name](train, np.arange(80) < 40, test), score_N)


@pytest.mark.parametrize("name", [*BASELINES])
def test_labels_of_chance_teach_nothing(name):
    """200 pieces of one kind, of which half are called viruses: right half of the time, give or take 3 sigma (10 %)."""
    same = drawn((1, 1, 1, 1), 400, 5)
    virus_N = np.array(random.Random(6).choices([True, False], k=400))
    score_N = BASELINES[name](same[:200], virus_N[:200], same[200:])
    assert abs(((score_N >= 0.5) == virus_N[200:]).mean() - 0.5) < 0.106


@pytest.mark.parametrize("name", [*BASELINES])
def test_odd_pieces_have_a_score(name):
    train = drawn((4, 1, 1, 4), 5, 1) + drawn((1, 4, 4, 1), 5, 2)
    assert np.isfinite(BASELINES[name](train, np.arange(10) < 5, ["", "N", "NNNNNNNN", "acgt"])).all()
    assert BASELINES[name](train, np.arange(10) < 5, []).shape == (0,)


def test_one_class_teaches_nothing():
    with pytest.raises(BadInput, match="one class"):
        BASELINES["GC content"](["ACGT"], np.array([True]), ["ACGT"])
