"""K-mers: the words of four letters in DNA, a word and its reverse complement being one.

Axes: S sequences, T their k-mers end to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from virnucpro.reading.frames import reverse_complement

K = 4
_WORDS = ["".join(word) for word in product("ACGT", repeat=K)]
KMERS = tuple(word for word in _WORDS if word <= reverse_complement(word))  # in order of their numbers
NONE = len(KMERS)  # stands in a sequence that has no k-mer at all
_NUMBERS = np.array([KMERS.index(min(word, reverse_complement(word))) for word in _WORDS], np.uint8)
_OTHER = 4  # any letter but A, C, G, T: no k-mer has it
_CODES = bytes("ACGT".find(chr(byte)) % (_OTHER + 1) for byte in range(256))  # find: -1 for others
_BETWEEN = "\n"


def kmers(sequences: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Number the k-mers of DNA, at every place that has one.

    Args:
        sequences: Upper case, as frames have it.
    Returns:
        Numbers of all sequences end to end, uint8 (T,), and how many each has, int64 (S,): at least one, `NONE` where
        there is none else.
    """
    text = np.frombuffer(_BETWEEN.join(sequences).encode("ascii").translate(_CODES), np.uint8)
    if not len(sequences):
        return np.empty(0, np.uint8), np.empty(0, np.int64)
    codes_T, places = np.full(len(text) + K, _OTHER, np.uint8), len(text) + 1
    codes_T[: len(text)] = text
    windows_KT = [codes_T[place : place + places] for place in range(K)]
    whole_T = np.logical_and.reduce([window_T < _OTHER for window_T in windows_KT])
    words_T = sum(window_T.astype(np.int64) << 2 * (K - 1 - place) for place, window_T in enumerate(windows_KT))
    # One place behind each sequence is the separator's (the last one is made up), where no k-mer begins.
    ends_S = np.cumsum([len(sequence) + 1 for sequence in sequences]) - 1
    before_T = np.cumsum(whole_T)
    counts_S = np.diff(before_T[ends_S], prepend=0)
    lacking_S = counts_S == 0
    whole_T[ends_S[lacking_S]] = True
    numbers_T = _NUMBERS[words_T & (len(_WORDS) - 1)]
    numbers_T[ends_S[lacking_S]] = NONE
    return numbers_T[whole_T], counts_S + lacking_S
