"""Embeddings: the features of a run in one HDF5 file.

ids         text (n,), in order of the input
embeddings  float32 (n, D), ESM-2: mean over residues after the final LayerNorm
dnabert_s   float32 (n, 768), mean over all tokens; not for a protein input
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np

from virnucpro.engine.results import FinishedWindow
from virnucpro.models.language_models import LANGUAGE_MODELS
from virnucpro.reading.input_kind import InputKind
from virnucpro.system.files import UNSUPPORTED, whole_path

EMBEDDINGS_FILE = "embeddings.h5"
ROWS = 256  # of a chunk in the file: 2.6 MB of the 3B model
ID_OVERHEAD = 64  # bytes: a reference, and a place in the heap of texts
SLACK = 4 * 2**20  # bytes that HDF5 holds back, of a chunk of each table and of its own


def write_embeddings(path: Path, windows: Iterable[FinishedWindow], kind: InputKind, attributes: dict[str, str]) -> int:
    """Write the file, whole or not at all; sequences that failed are left out.

    Args:
        windows: All of the run, in order of the input; read one by one.
        attributes: Of the file.
    Returns:
        Rows written.
    Raises:
        OSError: The disk is full, or fails.
    """
    with whole_path(path) as temporary:
        try:
            return _write(temporary, windows, kind, attributes)
        except RuntimeError as error:  # how h5py tells of a file that it cannot close
            raise OSError(f"{path} cannot be written: {error}") from error


def _write(path: Path, windows: Iterable[FinishedWindow], kind: InputKind, attributes: dict[str, str]) -> int:
    rows = 0
    # Nobody else has this file, and HDF5 would not make it on a file system without locks.
    with h5py.File(path, "w", locking=False) as file:
        file.attrs.update({name: str(value) for name, value in attributes.items()})
        ids = file.create_dataset("ids", (0,), maxshape=(None,), chunks=(4096,), dtype=h5py.string_dtype())
        for window in windows:
            good = np.array([i for i in range(window.sequences) if i not in window.failures], np.int64)
            if not len(good):
                continue
            names = np.array(list(window.sequence_names(kind)), dtype=object)
            features = {
                row.column: window.features[name][good]
                for name, row in LANGUAGE_MODELS.items()
                if name in window.features
            }
            chunks = sum(ROWS * of_S[0].nbytes for of_S in features.values())
            text = sum(len(name.encode()) + ID_OVERHEAD for name in names)
            _make_sure_of(path, sum(of_S.nbytes for of_S in features.values()) + chunks + text + SLACK)
            ids.resize(rows + len(good), axis=0)
            ids[rows:] = names[good]
            for column, features_SD in features.items():
                _append(file, column, rows, features_SD)
            rows += len(good)
        if not rows:
            file.create_dataset("embeddings", (0, 0), np.float32)
    return rows


def _make_sure_of(path: Path, room: int) -> None:
    """See that a file may grow by so many bytes. HDF5 must not meet a full disk: it ends in a segmentation fault.

    Raises:
        OSError: It may not.
    """
    beside = path.with_name(f"{path.name.removesuffix('.tmp')}.room.tmp")
    try:
        with open(beside, "wb") as file:
            os.posix_fallocate(file.fileno(), path.stat().st_size, room)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        beside.unlink(missing_ok=True)


def _append(file: h5py.File, column: str, rows: int, features_SD: np.ndarray) -> None:
    count, width = features_SD.shape
    if column not in file:
        file.create_dataset(column, (0, width), np.float32, maxshape=(None, width), chunks=(ROWS, width))
    file[column].resize(rows + count, axis=0)
    file[column][rows:] = features_SD
