"""Weight digests: the sha256 of a run's weights, against what is published or on record.

They are begun as soon as the files are known, so that they cost a run as little time as can be; see `fingerprint`.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from virnucpro.errors import BadWeights
from virnucpro.models.language_models import LANGUAGE_MODELS
from virnucpro.models.locate import WeightPaths, fetch_command, tensor_files, weight_files
from virnucpro.system.fingerprint import Fingerprint
from virnucpro.system.hashing import Digest
from virnucpro.weights.checksums import CHECKSUMS_FILE, read_checksums
from virnucpro.weights.digest_cache import DigestCache
from virnucpro.weights.sources import BY_NAME

AS_PUBLISHED, AS_RECORDED, UNKNOWN = "as published", "as recorded", "no sha256 on record"
OWN, OTHER = "as recorded, not the published file", "not the published file"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Known:
    """What is known of one file."""

    path: Path
    directory: Path  # whose SHA256SUMS would list it
    model: str | None  # name that `virnucpro weights` has for its model; None for a classifier of one's own
    published: str | None  # sha256
    recorded: str | None  # sha256

    @property
    def digests(self) -> tuple[str, ...]:
        """Every sha256 that makes it good."""
        return tuple(sha256 for sha256 in (self.published, self.recorded) if sha256 is not None)

    def state(self, sha256: str) -> str:
        """In words, what a file with that sha256 is."""
        if sha256 == self.published:
            return AS_PUBLISHED
        if sha256 == self.recorded:
            return OWN if self.published else AS_RECORDED
        return OTHER if self.published else UNKNOWN

    def wrong(self, digest: Digest, own_allowed: bool) -> str | None:
        """Why the file cannot be used, and what to do; None if nothing is known to be wrong.

        Args:
            own_allowed: Take it for a model of the user's own if it merely is not the published one.
        """
        if digest.sha256 in self.digests:
            return None
        damage = f"damaged ({digest.damage})" if digest.damage is not None else ""
        if self.recorded is None and (self.published is None or own_allowed):
            return f"{self.path}: {damage}. {self._remedy()}." if damage else None
        which, expected = ("on record", self.recorded) if self.recorded else ("that is published", self.published)
        what = f"{self.path}: not the file {which} (sha256 {digest.sha256}, expected {expected})"
        if damage:
            return f"{what}, and {damage}. {self._remedy()}."
        if self.model is None:
            or_else = f"correct its line in {self.directory / CHECKSUMS_FILE}"
        else:
            or_else = f"put it on record ({fetch_command(self.directory, self.model, 'verify')} --record --force)"
        return f"{what}. {self._remedy()}, or, if it is meant to be another, {or_else}."

    def _remedy(self) -> str:
        fetch = self.model and fetch_command(self.directory, self.model)
        return f"Fetch it again ({fetch} --force)" if fetch else "Put a good copy there"


class WeightDigests:
    """The sha256 of every weight file of a run, by the names of `WeightPaths.files`; use it in `with`."""

    def __init__(self, weights: WeightPaths) -> None:
        self._weights, self._files, self._known = weights, weights.files(), known_of(weights)
        self._cache = DigestCache.of_user()
        self._cached = self._cache.look_up(self._files)
        missing = {name: path for name, path in self._files.items() if name not in self._cached}
        self._fingerprint = Fingerprint(missing, {name: self._known[name].digests for name in missing})
        self._checked = False

    def __enter__(self) -> WeightDigests:
        """Begin with what was not read before. Raises as `check`."""
        self._fingerprint.begin()
        self.check()
        return self

    def __exit__(self, *error: object) -> None:
        self._fingerprint.close()

    def check(self) -> None:
        """Refuse weights as soon as they are known to be wrong; does not wait.

        Raises:
            BadWeights: A file is damaged, or another than the one on record.
        """
        if not self._checked and self._fingerprint.done():
            self.result()

    def result(self) -> dict[str, str]:
        """Wait for the sha256 of each file.

        Raises:
            BadWeights: As `check`, or a file cannot be read.
        """
        digests = {name: Digest(sha256, None, None) for name, sha256 in self._cached.items()}
        try:
            digests |= self._fingerprint.digests()
        except OSError as error:
            raise BadWeights(f"{error.filename}: cannot be read ({error.strerror}). Check the disk.") from error
        if not self._checked:
            for name, digest in digests.items():
                if (wrong := self._known[name].wrong(digest, own_allowed=True)) is not None:
                    raise BadWeights(wrong)
            self._check_card({self._files[name]: digest.sha256 for name, digest in digests.items()})
            self._cache.keep({digest.identity: digest.sha256 for digest in digests.values() if digest.identity})
            self._checked = True
        return {name: digests[name].sha256 for name in self._files}

    def model_sha256(self) -> dict[str, str]:
        """Wait for the sha256 of each model's weights, as a classifier's card has it; raises as `result`."""
        sha256_of = {self._files[name]: sha256 for name, sha256 in self.result().items()}
        return {name: _identity(path, sha256_of) for name, path in self._weights.models.items() if path.exists()}

    def _check_card(self, sha256_of: dict[Path, str]) -> None:
        """Refuse models that the classifier was not trained with: their features have the same width, and mean others.

        Args:
            sha256_of: Of each file.
        """
        for name, expected in self._weights.card.sha256.items():
            path = self._weights.models.get(name)
            if path is not None and (actual := _identity(path, sha256_of)) != expected:
                raise BadWeights(
                    f"{self._weights.classifier} was trained on features of other weights than {path} (sha256 "
                    f"{expected}, not {actual}). Put those in its place, or give another --weights-dir."
                )

    def warn(self) -> None:
        """Name the files that are not the published ones, though of their name, and not on record; waits for them."""
        files = ((self._known[name], sha256) for name, sha256 in self.result().items())
        others = [known for known, sha256 in files if known.state(sha256) == OTHER]
        if others:
            models = sorted({known.model for known in others if known.model})
            log.warning(
                "Not the published %s: %s. If they are meant to be others, put them on record: %s --record --force",
                "files" if len(others) > 1 else "file",
                ", ".join(str(known.path) for known in others),
                fetch_command(others[0].directory, " ".join(models), "verify"),
            )


def _identity(model: Path, sha256_of: dict[Path, str]) -> str:
    """The sha256 of a model's weights, whatever lies beside them: of the file, or of a line for each of several."""
    digests = [sha256_of[file] for file in tensor_files(model)]
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def known_of(weights: WeightPaths) -> dict[str, Known]:
    """What is known of every weight file of a run, by the names of `WeightPaths.files`."""
    models = [(path, LANGUAGE_MODELS[key].weights_name(weights.esm_model)) for key, path in weights.models.items()]
    if weights.classifier is not None:
        models.append((weights.classifier, weights.classifier.stem))
    published = {file.path: file.sha256 for model in BY_NAME.values() for file in model.files}
    directories = {path.parent for path, _ in models}
    recorded = {directory: read_checksums(directory, refuse=_pass_over) for directory in directories}
    known = {}
    for path, model in models:
        for file in weight_files(path):
            name = file.relative_to(path.parent).as_posix()
            public = model if model in BY_NAME else None
            known[name] = Known(file, path.parent, public, published.get(name), recorded[path.parent].get(name))
    return known


def _pass_over(message: str) -> None:
    log.warning("%s Weights are not compared with it.", message)
