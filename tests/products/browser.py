"""Playing a video in a browser without a screen: how long it takes it to be, and what it shows."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from tempfile import TemporaryDirectory
from threading import Thread
from typing import NamedTuple

import cv2
import numpy as np

CHROMIUM = shutil.which("chromium")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)
_PAGE = """<!doctype html><video id="video" src="/film.mp4" preload="auto" muted></video><script>
const video = document.getElementById("video"), shown = [];
const tell = what => fetch("/told", {method: "POST", body: JSON.stringify(what)});
const seek = time => new Promise(done => { video.onseeked = done; video.currentTime = time; });
async function look() {
  for (const time of TIMES) {
    await seek(time);
    await new Promise(done => requestAnimationFrame(done));
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth; canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    shown.push(canvas.toDataURL("image/png"));
  }
  await tell({duration: video.duration, shown: shown});
}
video.onerror = () => tell({error: video.error.message});
video.oncanplaythrough = () => { video.oncanplaythrough = null; look().catch(error => tell({error: String(error)})); };
</script>"""


class Played(NamedTuple):
    """Seconds; (H, W, 3) uint8 BGR pictures at the times asked for."""

    duration: float
    pictures: list[np.ndarray]


def play(video: Path, times: Sequence[float]) -> Played:
    """What Chromium makes of a video, at some times in seconds."""
    told: Queue[dict] = Queue()
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), _handler(video, _PAGE.replace("TIMES", json.dumps(list(times))), told)
    )
    Thread(target=server.serve_forever, daemon=True).start()
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", f"http://127.0.0.1:{server.server_port}/"]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            answer = told.get(timeout=90)
        finally:
            browser.terminate()
            browser.wait(20)
            server.shutdown()
    assert "error" not in answer, answer
    return Played(answer["duration"], [_decoded(url) for url in answer["shown"]])


def _decoded(url: str) -> np.ndarray:
    data = base64.b64decode(url.split(",", 1)[1])
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def _handler(video: Path, page: str, told: Queue) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            content = video.read_bytes() if self.path == "/film.mp4" else page.encode()
            kind = "video/mp4" if self.path == "/film.mp4" else "text/html"
            first, last = 0, len(content) - 1
            if asked := self.headers.get("Range"):  # without ranges, a browser does not seek
                start, _, stop = asked.removeprefix("bytes=").partition("-")
                first, last = int(start), min(int(stop or last), last)
            self.send_response(206 if asked else 200)
            self.send_header("Content-Type", kind)
            self.send_header("Accept-Ranges", "bytes")
            if asked:
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            self.send_header("Content-Length", str(last + 1 - first))
            self.end_headers()
            self.wfile.write(content[first : last + 1])

        def do_POST(self) -> None:
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    return Handler
