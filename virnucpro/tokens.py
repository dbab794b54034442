"""Tokens: the integers that the two language models read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from virnucpro.errors import BadWeights
from virnucpro.proteins import ESM_LETTERS

# fair-esm's vocabulary of ESM-2
CLS, PAD, EOS, UNK = range(4)
VOCABULARY = 33
_RESIDUES = ESM_LETTERS.encode()
_ESM2 = bytes(_RESIDUES.index(byte) + 4 if byte in _RESIDUES else UNK for byte in range(256))
_CLS, _EOS = bytes([CLS]), bytes([EOS])


def esm2_tokens(proteins: Sequence[bytes]) -> bytes:
    """Tokens of proteins end to end, one byte each: <cls>, residues, <eos>, <cls>, ..."""
    return _CLS + (_EOS + _CLS).join(protein.translate(_ESM2) for protein in proteins) + _EOS


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load DNABERT-S's tokenizer.json with its own truncation and padding switched off.

    Raises:
        BadWeights: Missing, broken, or without [CLS] and [SEP].
    """
    path = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise BadWeights(f"{path}: cannot be read as a tokenizer ({error}). Fetch it again.") from error
    if None in (tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")):
        raise BadWeights(f"{path}: no tokens [CLS] and [SEP]; expected DNABERT-S's tokenizer. Fetch it again.")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def dnabert_tokens(tokenizer: Tokenizer, sequences: Sequence[str]) -> list[list[int]]:
    """Token ids of each DNA: [CLS], its BPE tokens, [SEP]; letters but ACGT are [UNK] each."""
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    assert cls is not None and sep is not None, "not a tokenizer of `load_tokenizer`"
    encoded = tokenizer.encode_batch_fast([sequence.upper() for sequence in sequences], add_special_tokens=False)
    return [[cls, *encoding.ids, sep] for encoding in encoded]
