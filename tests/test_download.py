"""Downloads against a server that breaks, dawdles, cuts off and lies."""

import hashlib
import random
from types import SimpleNamespace

import pytest
from server import file, status, web_page

from virnucpro import download as module
from virnucpro.download import ATTEMPTS, DownloadFailed, download
from virnucpro.errors import BadRequest
from virnucpro.files import unfinished

CONTENT = random.Random(1).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = 150_000
CUT = file(CONTENT, until=HALF)


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.01)
    monkeypatch.setattr(module, "SILENCE", 0.3)


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
        ([file(CONTENT, until=HALF, pause=5), file(CONTENT)], [None, f"bytes={HALF}-"]),
        ([status(503), status(429), file(CONTENT)], [None, None, None]),
        ([file(CONTENT, tag=None, until=HALF), file(CONTENT, tag=None)], [None, None]),
        ([file(CONTENT, tag='W/"weak"', until=HALF), file(CONTENT)], [None, None]),
        ([status(302, Location="/elsewhere")], [None, None]),
    ],
    ids=["whole", "no-tag", "cut", "cut-twice", "silent", "busy", "cut-without-tag", "cut-with-weak-tag", "redirect"],
)
def test_what_arrives_is_whole(server, tmp_path, answers, ranges):
    server.answers["/elsewhere"] = [file(CONTENT)]
    assert fetch(server, tmp_path / "w", *answers, sha256=SHA256, size=len(CONTENT)) == SHA256
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert server.ranges() == ranges
    assert left(tmp_path / "w") == ["w"]


def test_a_file_that_changes_between_attempts_is_fetched_from_its_start(server, tmp_path):
    old = file(bytes(len(CONTENT)), tag='"old"', until=HALF)
    assert fetch(server, tmp_path / "w", old, file(CONTENT, tag='"new"')) == SHA256
    assert server.ranges() == [None, f"bytes={HALF}-"]
    assert (tmp_path / "w").read_bytes() == CONTENT


def test_the_next_command_goes_on(server, tmp_path):
    with pytest.raises(DownloadFailed, match=f"{ATTEMPTS} attempts in a row brought nothing .* kept: repeat"):
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
    ],
    ids=["absent", "forbidden", "web-page", "wrong-bytes", "wrong-size", "redirected-in-circles"],
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
    with pytest.raises(BadRequest, match=r"0.0 GB are to come, and 0.0 GB are free. Make room"):
        fetch(server, tmp_path / "w", file(CONTENT))


def test_two_processes_do_not_mix_their_bytes(server, tmp_path):
    with module._held(tmp_path / ".w.part"), pytest.raises(BadRequest, match="another process is fetching this file"):
        fetch(server, tmp_path / "w", file(CONTENT))


def test_progress(server, tmp_path):
    seen = []
    fetch(server, tmp_path / "w", CUT, file(CONTENT), progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, len(CONTENT)) and seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
