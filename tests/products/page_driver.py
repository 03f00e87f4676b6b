"""A page in a browser without a screen, driven through chromedriver (www.w3.org/TR/webdriver2)."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
_FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
]
_KEYS = {"Tab": "\ue004", "Escape": "\ue00c", "Enter": "\ue007", "Left": "\ue012", "Right": "\ue014", "Down": "\ue015"}


class Page:
    """One browser window."""

    def __init__(self, session: str) -> None:
        self._session = session

    def open(self, path: Path, width: int, height: int = 900, dark: bool = False, media: str = "") -> None:
        """Shows a file at that width, as a screen of that kind."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", media=media, features=[scheme])
        _ask(f"{self._session}/url", {"url": path.as_uri()})

    def run(self, script: str, *given: Any) -> Any:
        """What a script returns."""
        return _ask(f"{self._session}/execute/sync", {"script": script, "args": list(given)})

    def wait(self, condition: str, seconds: float = 30) -> Any:
        """What a script returns as soon as that is true of it; what it returns last, if it never is."""
        end = time.monotonic() + seconds
        while not (found := self.run(condition)) and time.monotonic() < end:
            time.sleep(0.05)
        return found

    def press(self, *keys: str) -> None:
        """Keys by their names."""
        actions = [{"type": kind, "value": _KEYS[key]} for key in keys for kind in ("keyDown", "keyUp")]
        _ask(f"{self._session}/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def devtools(self, command: str, **parameters: Any) -> Any:
        return _ask(f"{self._session}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def complaints(self) -> list[str]:
        """What the console says of errors and warnings since it was asked last."""
        return [entry["message"] for entry in _ask(f"{self._session}/se/log", {"type": "browser"})]

    def requests(self) -> list[str]:
        """Which addresses were asked for since it was asked last."""
        entries = [
            json.loads(entry["message"])["message"]
            for entry in _ask(f"{self._session}/se/log", {"type": "performance"})
        ]
        sent = [each["params"]["request"]["url"] for each in entries if each["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith("data:")]

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """A PNG of what is seen, or of the whole page."""
        content = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(content))


@contextmanager
def browser() -> Iterator[Page]:
    """A browser of its own."""
    assert DRIVER is not None
    driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert driver.stdout is not None
        port = next(found[1] for line in driver.stdout if (found := re.search(r"on port (\d+)\.", line)))
        options = {"args": _FLAGS, "binary": CHROMIUM}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        address = f"http://127.0.0.1:{port}/session"
        session = _ask(address, {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        try:
            yield Page(f"{address}/{session}")
        finally:
            _ask(f"{address}/{session}", None, "DELETE")
    finally:
        driver.terminate()
        driver.wait(20)


def _ask(address: str, content: dict | None, method: str = "POST") -> Any:
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read())["value"]
