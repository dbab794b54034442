"""Downloads against a server that breaks, dawdles, cuts off and lies."""

import gzip
import hashlib
import random
from types import SimpleNamespace

import pytest
from server import file, raw, status, web_page
from surroundings import HANG

from virnucpro.errors import BadRequest
from virnucpro.system.files import locked, unfinished
from virnucpro.weights import download as module
from virnucpro.weights.download import ATTEMPTS, DownloadFailed, download

CONTENT = random.Random(1).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = 150_000
CUT = file(CONTENT, until=HALF)


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.01)
    monkeypatch.setattr(module, "SILENCE", HANG)  # a busy machine falls silent, too


def fetch(server, path, *answers, **options):
    server.answers["/w"] = list(answers)
    return download(f"{server.url}/w", path, **options)


def left(path):
    return sorted(file.name for file in path.parent.iterdir())


@pytest.mark.parametrize(
    "answers, ranges",
    [
        ([file(CONTENT)], [None]),
        ([file(CONTENT, tag=None)], [None]),
        ([CUT, file(CONTENT)], [None, f"bytes={HALF}-"]),
        ([file(CONTENT, until=100), file(CONTENT, until=HALF), file(CONTENT)], [None, "bytes=100-", f"bytes={HALF}-"]),
        ([status(503), status(429), file(CONTENT)], [None, None, None]),
        ([file(CONTENT, tag=None, until=HALF), file(CONTENT, tag=None)], [None, None]),
        ([file(CONTENT, tag='W/"weak"', until=HALF), file(CONTENT)], [None, None]),
        ([status(302, Location="/elsewhere")], [None, None]),
        ([raw("HTTP/1.0 200 OK", body=CONTENT)], [None]),  # its end is where the connection ends
        ([raw("HTTP/1.1 200 OK", f"Content-Length: {len(CONTENT)}", "Last-Modified: H\xe9ute", body=CONTENT)], [None]),
        (
            [
                CUT,
                raw("HTTP/1.1 206 Partial Content", "Content-Range: bytes 0-9/300000", body=bytes(10)),
                file(CONTENT),
            ],
            [None, f"bytes={HALF}-", None],
        ),
    ],
    ids=[
        "whole",
        "no-tag",
        "cut",
        "cut-twice",
        "busy",
        "cut-without-tag",
        "cut-with-weak-tag",
        "redirect",
        "http-1.0",
        "odd-date",
        "another-part",
    ],
)
def test_what_arrives_is_whole(server, tmp_path, answers, ranges):
    server.answers["/elsewhere"] = [file(CONTENT)]
    assert fetch(server, tmp_path / "w", *answers, sha256=SHA256, size=len(CONTENT)) == SHA256
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert server.ranges() == ranges
    assert left(tmp_path / "w") == ["w"]


def test_a_server_that_falls_silent_is_asked_again(server, tmp_path, monkeypatch):
    """More often than once, where it comes too late for its first byte."""
    monkeypatch.setattr(module, "SILENCE", 1.0)

    def answer(handler):
        file(CONTENT, until=None if "Range" in handler.headers else HALF, pause=HANG)(handler)

    assert fetch(server, tmp_path / "w", answer, sha256=SHA256) == SHA256
    assert set(server.ranges()) == {None, f"bytes={HALF}-"}


def test_a_file_that_changes_between_attempts_is_fetched_from_its_start(server, tmp_path):
    old = file(bytes(len(CONTENT)), tag='"old"', until=HALF)
    assert fetch(server, tmp_path / "w", old, file(CONTENT, tag='"new"')) == SHA256
    assert server.ranges() == [None, f"bytes={HALF}-"]
    assert (tmp_path / "w").read_bytes() == CONTENT


def test_the_next_command_goes_on(server, tmp_path):
    with pytest.raises(DownloadFailed, match=f"{ATTEMPTS} attempts in a row brought nothing new .* kept: repeat"):
        fetch(server, tmp_path / "w", CUT, status(503))
    assert unfinished(tmp_path / "w").stat().st_size == HALF
    assert len(server.requests) == 1 + ATTEMPTS
    server.requests.clear()
    fetch(server, tmp_path / "w", file(CONTENT), sha256=SHA256)
    assert server.ranges() == [f"bytes={HALF}-"]
    assert (tmp_path / "w").read_bytes() == CONTENT


def test_a_program_that_was_killed_when_all_had_arrived(server, tmp_path):
    (tmp_path / ".w.part").write_bytes(CONTENT)
    (tmp_path / ".w.part.version").write_text('"one"')
    assert fetch(server, tmp_path / "w", file(CONTENT), sha256=SHA256) == SHA256
    assert server.ranges() == [f"bytes={len(CONTENT)}-"]
    assert left(tmp_path / "w") == ["w"]


def test_more_than_the_file_has_is_thrown_away(server, tmp_path):
    (tmp_path / ".w.part").write_bytes(CONTENT + b"more")
    (tmp_path / ".w.part.version").write_text('"one"')
    assert fetch(server, tmp_path / "w", file(CONTENT)) == SHA256
    assert (tmp_path / "w").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "answer, options, message",
    [
        (status(404), {}, "the server said 404 Not Found. Check the address"),
        (status(403), {}, "the server said 403 Forbidden"),
        (web_page, {}, "a web page came instead of the file"),
        (file(b"x" * 300_000), {"sha256": SHA256}, "not the published file .* so it was thrown away"),
        (file(CONTENT[:-1]), {"sha256": SHA256, "size": len(CONTENT)}, "has 299,999 bytes, but 300,000 are published"),
        (status(302, Location="/w"), {}, "redirect"),
        (raw("HTTP/1.1 200 OK", "Content-Encoding: gzip", body=gzip.compress(CONTENT)), {}, r"encoded it \(gzip\)"),
        (raw("HTTP/1.0 200 OK", body=CONTENT + b"x"), {"size": len(CONTENT)}, "more than the 300,000 bytes"),
    ],
    ids=[
        "absent",
        "forbidden",
        "web-page",
        "wrong-bytes",
        "wrong-size",
        "redirected-in-circles",
        "encoded",
        "too-much",
    ],
)
def test_what_is_not_the_file_is_refused_and_leaves_nothing(server, tmp_path, answer, options, message):
    with pytest.raises(DownloadFailed, match=message):
        fetch(server, tmp_path / "w", answer, **options)
    assert not left(tmp_path / "w")
    assert len({path for path, _ in server.requests}) == 1


@pytest.mark.parametrize("url", ["ftp://example.org/w", "http://[", "no address", "http://127.0.0.1:1/w"])
def test_bad_addresses(tmp_path, url):
    with pytest.raises(DownloadFailed):
        download(url, tmp_path / "w")
    assert not left(tmp_path / "w")


def test_a_file_that_is_there_stays_until_the_new_one_is_whole(server, tmp_path):
    (tmp_path / "w").write_text("old")
    with pytest.raises(DownloadFailed):
        fetch(server, tmp_path / "w", file(b"x" * 300_000), sha256=SHA256)
    assert (tmp_path / "w").read_text() == "old"


def test_no_room(server, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(BadRequest, match=r"0.3 MB are to come, and 0.0 MB are free. Make room"):
        fetch(server, tmp_path / "w", file(CONTENT))


def test_two_processes_do_not_mix_their_bytes(server, tmp_path):
    with locked(tmp_path / ".w.part", "ab"), pytest.raises(BadRequest, match="another process is fetching this file"):
        fetch(server, tmp_path / "w", file(CONTENT))


def test_progress(server, tmp_path):
    seen = []
    fetch(server, tmp_path / "w", CUT, file(CONTENT), progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, len(CONTENT)) and seen[-1] == (len(CONTENT), len(CONTENT))
    received = seen[: seen.index((len(CONTENT), len(CONTENT))) + 1]
    assert received == sorted(received)


def test_it_is_asked_for_as_it_is(server, tmp_path):
    """Servers that compress would do so; then nothing could be gone on with."""
    seen = []

    def answer(handler):
        seen.append(handler.headers["Accept-Encoding"])
        file(CONTENT)(handler)

    fetch(server, tmp_path / "w", answer)
    assert seen == ["identity"]


@pytest.mark.parametrize(
    "answer", [file(CONTENT, tag=None, until=HALF), raw("HTTP/1.1 200 OK", "Content-Length: 300000", body=bytes(9))]
)
def test_a_server_that_always_breaks_at_the_same_place_is_given_up(server, tmp_path, answer):
    """Without ranges each attempt begins at 0, so its bytes are nothing new."""
    with pytest.raises(DownloadFailed, match=f"{ATTEMPTS} attempts in a row brought nothing new"):
        fetch(server, tmp_path / "w", answer)
    assert len(server.requests) == 1 + ATTEMPTS


def test_a_damaged_note_of_the_version_only_costs_the_rest(server, tmp_path):
    (tmp_path / ".w.part").write_bytes(CONTENT[:HALF])
    (tmp_path / ".w.part.version").write_bytes(b"\xff\x00\n")
    assert fetch(server, tmp_path / "w", file(CONTENT)) == SHA256
    assert server.ranges() == [None]


def test_a_download_that_another_process_has_just_finished(tmp_path, monkeypatch):
    """Between our opening the unfinished file and locking it, it got its final name: we must not write to that."""
    import fcntl

    (tmp_path / "x.part").write_text("whole")
    plain = fcntl.flock

    def finish_first(descriptor, how):
        if (tmp_path / "x.part").exists() and not (tmp_path / "x").exists():
            (tmp_path / "x.part").rename(tmp_path / "x")
        plain(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", finish_first)
    with locked(tmp_path / "x.part", "ab") as ours:
        ours.write(b"ours")
    assert ((tmp_path / "x").read_text(), (tmp_path / "x.part").read_text()) == ("whole", "ours")


@pytest.mark.parametrize(
    "name, value", [("ALL_PROXY", "socks5://127.0.0.1:9"), ("HTTPS_PROXY", "foo://x"), ("SSL_CERT_FILE", "/none/there")]
)
def test_bad_settings_of_the_connection(tmp_path, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(DownloadFailed, match=r"settings of the connection cannot be used .* SSL_CERT_FILE"):
        download("https://127.0.0.1:1/w", tmp_path / "w")
    assert not left(tmp_path / "w")
