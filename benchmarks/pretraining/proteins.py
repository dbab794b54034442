"""Proteins: an .npz of what to train on, small enough to be carried to a host without internet.

Axes: N pieces of proteins, R their residues, end to end.
"""

from __future__ import annotations

import lzma
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.pretraining.alphabet import FEWEST_RESIDUES, FIRST, LETTERS, MOST_RESIDUES, X

HELD_OUT = 2000
MOST_UNKNOWN = 0.05  # of a protein's residues
BLOCK = 2000  # pieces, after which the file's size is looked at
MIB = 2**20
RESERVE = 1.5 * MIB  # what the compressor has not yet given out when the size is looked at
# Residues are numbers under 21 whose neighbours tell little: no context for literals, and a short search for matches,
# since only long ones save bits (4.10 bits a residue against 4.23 of a sample in its file's order, 4.4 shuffled).
FILTER = {
    "id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 256 * MIB, "lc": 0, "lp": 0, "pb": 0,
    "mf": lzma.MF_HC4, "depth": 8, "nice_len": 273,
}  # fmt: skip


@dataclass(frozen=True)
class Proteins:
    """Tokens of pieces of proteins, without <cls> and <eos>, and where each lies.

    tokens_R: uint8, perhaps of other proteins, too. begins_N, lengths_N: int64.
    """

    tokens_R: np.ndarray
    begins_N: np.ndarray
    lengths_N: np.ndarray


@dataclass(frozen=True)
class Packed:
    """What went into a file: pieces, residues, those held out among the pieces, and residues that found no room."""

    pieces: int
    residues: int
    held_out: int
    residues_left: int


def pack(text: bytes, path: Path, limit_mib: float = 58, seed: int = 0) -> Packed:
    """Write proteins shuffled, cut to at most 254 residues and compressed, as many as fit.

    Longer ones are cut into pieces of 254 from a random place on. Equal ones count once; those of under 30 residues or
    with more than 1 in 20 unknown are left out. 2,000 (of few proteins, a tenth), of one piece each, stand first and
    are held out.

    Args:
        text: A protein a line, in any case, perhaps with closing stops (``*``). An end of line ends a line and begins
            another one, so that there is an empty one at the end; it counts in the shuffling, as it did for the encoder
            that was trained with this.
        limit_mib: Of the file.
    Raises:
        ValueError: No protein is fit to be trained on.
    """
    lines = list(dict.fromkeys(line.strip().rstrip(b"*") for line in text.split(b"\n")))
    random = np.random.default_rng(seed)
    proteins = _shuffled(lines, random)
    first = islice(proteins, max(1, min(HELD_OUT, len(lines) // 10)))
    pieces = [_one_piece(protein, random).tobytes() for protein in first]
    held_out, lengths = len(pieces), [len(piece) for piece in pieces]
    squeeze = lzma.LZMACompressor(lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, filters=[FILTER])
    blocks, size = list[bytes](), 0
    for protein in proteins:
        for piece in _pieces(protein, random):
            lengths.append(len(piece))
            pieces.append(piece.tobytes())
        if len(pieces) >= BLOCK:
            blocks.append(squeeze.compress(b"".join(pieces)))
            size, pieces = size + len(blocks[-1]), []
            if size + len(lengths) > limit_mib * MIB - RESERVE:  # a length is a byte
                break
    if len(lengths) <= held_out:
        raise ValueError(
            f"{len(lines):,} lines have no protein to train on beside the {held_out} that are held out; one has "
            f"{FEWEST_RESIDUES} residues at least. Give more proteins, one a line."
        )
    blocks += [squeeze.compress(b"".join(pieces)), squeeze.flush()]
    np.savez_compressed(
        path,
        residues_xz=np.frombuffer(b"".join(blocks), np.uint8),
        lengths_N=np.array(lengths, np.uint8),
        held_out=np.array(held_out),
    )
    return Packed(len(lengths), sum(lengths), held_out, sum(len(protein) for protein in proteins))


def _shuffled(lines: list[bytes], random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield what is fit to be trained on, as places of residues in the alphabet."""
    place = np.full(256, X - FIRST, np.uint8)
    for number, letter in enumerate(LETTERS[: X - FIRST]):
        place[[ord(letter), ord(letter.lower())]] = number
    for line in random.permutation(len(lines)):
        protein = place[np.frombuffer(lines[line], np.uint8)]
        if len(protein) >= FEWEST_RESIDUES and np.mean(protein == X - FIRST) <= MOST_UNKNOWN:
            yield protein


def _one_piece(protein: np.ndarray, random: np.random.Generator) -> np.ndarray:
    begin = random.integers(0, max(len(protein) - MOST_RESIDUES, 0) + 1)
    return protein[begin : begin + MOST_RESIDUES]


def _pieces(protein: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
    if len(protein) <= MOST_RESIDUES:
        return [protein]
    cuts = range(int(random.integers(1, MOST_RESIDUES + 1)), len(protein), MOST_RESIDUES)
    return [piece for piece in np.split(protein, cuts) if len(piece) >= FEWEST_RESIDUES]


def read(path: Path) -> tuple[Proteins, Proteins]:
    """What to train on, and what is held out, of a file by `pack`; both share their tokens.

    Raises:
        OSError: It cannot be read. ValueError: It is another file, or damaged.
    """
    try:
        with np.load(path) as file:
            tokens_R = np.frombuffer(lzma.decompress(file["residues_xz"].tobytes()), np.uint8) + np.uint8(FIRST)
            lengths_N, held_out = file["lengths_N"].astype(np.int64), int(file["held_out"])
    except (KeyError, ValueError, EOFError, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: no file of packed proteins ({error}). Pack it again.") from error
    if len(tokens_R) != lengths_N.sum():
        raise ValueError(f"{path}: {len(tokens_R):,} residues, and lengths tell {lengths_N.sum():,}. Pack it again.")
    begins_N = np.cumsum(lengths_N) - lengths_N
    return (
        Proteins(tokens_R, begins_N[held_out:], lengths_N[held_out:]),
        Proteins(tokens_R, begins_N[:held_out], lengths_N[:held_out]),
    )
