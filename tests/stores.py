"""A real S3 server on this machine, and a line to it that is slow, busy or cut."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import pytest

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "very-secret", "AWS_DEFAULT_REGION": "us-east-1"}


class Answer(NamedTuple):
    """Instead of the server's own: `status` without a body, or, with None, the first half of the body."""

    status: int | None
    body: bytes = b""


class Line:
    """Between a client and the server: what passes is counted, and may be spoilt.

    Attributes:
        seconds: that each request waits.
        spoil: is told the number of each request, from 1, its method and its path; None lets it pass.
        asked: "METHOD path" of each request.
    """

    def __init__(self, port: int) -> None:
        self.seconds = 0.0
        self.spoil: Callable[[int, str, str], Answer | None] = lambda number, method, path: None
        self.asked: list[str] = []
        self._lock = threading.Lock()
        line = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                line.pass_on(self, port)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def pass_on(self, handler: BaseHTTPRequestHandler, port: int) -> None:
        body = self._body(handler)
        with self._lock:
            self.asked.append(f"{handler.command} {handler.path}")
            number = len(self.asked)
        if self.seconds:
            time.sleep(self.seconds)
        answer = self.spoil(number, handler.command, handler.path)
        if answer is not None and answer.status is not None:
            self._send(handler, answer.status, {"Content-Length": str(len(answer.body))}, answer.body)
            return
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request(handler.command, handler.path, body, dict(handler.headers))
        response = connection.getresponse()
        data, headers = response.read(), dict(response.getheaders())
        connection.close()
        headers = {
            name: value for name, value in headers.items() if name.lower() not in ("connection", "date", "server")
        }
        if handler.command != "HEAD":
            headers["Content-Length"] = str(len(data))
        self._send(handler, response.status, headers, data if answer is None else data[: len(data) // 2])
        handler.close_connection = answer is not None

    @staticmethod
    def _body(handler: BaseHTTPRequestHandler) -> bytes:
        if "100-continue" in handler.headers.get("Expect", ""):
            handler.send_response_only(100)
            handler.end_headers()
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))

    @staticmethod
    def _send(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], data: bytes) -> None:
        handler.send_response_only(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)
        handler.wfile.flush()

    def lead(self, monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
        """Has this process and those that it starts find the server here, and whatever else they are to find."""
        for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL": self.url} | variables).items():
            monkeypatch.setenv(name, value)

    def close(self) -> None:
        self._server.shutdown()


@contextmanager
def s3_line() -> Iterator[Line]:
    """A fresh server with one bucket, `bucket`."""
    moto = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    line = Line(port)
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/moto-api/reset")
    connection.getresponse().read()
    connection.request("PUT", "/bucket", headers={"Authorization": "AWS4-HMAC-SHA256 Credential=key/x/us-east-1/s3/"})
    connection.getresponse().read()
    connection.close()
    try:
        yield line
    finally:
        line.close()
        server.stop()
