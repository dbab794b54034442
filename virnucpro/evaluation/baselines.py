"""Baselines: simple predictors that any classifier has to beat, trained on labelled DNA.

Each is a few numbers of the letters and a logistic regression. Axes: N pieces of DNA, F features, P positions of all
pieces end to end, A amino acids.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from virnucpro.errors import BadInput
from virnucpro.reading.chunks import Chunk
from virnucpro.reading.frames import CODONS, open_frames, reverse_complement

Features = Callable[[Sequence[str]], np.ndarray]
Baseline = Callable[[Sequence[str], np.ndarray, Sequence[str]], np.ndarray]
LETTERS = "ACGT"
OTHER = 4  # the code of all other letters
CODES_256 = np.array([LETTERS.find(chr(byte).upper()) % (OTHER + 1) for byte in range(256)])  # find: -1 for others
AMINO_ACIDS = "".join(sorted({*CODONS.values()} - {"*"}))
_STOPS = [codon for codon, residue in CODONS.items() if residue == "*"]
STOPS_BY_STRAND = [re.compile(f"(?={'|'.join(stops)})") for stops in (_STOPS, map(reverse_complement, _STOPS))]


def kmer_frequencies(dna: Sequence[str], k: int) -> np.ndarray:
    """Count the k-mers of each piece, either strand as one, by how many there are: float64 (N, F).

    Columns are the k-mers that do not come after their reverse complements, in alphabetical order. A letter other than
    A, C, G, T, of either case, breaks a k-mer; a piece without any has zeros.
    """
    codes_P, piece_P = _codes(dna)
    count = max(0, len(codes_P) - k + 1)
    number_P, whole_P = np.zeros(count, np.int64), np.ones(count, bool)
    for place in range(k):
        letter_P = codes_P[place : place + count]
        number_P = 4 * number_P + letter_P
        whole_P &= letter_P < OTHER
    column = _canonical(k)
    width = int(column.max()) + 1
    cell = piece_P[:count][whole_P] * width + column[number_P[whole_P]]
    counts_NF = np.bincount(cell, minlength=len(dna) * width).reshape(len(dna), width)
    frequencies_NF: np.ndarray = counts_NF / np.maximum(1, counts_NF.sum(axis=1, keepdims=True))
    return frequencies_NF


def _codes(dna: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Codes of all letters, a break after each piece, and whose each is: (P,), (P,)."""
    text = "".join(f"{piece}N" for piece in dna).encode("ascii")
    pieces_P = np.repeat(np.arange(len(dna)), [len(piece) + 1 for piece in dna])
    return CODES_256[np.frombuffer(text, np.uint8)], pieces_P


def _canonical(k: int) -> np.ndarray:
    """Column of each of the 4**k k-mers, int64: of the smaller of its number and its reverse complement's."""
    number, rest = np.arange(4**k), np.arange(4**k)
    reverse = np.zeros_like(number)
    for _ in range(k):
        reverse = 4 * reverse + 3 - rest % 4
        rest //= 4
    column: np.ndarray = np.unique(np.minimum(number, reverse), return_inverse=True)[1]
    return column


def gc_content(dna: Sequence[str]) -> np.ndarray:
    """Tell the share of G and C among A, C, G, T: (N, 1); 0 where there are none."""
    codes_P, piece_P = _codes(dna)
    known_P = codes_P < OTHER
    strong_P = (codes_P == LETTERS.index("C")) | (codes_P == LETTERS.index("G"))
    strong, known = (np.bincount(piece_P[which_P], minlength=len(dna)) for which_P in (strong_P, known_P))
    share_NF: np.ndarray = (strong / np.maximum(1, known))[:, None]
    return share_NF


def longest_stretch(dna: Sequence[str]) -> np.ndarray:
    """Tell the most codons without a stop in a row, in any of six frames: (N, 1).

    An open frame has none from end to end, and pieces of one length have open frames of one length. This tells apart
    those that have none, too.
    """
    return np.array([_longest(piece.upper()) for piece in dna], dtype=np.float64)[:, None]


def _longest(piece: str) -> int:
    best = 0
    for stops in STOPS_BY_STRAND:
        places = [stop.start() for stop in stops.finditer(piece)]
        for frame in range(3):
            end = frame + (len(piece) - frame) // 3 * 3
            ends = [frame - 3, *(place for place in places if place % 3 == frame), end]
            best = max(best, *((after - before) // 3 - 1 for before, after in pairwise(ends)))
    return best


def amino_acids(dna: Sequence[str]) -> np.ndarray:
    """Tell the share of each amino acid, a mean over the open frames: (N, A); zeros where no frame is open."""
    shares_NA = np.zeros((len(dna), len(AMINO_ACIDS)))
    for place, piece in enumerate(dna):
        frames = [frame.residues for frame in open_frames(Chunk("", piece))]
        for residues in frames:
            counts_A = np.array([residues.count(letter) for letter in AMINO_ACIDS])
            shares_NA[place] += counts_A / len(residues) / len(frames)
    return shares_NA


def predict(features: Features, train: Sequence[str], virus_N: np.ndarray, test: Sequence[str]) -> np.ndarray:
    """Train logistic regression on features of labelled DNA, and score other DNA.

    Args:
        train: Pieces of DNA. virus_N: What these are, bool. test: Pieces to score.
    Returns:
        Of each piece in `test`: 0 others .. 1 virus, float64.
    Raises:
        BadInput: `train` has one class only.
    """
    if len({*virus_N.tolist()}) < 2:
        raise BadInput("the DNA to train on has one class, needed are viruses and others. Add pieces of the other.")
    if not len(test):
        return np.empty(0)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, random_state=0))
    model.fit(features(train), virus_N)
    score_N: np.ndarray = model.predict_proba(features(test))[:, 1]
    return score_N


BASELINES: dict[str, Baseline] = {  # each is called with DNA to train on, its labels, and DNA to score
    "GC content": partial(predict, gc_content),
    "longest stretch without a stop": partial(predict, longest_stretch),
    **{f"{k}-mers": partial(predict, partial(kmer_frequencies, k=k)) for k in (4, 5, 6)},
    "amino acids": partial(predict, amino_acids),
}
