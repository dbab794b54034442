"""Download: a file from a web server that appears whole and checked, or not at all.

What has arrived stays beside it as ``.{name}.part``, with the server's name for that version of the file in
``.{name}.part.version``; the next attempt, or the next command, asks for the rest of that version only (HTTP's
If-Range). huggingface_hub's own download does neither: it begins anew, and does not look at digests.
"""

from __future__ import annotations

import fcntl
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
from virnucpro.files import sha256_of, unfinished

log = logging.getLogger(__name__)
ATTEMPTS = 5  # in a row that brought nothing
SILENCE = 30.0  # seconds without a byte, after which the connection counts as broken
LONGEST_WAIT = 30.0  # seconds between attempts
_BUSY = {408, 425, 429, 500, 502, 503, 504}  # HTTP status codes that a later attempt may not meet

Progress = Callable[[int, "int | None"], None]  # bytes that are here, bytes in all if known


class DownloadFailed(BadWeights):
    """The file cannot be had, or is not what was published."""


class _Broken(Exception):
    """An attempt ended early, after so many new bytes; the next may go on from there."""

    def __init__(self, reason: object, arrived: int = 0) -> None:
        super().__init__(reason)
        self.arrived = arrived


def download(
    url: str,
    path: Path,
    sha256: str | None = None,
    size: int | None = None,
    progress: Progress = lambda done, total: None,
) -> str:
    """Fetch a file; return its sha256.

    Args:
        url: http or https; redirects are followed.
        path: Where it appears when it is whole; its folder must exist. A file that is there is replaced.
        sha256, size: As published; None where nobody says.
        progress: Called as bytes arrive.
    Raises:
        DownloadFailed: Refused, a web page instead of a file, not the published bytes, or broken off again and again.
        BadRequest: The disk has no room for it, or another process is fetching it.
        OSError: It cannot be written. What has arrived is kept.
    """
    partial = unfinished(path)
    version = partial.with_name(f"{partial.name}.version")
    retrying = Retrying(
        retry=retry_if_exception_type(_Broken),
        wait=wait_exponential(max=LONGEST_WAIT),
        stop=_Patience().ends,
        before_sleep=_say,
        reraise=True,
    )
    with _client() as client, _held(partial) as file:
        try:
            retrying(_attempt, client, url, file, version, size, progress)
        except _Broken as error:
            raise DownloadFailed(
                f"{url}: {ATTEMPTS} attempts in a row brought nothing ({error}). What has arrived is kept: repeat the "
                "command to go on. Without internet see `virnucpro weights list --urls` and --mirror."
            ) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise DownloadFailed(f"{url}: {_words(error)}. Check the address.") from error
        finally:
            file.flush()
            if not file.tell():
                _discard(partial, version)
        os.fsync(file.fileno())
        found = sha256_of(partial)
        if sha256 is not None and found != sha256:
            _discard(partial, version)
            raise DownloadFailed(
                f"{url}: not the published file (sha256 {found}, expected {sha256}), so it was thrown away. Fetch it "
                "again; if that does not help, something on the way (a proxy, a mirror) changes it."
            )
        os.replace(partial, path)
        version.unlink(missing_ok=True)
    return found


def download_text(url: str) -> str:
    """Fetch a small text.

    Raises:
        DownloadFailed: As `download`, at the first attempt.
    """
    try:
        with _client() as client:
            response = client.get(url)
            _check(response, url)
            return response.text
    except (_Broken, httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise DownloadFailed(f"{url}: {_words(error)}. Check the address and the connection.") from error


def _client() -> httpx2.Client:
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it tells of every request
    return httpx2.Client(follow_redirects=True, timeout=SILENCE, headers={"Accept-Encoding": "identity"})


def _discard(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _held(partial: Path) -> IO[bytes]:
    """The file that bytes are appended to, for this process alone; the system lets go of it when it is closed."""
    file = open(partial, "ab")  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise BadRequest(f"{partial}: another process is fetching this file. Wait for it.") from None
    except OSError as error:  # a file system without locks
        log.debug("No lock on %s: %s", partial, error)
    return file


class _Patience:
    """Attempts that brought something are free."""

    def __init__(self) -> None:
        self._in_vain = 0

    def ends(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        self._in_vain = 0 if isinstance(error, _Broken) and error.arrived else self._in_vain + 1
        return self._in_vain >= ATTEMPTS


def _say(state: RetryCallState) -> None:
    if state.outcome and state.next_action:
        log.warning("%s; trying again in %.0f s.", state.outcome.exception(), state.next_action.sleep)


def _attempt(
    client: httpx2.Client, url: str, file: IO[bytes], version: Path, size: int | None, progress: Progress
) -> None:
    """Append what is missing; return when the file is whole."""
    have = file.seek(0, os.SEEK_END)
    known = version.read_text(encoding="ascii") if version.exists() else ""
    ask = {"Range": f"bytes={have}-", "If-Range": known} if have and known else {}
    before, total = have, size
    try:
        with client.stream("GET", url, headers=ask) as response:
            if response.status_code == 416:
                if _total(response) == have:
                    return  # it was whole already
                file.truncate(0)
                raise _Broken("what is here is longer than the file")
            _check(response, url)
            if response.status_code != 206:
                have = before = 0
                file.truncate(0)
                version.write_text(_version_of(response), encoding="ascii")
            total = _total(response) or size
            if None not in (size, total) and total != size:
                raise DownloadFailed(f"{url}: the server has {total:,} bytes, but {size:,} are published.")
            _check_room(file, (total or 0) - have)
            progress(have, total)
            for block in response.iter_bytes():
                file.write(block)
                have += len(block)
                progress(have, total)
    except httpx2.UnsupportedProtocol:
        raise
    except httpx2.TransportError as error:
        file.flush()
        raise _Broken(_words(error), have - before) from error
    if total not in (None, have):
        file.flush()
        raise _Broken(f"the server ended at {have:,} of {total:,} bytes", have - before)


def _check(response: httpx2.Response, url: str) -> None:
    """Tell an answer that holds the file from all others."""
    status = response.status_code
    if status in _BUSY:
        raise _Broken(f"the server said {status} {response.reason_phrase}")
    if status not in (200, 206):
        raise DownloadFailed(
            f"{url}: the server said {status} {response.reason_phrase}. Check the address and your access."
        )
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise DownloadFailed(
            f"{url}: a web page came instead of the file (of a proxy, or a login?). Open the address in a browser."
        )


def _total(response: httpx2.Response) -> int | None:
    """Bytes of the whole file, if the server says so."""
    if (match := re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))) is not None:
        return int(match[1])
    length = response.headers.get("Content-Length", "")
    return int(length) if response.status_code == 200 and length.isdecimal() else None


def _version_of(response: httpx2.Response) -> str:
    """What the server calls this version of the file; empty if it has no name that If-Range could use."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') and tag.isascii() else response.headers.get("Last-Modified", "")


def _check_room(file: IO[bytes], more: int) -> None:
    free = shutil.disk_usage(Path(file.name).parent).free
    if more > free:
        raise BadRequest(
            f"{Path(file.name).parent}: {more / 1e9:.1f} GB are to come, and {free / 1e9:.1f} GB are free. Make room, "
            "or choose another --weights-dir."
        )


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
