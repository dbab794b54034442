"""Download: a file from a web server that appears whole and checked, or not at all.

What has arrived stays beside it as ``.{name}.part``, with the server's name for that version of the file in
``.{name}.part.version``; the next attempt, or the next command, asks for the rest of that version only (HTTP's
If-Range). huggingface_hub's own download does neither: it begins anew, and does not look at digests.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO

import httpx2
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential

from virnucpro.errors import BadRequest, BadWeights
from virnucpro.system.files import locked, sha256_of, unfinished, wait_for_disk
from virnucpro.system.hashing import Progress

log = logging.getLogger(__name__)
ATTEMPTS = 5  # in a row that brought nothing new
SILENCE = 30.0  # seconds without a byte, after which the connection counts as broken
LONGEST_WAIT = 30.0  # seconds between attempts
_BUSY = {408, 425, 429, 500, 502, 503, 504}  # HTTP status codes that a later attempt may not meet


class DownloadFailed(BadWeights):
    """The file cannot be had, or is not what was published."""


class _Broken(Exception):
    """An attempt ended early; the next may go on from there."""


def download(
    url: str,
    path: Path,
    sha256: str | None = None,
    size: int | None = None,
    progress: Progress = lambda done, total: None,
    accept: Callable[[Path], None] = lambda partial: None,
) -> str:
    """Fetch a file; return its sha256.

    Args:
        url: http or https; redirects are followed.
        path: Where it appears when it is whole; its folder must exist. A file that is there is replaced then.
        sha256, size: As published; None where nobody says.
        progress: Called as bytes arrive, and once more as they are read for the sha256.
        accept: Looks at the whole file under its temporary name; what it raises has the file thrown away.
    Raises:
        DownloadFailed: Refused, a web page instead of a file, not the published bytes, or broken off again and again.
        BadRequest: The disk has no room for it, or another process is fetching it.
        OSError: It cannot be written. What has arrived is kept.
    """
    partial = unfinished(path)
    version = partial.with_name(f"{partial.name}.version")
    with _client() as client, _locked(partial) as file:
        fetch = _Fetch(client, url, file, version, size, progress)
        retrying = Retrying(
            retry=retry_if_exception_type(_Broken),
            wait=wait_exponential(max=LONGEST_WAIT),
            stop=lambda state: fetch.fruitless >= ATTEMPTS,
            before_sleep=_log_retry,
            reraise=True,
        )
        try:
            retrying(fetch.attempt)
        except _Broken as error:
            raise DownloadFailed(
                f"{url}: {ATTEMPTS} attempts in a row brought nothing new ({error}). What has arrived is kept: repeat "
                "the command. Without internet see `virnucpro weights list --urls` and --mirror."
            ) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise DownloadFailed(f"{url}: {_words(error)}. Check the address.") from error
        finally:
            if not file.seek(0, os.SEEK_END):
                _discard(partial, version)
        wait_for_disk(file)
        digest = sha256_of(partial, progress)
        try:
            if sha256 not in (None, digest):
                raise DownloadFailed(
                    f"{url}: not the published file (sha256 {digest}, expected {sha256}), so it was thrown away. Fetch "
                    "it again; if that does not help, something on the way (a proxy, a mirror) changes it."
                )
            accept(partial)
        except BadWeights:
            _discard(partial, version)
            raise
        os.replace(partial, path)
        version.unlink(missing_ok=True)
    return digest


def download_text(url: str) -> str:
    """Fetch a small text.

    Raises:
        DownloadFailed: As `download`, at the first attempt.
    """
    with _client() as client:
        try:
            response = client.get(url)
            _check(response, url)
            return response.text
        except (_Broken, httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise DownloadFailed(f"{url}: {_words(error)}. Check the address and the connection.") from error


def _client() -> httpx2.Client:
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it tells of every request
    try:
        return httpx2.Client(follow_redirects=True, timeout=SILENCE, headers={"Accept-Encoding": "identity"})
    except (ImportError, ValueError, OSError) as error:
        raise DownloadFailed(
            f"The settings of the connection cannot be used ({_words(error)}). Check HTTPS_PROXY, ALL_PROXY, NO_PROXY, "
            "SSL_CERT_FILE and SSL_CERT_DIR."
        ) from error


def _locked(partial: Path) -> IO[bytes]:
    try:
        return locked(partial, "ab")
    except BlockingIOError:
        raise BadRequest(f"{partial}: another process is fetching this file. Wait for it.") from None


def _discard(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _log_retry(state: RetryCallState) -> None:
    if state.outcome and state.next_action:
        log.warning("%s; trying again in %.0f s.", state.outcome.exception(), state.next_action.sleep)


class _Fetch:
    """One file, attempt after attempt."""

    def __init__(
        self, client: httpx2.Client, url: str, file: IO[bytes], version: Path, size: int | None, progress: Progress
    ) -> None:
        self._client, self._url, self._file, self._version = client, url, file, version
        self._size, self._progress = size, progress
        self._furthest = file.seek(0, os.SEEK_END)
        self.fruitless = 0  # attempts in a row that got no further than those before them

    def attempt(self) -> None:
        """Append what is missing; return when the file is whole."""
        have = self._file.seek(0, os.SEEK_END)
        known = self._known_version() if have else ""
        headers = {"Range": f"bytes={have}-", "If-Range": known} if known else {}
        try:
            with self._client.stream("GET", self._url, headers=headers) as response:
                if response.status_code == 416:
                    if _total(response) == have:
                        return  # it was whole already
                    self._begin_anew("")
                    raise _Broken("what is here is longer than the file")
                _check(response, self._url)
                part = response.headers.get("Content-Range", "")
                if response.status_code == 206 and not part.startswith(f"bytes {have}-"):
                    self._begin_anew("")
                    raise _Broken("the server sent another part than was asked for")
                if response.status_code != 206:
                    have = 0
                    self._begin_anew(_version_of(response))
                self._receive(response, have)
        except httpx2.UnsupportedProtocol:
            raise
        except httpx2.TransportError as error:
            raise _Broken(_words(error)) from error
        finally:
            reached = self._file.seek(0, os.SEEK_END)
            self.fruitless = 0 if reached > self._furthest else self.fruitless + 1
            self._furthest = max(self._furthest, reached)

    def _receive(self, response: httpx2.Response, have: int) -> None:
        total = _total(response) or self._size
        if None not in (self._size, total) and total != self._size:
            raise DownloadFailed(f"{self._url}: the server has {total:,} bytes, but {self._size:,} are published.")
        folder, more = Path(self._file.name).parent, (total or 0) - have
        if more > (free := shutil.disk_usage(folder).free):
            raise BadRequest(
                f"{folder}: {more / 1e6:,.1f} MB are to come, and {free / 1e6:,.1f} MB are free. Make room, or choose "
                "another --weights-dir."
            )
        self._progress(have, total)
        for block in response.iter_raw():
            self._file.write(block)
            have += len(block)
            self._progress(have, total)
            if total is not None and have > total:
                self._begin_anew("")
                raise DownloadFailed(f"{self._url}: more than the {total:,} bytes that it should have.")
        if total not in (None, have):
            raise _Broken(f"the server ended at {have:,} of {total:,} bytes")

    def _begin_anew(self, version: str) -> None:
        self._file.truncate(0)
        self._version.write_text(version, encoding="ascii")

    def _known_version(self) -> str:
        """What the server called what is here; empty if nothing usable is on record."""
        if not self._version.exists():
            return ""
        known = self._version.read_text(encoding="ascii", errors="replace").strip()
        return known if known.isascii() and known.isprintable() else ""


def _check(response: httpx2.Response, url: str) -> None:
    """Refuse an answer that does not hold the file as it is."""
    status = response.status_code
    if status in _BUSY:
        raise _Broken(f"the server said {status} {response.reason_phrase}")
    if status not in (200, 206):
        why = f"the server said {status} {response.reason_phrase}. Check the address and your access."
    elif response.headers.get("Content-Type", "").startswith("text/html"):
        why = "a web page came instead of the file (of a proxy, or a login?). Open the address in a browser."
    elif (coding := response.headers.get("Content-Encoding", "identity")) != "identity":
        why = f"the server encoded it ({coding}), which was not asked for. Have it send files as they are."
    else:
        return
    raise DownloadFailed(f"{url}: {why}")


def _total(response: httpx2.Response) -> int | None:
    """Bytes of the whole file, if the server says so."""
    if (match := re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))) is not None:
        return int(match[1])
    length = response.headers.get("Content-Length", "")
    return int(length) if response.status_code == 200 and length.isdecimal() else None


def _version_of(response: httpx2.Response) -> str:
    """What the server calls this version of the file; empty if it has no name that If-Range could use."""
    tag = response.headers.get("ETag", "")
    name = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
    return name if name.isascii() else ""


def _words(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
