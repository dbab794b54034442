"""Digest cache: the sha256 of weights that were read before, in the user's cache directory.

A 3B checkpoint takes 5 s to read, longer than a small run computes. As git does, a file that still has the inode, size
and times that it had when it was read is taken to hold the same bytes; see `hashing.identity_of`. What the file of
the cache says counts only if nobody else can write it, and whatever is wrong with it, there is just no cache.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from virnucpro.system.files import locked, whole_file
from virnucpro.system.hashing import identity_of
from virnucpro.system.home import cache_folder

ENVIRONMENT_VARIABLE = "VIRNUCPRO_DIGEST_CACHE"
MOST = 500  # entries; the oldest go first
LONGEST = 2**20  # bytes of the file
_SHA256 = re.compile("[0-9a-f]{64}")
log = logging.getLogger(__name__)


class DigestCache:
    """The sha256 of files by their identity; `path` None has none."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @classmethod
    def of_user(cls) -> DigestCache:
        """The file that VIRNUCPRO_DIGEST_CACHE names, none if that is empty; else one in the user's cache directory."""
        named = os.environ.get(ENVIRONMENT_VARIABLE)
        if named is not None:
            path = Path(named)
            return cls(path if named and (path.is_file() or not path.exists()) else None)  # /dev/null keeps nothing
        cache = cache_folder()
        return cls(cache / "virnucpro" / "digests.json" if cache is not None else None)

    def look_up(self, files: Mapping[str, Path]) -> dict[str, str]:
        """The sha256 of those files that are known, by the names they are given with."""
        entries, digests = self._read(), {}
        for name, path in files.items() if entries else ():
            with suppress(OSError), open(path, "rb") as file:  # whoever reads it will tell
                if (identity := identity_of(file)) in entries:
                    digests[name] = entries[identity]
        return digests

    def keep(self, digests: Mapping[str, str]) -> None:
        """Add the sha256 of files by their identities; another process that does so at this moment has precedence."""
        if self._path is None or not digests:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with locked(self._path.with_name(f".{self._path.name}.lock"), "ab"):
                others = [(identity, sha256) for identity, sha256 in self._read().items() if identity not in digests]
                with whole_file(self._path, durable=False) as file:
                    os.fchmod(file.fileno(), 0o600)
                    json.dump(dict([*others, *digests.items()][-MOST:]), file, indent=0)
        except OSError as error:
            log.debug("No digest is kept in %s: %s", self._path, error)

    def _read(self) -> dict[str, str]:
        if self._path is None:
            return {}
        try:
            with open(self._path, "rb") as file:
                stat = os.fstat(file.fileno())
                if stat.st_uid != os.geteuid() or stat.st_mode & 0o022 or stat.st_size > LONGEST:
                    raise ValueError("others could have written it, or it is too long")
                entries = json.loads(file.read())
            return {name: sha256 for name, sha256 in entries.items() if _SHA256.fullmatch(sha256)}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
            log.debug("No digests in %s: %s", self._path, error)
            return {}
