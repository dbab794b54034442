"""Tokens: the integers that the language models read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import BPE

from virnucpro.errors import BadWeights, one_line
from virnucpro.reading.kmers import kmers
from virnucpro.reading.proteins import ESM_LETTERS


class Tokens(NamedTuple):
    """What a model reads of a window's sequences."""

    lengths_S: np.ndarray  # of each sequence
    joined: Callable[[np.ndarray], np.ndarray]  # ids of the sequences at these places, end to end


Tokenise = Callable[[Sequence[Any]], Tokens]
# fair-esm's vocabulary of ESM-2
CLS, PAD, EOS, UNK = range(4)
VOCABULARY = 33
_RESIDUES = ESM_LETTERS.encode()
_ESM2 = bytes(_RESIDUES.index(byte) + 4 if byte in _RESIDUES else UNK for byte in range(256))
_CLS, _EOS = bytes([CLS]), bytes([EOS])

# DNABERT-S's vocabulary: sha256 of its 4,096 tokens in order of their ids, a line each; and what its merges make of DNA
_DNABERT_S = "816e01d7c4b33fb099e64428a693be2269ad2751e8f2e465f4035f1ed1024173"
_DNA, _DNA_TOKENS = "ACGTTGCAAGGCTCCATGAACTTGGACATCGATTACGCTAGG", [5, 134, 3274, 326, 52, 856, 278, 260, 118, 99]


def esm2_tokens(proteins: Sequence[bytes]) -> bytes:
    """Tokens of proteins end to end, one byte each: <cls>, residues, <eos>, <cls>, ..."""
    return _CLS + (_EOS + _CLS).join(protein.translate(_ESM2) for protein in proteins) + _EOS


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load DNABERT-S's tokenizer.json with its own truncation and padding switched off.

    Raises:
        BadWeights: Missing, broken, or another model's.
    """
    path = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise BadWeights(f"{path}: cannot be read as a tokenizer ({one_line(error)}). Fetch it again.") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if (difference := _difference(tokenizer)) is not None:
        raise BadWeights(f"{path}: {difference}; expected DNABERT-S's tokenizer. Fetch it again.")
    return tokenizer


def _difference(tokenizer: Tokenizer) -> str | None:
    """What tells a tokenizer from DNABERT-S's; None if nothing does."""
    if not isinstance(tokenizer.model, BPE):
        return f"a tokenizer of kind {type(tokenizer.model).__name__}, not BPE"
    ids = tokenizer.get_vocab()
    text = "\n".join(sorted(ids, key=lambda token: ids[token]))
    if sorted(ids.values()) != list(range(len(ids))) or hashlib.sha256(text.encode()).hexdigest() != _DNABERT_S:
        return f"another vocabulary ({len(ids):,} tokens)"
    if tokenizer.encode(_DNA, add_special_tokens=False).ids != _DNA_TOKENS:
        return "the same tokens, but DNA is split otherwise"
    return None


def dnabert_tokens(tokenizer: Tokenizer, sequences: Sequence[str]) -> list[list[int]]:
    """Token ids of each DNA: [CLS], its BPE tokens, [SEP]; letters but ACGT are [UNK] each."""
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    assert cls is not None and sep is not None, "not a tokenizer of `load_tokenizer`"
    encoded = tokenizer.encode_batch_fast([sequence.upper() for sequence in sequences], add_special_tokens=False)
    return [[cls, *encoding.ids, sep] for encoding in encoded]


def esm2_tokeniser(path: Path | None) -> Tokenise:
    """ESM-2's needs no file."""
    return lambda proteins: Tokens(
        np.array([len(protein) + 2 for protein in proteins]),
        lambda order_S: np.frombuffer(bytearray(esm2_tokens([proteins[i] for i in order_S])), np.uint8),
    )


def dnabert_tokeniser(path: Path | None) -> Tokenise:
    """DNABERT-S's, from its folder; raises as `load_tokenizer`."""
    assert path is not None, "a run of DNA without its models"
    tokenizer = load_tokenizer(path)

    def tokenise(dna: Sequence[str]) -> Tokens:
        ids = dnabert_tokens(tokenizer, dna)
        lengths_S = np.array([len(tokens) for tokens in ids])
        return Tokens(lengths_S, lambda order_S: np.fromiter(chain.from_iterable(ids[i] for i in order_S), np.int16))

    return tokenise


def kmer_tokeniser(path: Path | None) -> Tokenise:
    """Of 4-mers; needs no file."""

    def tokenise(dna: Sequence[str]) -> Tokens:
        numbers_T, lengths_S = kmers(dna)
        each = np.split(numbers_T, np.cumsum(lengths_S)[:-1])
        return Tokens(lengths_S, lambda order_S: np.concatenate([each[i] for i in order_S]))

    return tokenise


# Of each row of `language_models`; takes the path of its weights
TOKENISERS: dict[str, Callable[[Path | None], Tokenise]] = {
    "kmer4": kmer_tokeniser,
    "esm2": esm2_tokeniser,
    "dnabert_s": dnabert_tokeniser,
}
