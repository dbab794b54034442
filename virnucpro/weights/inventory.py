"""Inventory: the weights that a directory holds; fetches them, and checks them against what is known."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from virnucpro.errors import BadRequest, BadWeights
from virnucpro.models.language_models import row_of
from virnucpro.models.locate import candidates, fetch_command, first_model, missing_shards, weight_files
from virnucpro.system.files import unfinished
from virnucpro.system.hashing import Progress, digest_of
from virnucpro.weights.checksums import CHECKSUMS_FILE, read_checksums, record_checksums
from virnucpro.weights.digest_cache import DigestCache
from virnucpro.weights.digests import Known
from virnucpro.weights.sources import Model

log = logging.getLogger(__name__)
Shown = Callable[[str], AbstractContextManager[Progress]]  # makes a progress bar with that title


def _not_shown(title: str) -> AbstractContextManager[Progress]:
    return nullcontext(lambda done, total: None)


@dataclass(frozen=True)
class Holding:
    """What a directory holds of a model."""

    files: tuple[str, ...]  # paths in the directory
    whole: bool
    arrived: int  # bytes of a download that was broken off


def holding(directory: Path, model: Model) -> Holding:
    """Look at the names of files alone; of several formats, take the one that a run would use."""
    if directory.exists() and not directory.is_dir():
        raise BadRequest(f"{directory} is a file, not a directory. Choose another --weights-dir.")
    used = first_model(directory, model.name)
    there = [path for path in ([used] if used else candidates(directory, model.name)) if path.exists()]
    files = [file.relative_to(directory).as_posix() for path in there for file in weight_files(path)]
    whole = used is not None and not missing_shards(used)
    if (row := row_of(model.name)) is not None:
        whole &= all(f"{model.name}/{file}" in files for file in row.required)
    parts = (unfinished(directory / file.path) for file in model.files)
    return Holding(tuple(files), whole, sum(part.stat().st_size for part in parts if part.exists()))


def fetch(
    model: Model, directory: Path, mirror: str | None = None, force: bool = False, shown: Shown = _not_shown
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
    from virnucpro.weights.download import DownloadFailed, download, download_text

    if not force and holding(directory, model).whole:
        for file in model.files:  # those that are there need not be the published ones
            path = directory / file.path
            if file.size is not None and path.is_file() and (size := path.stat().st_size) != file.size:
                log.warning(
                    "%s has %s bytes, the published file %s. --force replaces it.", path, f"{size:,}", f"{file.size:,}"
                )
        return []
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadRequest(f"Cannot make {directory}: {error.strerror}. Choose another --weights-dir.") from error
    if mirror is not None:
        try:
            model = model.mirrored(mirror, download_text(f"{mirror.rstrip('/')}/{CHECKSUMS_FILE}"))
        except DownloadFailed as error:
            raise BadWeights(
                f"{error} A mirror needs its {CHECKSUMS_FILE}: there, `virnucpro weights verify --record` writes it."
            ) from error
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
                if (damage := digest_of(partial).damage) is not None:
                    raise BadWeights(f"{partial}: damaged ({damage}). Fetch it again.")

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


def check(model: Model, path: Path) -> None:
    """Read a model through the loaders that a run uses, tensors left on disk.

    Args:
        path: Its file, by whatever name, or its folder.
    Raises:
        BadWeights: Damaged, of another kind or size, or holding more than weights.
    """
    from virnucpro.models.classifier import load_classifier  # imports torch

    if (row := row_of(model.name)) is not None:
        row.code.check(path, model.name)
    else:
        load_classifier(path)


def check_used(model: Model, directory: Path) -> Path:
    """`check` what a run would use; return its path.

    Raises:
        BadWeights: As `check`, or there is none.
    """
    path = first_model(directory, model.name)
    if path is None or not holding(directory, model).whole:
        raise BadWeights(f"{directory}: {model.name} is not whole. Fetch it: {fetch_command(directory, model.name)}")
    check(model, path)
    return path


@dataclass(frozen=True)
class Verdict:
    """What is to be said of one file of a model, or of the model."""

    path: str
    state: str  # in words
    wrong: str = ""  # why it cannot be used, and what to do


def verify(model: Model, directory: Path, shown: Shown = _not_shown) -> list[Verdict]:
    """Compare every file of a model with the published or recorded sha256, and read it as a run would.

    Every file is read, whatever a cache says of it. If all are good, but the model is not, the last verdict is on that.

    Raises:
        BadWeights: SHA256SUMS cannot be read.
    """
    verdicts, good = [], {}
    for path, known in _known_of(model, directory).items():
        try:
            with shown(path) as progress:
                digest = digest_of(known.path, known.digests, progress)
        except OSError as error:
            verdicts.append(Verdict(path, "", f"{known.path}: cannot be read ({error.strerror}). Check the disk."))
            continue
        wrong = known.wrong(digest, own_allowed=False)
        verdicts.append(Verdict(path, known.state(digest.sha256), wrong or ""))
        if wrong is None and digest.identity is not None:
            good[digest.identity] = digest.sha256
    DigestCache.of_user().keep(good)
    if not any(verdict.wrong for verdict in verdicts):
        try:
            check_used(model, directory)
        except BadWeights as error:
            verdicts.append(Verdict(model.name, "", str(error)))
    return verdicts


def _known_of(model: Model, directory: Path) -> dict[str, Known]:
    """What is known of each file that is there."""
    published, recorded = {file.path: file.sha256 for file in model.files}, read_checksums(directory)
    return {
        path: Known(directory / path, directory, model.name, published.get(path), recorded.get(path))
        for path in holding(directory, model).files
    }


def put_on_record(model: Model, directory: Path, force: bool = False) -> None:
    """Take a model's files as good, as they are: their sha256 goes into SHA256SUMS.

    Args:
        force: Also where another sha256 is published or on record; otherwise these are left as they are.
    Raises:
        BadWeights: As `check_used`, or a file is damaged; what cannot be read is no good.
    """
    check_used(model, directory)
    sums = {}
    for path, known in _known_of(model, directory).items():
        if force or not known.digests:
            digest = digest_of(known.path, known.digests)
            if digest.damage is not None:
                raise BadWeights(known.wrong(digest, own_allowed=True))
            sums[path] = digest.sha256
    record_checksums(directory, sums)
