"""A real web server on this machine, some of whose files cannot be had."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote


class Web:
    """Serves files, with ranges.

    Attributes:
        files: their bytes by path; a folder is answered with a page of links.
        asked: "METHOD path" of each request.
        fine_after: so many requests later everything is served well.
        ranges: whether it knows them.

    Names in `files` do not matter for what these are answered with: `/loop*` leads to itself, `/silent*` never answers,
    `/half*` says its right length, sends half of it and hangs up, `/stalls*` sends half and nothing more.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.fine_after = 1 << 30
        self.ranges = True
        self._over = threading.Event()
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                web.asked.append(f"{self.command} {self.path}")
                web._answer(self)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = unquote(handler.path.partition("?")[0])
        kind = path.rstrip("/").rpartition("/")[2].partition(".")[0] if len(self.asked) <= self.fine_after else ""
        if kind == "silent":
            self._over.wait()
            handler.close_connection = True
            return
        if kind == "loop":
            self._send(handler, 302, b"", Location=path)
            return
        if f"{path}/" in self._folders():
            self._send(handler, 301, b"", Location=quote(f"{path}/"))
            return
        data = self._links(path) if path.endswith("/") else self.files.get(path)
        if data is None:
            self._send(handler, 404, b"")
            return
        status, given, extra = 200, data, dict[str, str]()
        asked = handler.headers.get("Range") if self.ranges else None
        if asked is not None:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            stop = min(int(last) + 1 if last else len(data), len(data))
            status, given = 206, data[int(first) : stop]
            extra["Content-Range"] = f"bytes {first}-{stop - 1}/{len(data)}"
        self._send(handler, status, given, **extra, part=0.5 if kind in ("half", "stalls") else 1.0)
        if kind == "stalls":
            self._over.wait()
        handler.close_connection = kind in ("half", "stalls")

    def _folders(self) -> set[str]:
        return {
            "/".join([*path.split("/")[:depth], ""]) for path in self.files for depth in range(2, path.count("/") + 1)
        }

    def _links(self, path: str) -> bytes | None:
        below = {name[len(path) :].partition("/") for name in self.files if name.startswith(path)}
        links = "".join(f'<a href="{quote(first)}{slash}">x</a>' for first, slash, _ in sorted(below))
        return f"<html><body>{links}</body></html>".encode() if links else None

    @staticmethod
    def _send(handler: BaseHTTPRequestHandler, status: int, data: bytes, part: float = 1.0, **headers: str) -> None:
        handler.send_response_only(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(data[: int(len(data) * part)])
            handler.wfile.flush()


@contextmanager
def web_server() -> Iterator[Web]:
    web = Web()
    try:
        yield web
    finally:
        web.close()
