"""Stock: the weights that a directory holds; fetched, and held against what is known of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from virnucpro.checksums import CHECKSUMS_FILE, read_checksums, record_checksums
from virnucpro.errors import BadRequest, BadWeights
from virnucpro.files import Progress, sha256_of, unfinished
from virnucpro.published import Model
from virnucpro.weights import (
    DNABERT_S,
    ESM2_SIZES,
    candidates,
    fetch_command,
    first_model,
    missing_shards,
    weight_files,
)

log = logging.getLogger(__name__)
AS_PUBLISHED, AS_RECORDED, UNKNOWN = "as published", "as recorded", "no sha256 on record"
OWN = "as recorded, not the published file"
Shown = Callable[[str], AbstractContextManager[Progress]]  # makes a progress bar with that title


def _not_shown(title: str) -> AbstractContextManager[Progress]:
    return nullcontext(lambda done, total: None)


@dataclass(frozen=True)
class Holding:
    """What a directory holds of a model: paths of its files; arrived: bytes of a download that was broken off."""

    model: Model
    files: tuple[str, ...]
    whole: bool
    arrived: int


def holdings(directory: Path, models: Iterable[Model]) -> list[Holding]:
    """What is there of each model, in whichever format, by the names of files alone."""
    return [_holding(directory, model) for model in models]


def _holding(directory: Path, model: Model) -> Holding:
    """Of several formats, the one that a run would use."""
    if directory.exists() and not directory.is_dir():
        raise BadRequest(f"{directory} is a file, not a directory. Choose another --weights-dir.")
    used = first_model(directory, model.name)
    there = [path for path in ([used] if used else candidates(directory, model.name)) if path.exists()]
    files = [file.relative_to(directory).as_posix() for path in there for file in weight_files(path)]
    whole = used is not None and not missing_shards(used)
    if model.name == DNABERT_S:
        whole &= f"{DNABERT_S}/tokenizer.json" in files
    parts = (unfinished(directory / file.path) for file in model.files)
    return Holding(model, tuple(files), whole, sum(part.stat().st_size for part in parts if part.exists()))


def fetch(
    model: Model,
    directory: Path,
    mirror: str | None = None,
    force: bool = False,
    shown: Shown = _not_shown,
) -> list[str]:
    """Fetch what is missing of a model; return the paths of what came. Each file goes on record as soon as it is there.

    Args:
        directory: Made if missing.
        mirror: Address of a copy of a weights directory; None for the authors' own places.
        force: Fetch what is there, too; it stays until what came is known to be good.
    Raises:
        BadWeights: It cannot be had, or is not what was published or recorded.
        BadRequest: The directory cannot be made. OSError: It cannot be written.
    """
    from virnucpro.download import DownloadFailed, download, download_text

    if not force and _holding(directory, model).whole:
        _compare_sizes(model, directory)
        return []
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadRequest(f"Cannot make {directory}: {error.strerror}. Choose another --weights-dir.") from error
    if mirror is not None:
        try:
            listed = download_text(f"{mirror.rstrip('/')}/{CHECKSUMS_FILE}")
        except DownloadFailed as error:
            raise BadWeights(
                f"{error} A mirror needs its {CHECKSUMS_FILE}: there, `virnucpro weights verify --record` writes it."
            ) from error
        model = model.mirrored(mirror, listed)
    recorded = read_checksums(directory)
    came = []
    for file in model.files:
        path = directory / file.path
        if path.exists() and not force:
            continue
        path.parent.mkdir(exist_ok=True)

        def accept(partial: Path, alone: bool = file.sha256 is None and "/" not in file.path) -> None:
            if alone:  # no sha256 tells what it is, so at least it must be a model
                check(model, partial)

        with shown(file.path) as progress:
            sha256 = download(file.address(), path, file.sha256, file.size, progress, accept)
        log.info("Fetched %s.", path)
        if file.sha256 is None and recorded.get(file.path, sha256) != sha256:
            log.warning("%s is another file than the one on record (sha256 %s).", path, recorded[file.path])
        record_checksums(directory, {file.path: sha256})
        came.append(file.path)
    used = first_model(directory, model.name)
    if used is not None and not any(path.split("/")[0] == used.name for path in came):
        log.warning("%s lies there, too, and is what runs use. Remove it to have them use what came.", used)
    elif used is not None:
        check(model, used)
    return came


def _compare_sizes(model: Model, directory: Path) -> None:
    """Say so where a file that is not fetched, since there is one, is not the published one."""
    for file in model.files:
        path = directory / file.path
        if file.size is not None and path.is_file() and path.stat().st_size != file.size:
            log.warning(
                "%s has %s bytes, the published file %s. --force replaces it.",
                path, f"{path.stat().st_size:,}", f"{file.size:,}",
            )  # fmt: skip


def check(model: Model, path: Path) -> None:
    """Read a model through the loaders that a run uses, tensors left on disk.

    Args:
        path: Its file, by whatever name, or its folder.
    Raises:
        BadWeights: Damaged, of another kind or size, or holding more than weights.
    """
    from virnucpro.classifier import load_classifier  # imports torch
    from virnucpro.dnabert_weights import read_dnabert
    from virnucpro.esm2_weights import check_size, read_esm2
    from virnucpro.tokens import load_tokenizer

    if model.name in ESM2_SIZES:
        shape, _ = read_esm2(path)
        check_size(shape, model.name, path)
    elif model.name == DNABERT_S:
        read_dnabert(path)
        load_tokenizer(path)
    else:
        load_classifier(path)


def check_used(model: Model, directory: Path) -> Path:
    """`check` what a run would use; return its path.

    Raises:
        BadWeights: As `check`, or there is none.
    """
    path = first_model(directory, model.name)
    if path is None or not _holding(directory, model).whole:
        raise BadWeights(f"{directory}: {model.name} is not whole. Fetch it: {fetch_command(directory, model.name)}")
    check(model, path)
    return path


def verify(model: Model, directory: Path, shown: Shown = _not_shown) -> dict[str, str]:
    """Hold every file of a model against the published or recorded sha256; return the state of each.

    Raises:
        BadWeights: As `check`, or a file is not the one on record.
    """
    known = {file.path: file.sha256 for file in model.files if file.sha256}
    recorded = read_checksums(directory)
    states = {}
    for path in _holding(directory, model).files:
        published, noted = known.get(path), recorded.get(path)
        if published is None and noted is None:
            states[path] = UNKNOWN
            continue
        with shown(path) as progress:
            found = sha256_of(directory / path, progress)
        if found == published:
            states[path] = AS_PUBLISHED
        elif found == noted:
            states[path] = OWN if published else AS_RECORDED
        else:
            raise BadWeights(
                f"{directory / path}: not the file {'that is published' if published else 'on record'} (sha256 "
                f"{found}, expected {published or noted}). Fetch it again "
                f"({fetch_command(directory, model.name)} --force), or, if it is meant to be another, put it on record "
                f"({fetch_command(directory, model.name, 'verify')} --record --force)."
            )
    check_used(model, directory)
    return states


def put_on_record(model: Model, directory: Path, force: bool = False) -> None:
    """Take a model's files as good, as they are: their sha256 goes into SHA256SUMS.

    Args:
        force: Also where another sha256 is published or on record; otherwise these are left as they are.
    Raises:
        BadWeights: As `check_used`; what cannot be read is no good.
    """
    check_used(model, directory)
    known = {file.path for file in model.files if file.sha256} | read_checksums(directory).keys()
    unknown = [path for path in _holding(directory, model).files if force or path not in known]
    record_checksums(directory, {path: sha256_of(directory / path) for path in unknown})
