"""Feature files: one ``.pt`` a part, and a ``.done`` marker once it is whole.

A ``.pt`` file is a dictionary that ``torch.load(path, weights_only=True)`` reads:
``ids`` list of n names, ``esm2`` float32 (n, D), ``dnabert_s`` float32 (n, 768) but for proteins.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor

from virnucpro.checkpoints import read_pickled
from virnucpro.files import whole_file
from virnucpro.parts import Part


def done_marker(feature_file: Path) -> Path:
    return feature_file.with_suffix(".done")


def write_features(part: Part, ids: list[str], esm2_SD: Tensor, dnabert_SD: Tensor | None) -> None:
    """Write a part's features, then its marker."""
    content: dict = {"ids": ids, "esm2": esm2_SD}
    if dnabert_SD is not None:
        content["dnabert_s"] = dnabert_SD
    with whole_file(part.feature_file, "wb") as file:
        torch.save(content, file)
    with whole_file(done_marker(part.feature_file)) as file:
        marker = {"sequences": len(ids), "sha256_of_request": part.digest, "sha256_of_file": _sha256(part.feature_file)}
        json.dump(marker, file)
        file.write("\n")


def read_features(feature_file: Path) -> tuple[list[str], Tensor]:
    """Names and features (S, F) of a part, merged: DNABERT-S, then ESM-2; ESM-2 alone for proteins."""
    content = read_pickled(feature_file, [])
    columns = [content[key] for key in ("dnabert_s", "esm2") if key in content]
    return content["ids"], torch.cat(columns, dim=1)


def is_done(part: Part) -> bool:
    """Whether the part's features are all there and are of these very sequences."""
    try:
        marker = json.loads(done_marker(part.feature_file).read_text(encoding="utf-8"))
        return marker["sha256_of_request"] == part.digest and marker["sha256_of_file"] == _sha256(part.feature_file)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
