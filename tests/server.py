"""A web server that answers as real ones do when something is wrong; fixture `server`."""

import os
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Server:
    """Answers path by path: the first request by the first of its answers, and so on; the last one stays.

    requests: (path, Range header) of every request.
    """

    def __init__(self) -> None:
        self.answers: dict[str, list[Callable]] = {}
        self.requests: list[tuple[str, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.requests.append((self.path, self.headers.get("Range")))
                left = outer.answers.get(self.path, [status(404)])
                answer = left.pop(0) if len(left) > 1 else left[0]
                answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # of a client that has gone: no business of the test's output
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def ranges(self) -> list[str | None]:
        return [asked for _, asked in self.requests]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):  # which would be asked for this server, too
            monkeypatch.delenv(name)
    server = Server()
    yield server
    server.close()


def file(content: bytes, tag: str | None = '"one"', until: int | None = None, pause: float = 0.0) -> Callable:
    """A file, in parts if asked for.

    Args:
        tag: Its ETag, if any. until: Where the connection breaks. pause: Seconds of silence before that.
    """

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked, first, code = handler.headers.get("Range"), 0, 200
        if asked and tag is not None and handler.headers.get("If-Range") in (None, tag):
            first = int(asked.removeprefix("bytes=").rstrip("-"))
            code = 206 if first < len(content) else 416
        body = content[first:] if code != 416 else b""
        handler.send_response(code)
        if tag is not None:
            handler.send_header("ETag", tag)
        if code == 206:
            handler.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        if code == 416:
            handler.send_header("Content-Range", f"bytes */{len(content)}")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body if until is None else content[first:until])
        if until is not None:
            handler.wfile.flush()
            time.sleep(pause)
            handler.close_connection = True

    return answer


def status(code: int, **headers: str) -> Callable:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in ({"Content-Length": "0"} | headers).items():
            handler.send_header(name, value)
        handler.end_headers()

    return answer


def web_page(handler: BaseHTTPRequestHandler) -> None:
    """What a captive portal says to everything."""
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html; charset=utf-8")
    handler.send_header("Content-Length", "18")
    handler.end_headers()
    handler.wfile.write(b"<h1>Log in</h1>\r\n\r")


def raw(*lines: str, body: bytes = b"") -> Callable:
    """Whatever is wanted, and the connection closes."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        handler.close_connection = True

    return answer
