"""Embeddings: the features of a run in one HDF5 file.

ids         text (n,), in order of the input
embeddings  float32 (n, D), ESM-2: mean over residues after the final LayerNorm
dnabert_s   float32 (n, 768), mean over all tokens; not for a protein input
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np

from virnucpro.files import whole_path
from virnucpro.outcomes import Finished

EMBEDDINGS_FILE = "embeddings.h5"
ROWS = 256  # of a chunk in the file: 2.6 MB of the 3B model
_COLUMNS = {"embeddings": "esm2_SD", "dnabert_s": "dnabert_SE"}


def write_embeddings(path: Path, windows: Iterable[Finished], kind: str, attributes: dict[str, str]) -> int:
    """Write the file, whole or not at all; sequences that failed are left out.

    Args:
        windows: All of the run, in order of the input; read one by one.
        attributes: Of the file.
    Returns:
        Rows written.
    """
    rows = 0
    with whole_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update({name: str(value) for name, value in attributes.items()})
        ids = file.create_dataset("ids", (0,), maxshape=(None,), chunks=(4096,), dtype=h5py.string_dtype())
        for window in windows:
            good = np.array([i for i in range(window.sequences) if i not in window.failures], np.int64)
            if not len(good):
                continue
            names = np.array(list(window.sequence_names(kind)), dtype=object)
            ids.resize(rows + len(good), axis=0)
            ids[rows:] = names[good]
            for column, field in _COLUMNS.items():
                features_SD = getattr(window, field)
                if features_SD is not None:
                    _append(file, column, rows, features_SD[good])
            rows += len(good)
        if "embeddings" not in file:
            file.create_dataset("embeddings", (0, 0), np.float32)
    return rows


def _append(file: h5py.File, column: str, rows: int, features_SD: np.ndarray) -> None:
    count, width = features_SD.shape
    if column not in file:
        file.create_dataset(column, (0, width), np.float32, maxshape=(None, width), chunks=(ROWS, width))
    file[column].resize(rows + count, axis=0)
    file[column][rows:] = features_SD
