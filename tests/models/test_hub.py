"""Weights by name from a small imitation of the Hugging Face hub, by the real command in real processes."""

from __future__ import annotations

import json
import re
import threading
import time
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from conftest import COCO

from sapiens_pl.models.checkpoints import save_network
from sapiens_pl.models.hub import cached_weights, choose_files
from sapiens_pl.models.sapiens import SapiensPose, SapiensShape

OWNER, NAME = "facebook", "sapiens-pose-0.3b-torchscript"
FILE = "sapiens_0.3b_goliath_best_goliath_AP_575_torchscript.pt2"
COMMIT = "0123456789" * 4


_AFRESH = """
import os, sys
os.environ.update({!r})
for name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
    del sys.modules[name]  # it reads the environment when it is imported, which others have done
from huggingface_hub import constants
constants.DOWNLOAD_CHUNK_SIZE = {}
"""


class Hub:
    """What the hub answers for one repository.

    `refusal` is its error code, `cut` the length of the next download, `seconds` what a download takes.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.refusal, self.cut, self.seconds = files, None, None, 0.0
        self.requests: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def downloads(self) -> list[str]:
        return [line for line in self.requests if line.startswith("GET") and "/resolve/" in line]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, hub: Hub, *args) -> None:
        self.hub = hub
        super().__init__(*args)

    def log_message(self, *args) -> None: ...

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        start = int((re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) or [0, 0])[1])
        self.hub.requests.append(f"{self.command} {self.path} from {start}")
        name = self.path.partition("/resolve/main/")[2]
        if self.hub.refusal:
            headers = {"X-Error-Code": self.hub.refusal, "X-Error-Message": "no"}
            self._answer(403 if "Gated" in self.hub.refusal else 404, b"", headers)
        elif self.path.partition("?")[0] == f"/api/models/{OWNER}/{NAME}":
            siblings = [{"rfilename": each, "size": len(data)} for each, data in self.hub.files.items()]
            body = json.dumps({"id": f"{OWNER}/{NAME}", "sha": COMMIT, "siblings": siblings}).encode()
            self._answer(200, body, {"Content-Type": "application/json"})
        elif name in self.hub.files:
            data = self.hub.files[name]
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{sha256(data).hexdigest()}"', "Accept-Ranges": "bytes"}
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self._answer(206 if start else 200, data[start:], headers)
        else:
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET" and self.hub.cut is not None and "/resolve/" in self.path:
            self.wfile.write(body[: self.hub.cut])
            self.hub.cut, self.close_connection = None, True
        elif self.command == "GET":
            time.sleep(self.hub.seconds if "/resolve/" in self.path else 0)
            self.wfile.write(body)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> bytes:
    """Of a network of next to no size with 308 keypoints."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_network(SapiensPose(SapiensShape(8, 1, 2, 16, (8, 8), (8,), 308, (64, 48))), path)
    return path.read_bytes()


@pytest.fixture
def hub(weights):
    hub = Hub({"README.md": b"a model card", FILE: weights, "sapiens_0.3b_goliath_AP_575.pth": b"large"})
    yield hub
    hub.server.shutdown()


@pytest.fixture
def run_by_name(start, tmp_path):
    """The command with the model's name, a hub cache of its own, and further environment variables."""

    def begin(url: str, *more: str, folder: str = "run", chunk: int = 2**20, **environment: str):
        environment |= {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "hf"), "TQDM_POSITION": "-1"}
        options = ["model=sapiens_0.3b_308", f"data.images={COCO}", "boxes=whole_image", "trainer.accelerator=cpu"]
        inject = _AFRESH.format(environment, chunk)
        return start(*options, *more, "data.num_workers=1", inject=inject, folder=folder)

    def run(url: str, *more: str, **options):
        return begin(url, *more, **options).finish()

    run.start = begin
    return run


def test_weights_come_by_name_once_and_then_offline(hub, run_by_name, tmp_path):
    first = run_by_name(hub.url)
    assert first.code == 0, first.err
    assert f"Downloading {FILE} of {OWNER}/{NAME} (licence: CC BY-NC 4.0)" in first.out
    assert re.search(rf"{FILE[-30:]}: 100%", first.err)  # the bar, which off a terminal TQDM_POSITION asks for
    assert first.info["counts"]["people"] == 4
    assert first.info["settings"]["model.checkpoint"] == f"SHA-256 {sha256(hub.files[FILE]).hexdigest()}"
    assert len(hub.downloads()) == 1
    hub.requests.clear()
    again = run_by_name(hub.url)
    assert again.code == 0 and "4 done" in again.out and hub.requests == []
    assert run_by_name("http://127.0.0.1:9", HF_HUB_OFFLINE="1").code == 0


def test_a_connection_that_broke_is_taken_up_where_it_was(hub, run_by_name):
    hub.cut = 2000
    run = run_by_name(hub.url, chunk=500)
    assert run.code == 0, run.err
    starts = [int(line.rpartition(" ")[2]) for line in hub.downloads()]
    assert len(starts) == 2 and starts[0] == 0 and 0 < starts[1] <= 2000


def test_processes_that_start_together_download_once(hub, run_by_name, tmp_path):
    hub.seconds = 1.0
    others = [run_by_name.start(hub.url, folder=folder) for folder in ("one", "other")]
    assert [other.finish().code for other in others] == [0, 0]
    assert len(hub.downloads()) == 1


@pytest.mark.parametrize(
    ("refusal", "complaint"),
    [
        ("GatedRepo", "is gated: accept its terms at https://huggingface.co/facebook/sapiens-pose-0.3b-torchscript"),
        ("RepoNotFound", "The Hugging Face hub has no repository facebook/sapiens-pose-0.3b-torchscript"),
        (None, r"holds no weights called \*sapiens_0.3b_goliath_\* \(it holds README.md\)"),
    ],
)
def test_what_the_hub_refuses_is_said_in_a_sentence(hub, run_by_name, refusal, complaint):
    hub.refusal = refusal
    del hub.files[FILE], hub.files["sapiens_0.3b_goliath_AP_575.pth"]
    check_refused(run_by_name(hub.url), complaint)


@pytest.mark.parametrize(
    ("mistake", "complaint"),
    [
        (["boxes=json", "boxes.file=nowhere.json"], "boxes.file=nowhere.json"),
        (["annotations=nowhere.json"], "annotations=nowhere.json cannot be read"),
        (["output.dir=/proc/self/run"], "/proc/self/run"),
        (["boxes.threshold=0.3"], "boxes.threshold"),
    ],
)
def test_mistakes_are_found_before_anything_is_fetched(hub, run_by_name, mistake, complaint):
    run = run_by_name(hub.url, *mistake)
    assert run.code in (1, 2) and run.err.count("\n") == 1 and complaint in run.err, run.err
    assert hub.requests == []


def test_offline_and_unreachable(run_by_name):
    check_refused(run_by_name("http://127.0.0.1:9"), r"could not be fetched from http://127.0.0.1:9 \(\w+")
    check_refused(run_by_name("http://127.0.0.1:9", HF_HUB_OFFLINE="1"), "HF_HUB_OFFLINE is set and .* has no weights")


def check_refused(run, complaint):
    assert run.code == 2
    lines = run.err.strip().splitlines()
    assert len(lines) == 1, run.err
    assert re.search(complaint, lines[0]), lines[0]
    assert "by hand and set model.checkpoint=FILE" in lines[0]


def test_the_best_file_of_a_repository_is_chosen():
    v1 = "sapiens_1b_goliath_best_goliath_AP_"
    assert choose_files([f"{v1}639.pth", f"{v1}640_torchscript.pt2", "README.md"], "*goliath*") == [
        f"{v1}640_torchscript.pt2"
    ]
    assert choose_files([f"{v1}639_torchscript.pt2", f"{v1}640_torchscript.pt2"], "*") == [f"{v1}640_torchscript.pt2"]
    pattern = "*sapiens_1b_coco_*best_coco_AP_*"
    host = "sapiens_host/pose/checkpoints/sapiens_1b/sapiens_1b_coco_"
    both = [f"{host}best_coco_AP_821.pth", f"{host}wholebody_best_coco_wholebody_AP_727.pth"]
    assert choose_files(both, pattern) == both[:1]
    assert choose_files(both, "*sapiens_1b_coco_*best_coco_wholebody_AP_*") == both[1:]
    folder = ["config.json", "model.safetensors", "preprocessor_config.json", "sapiens2_1b_pose.safetensors"]
    assert choose_files(folder, "sapiens2_1b_pose.safetensors") == [*folder[0:3:2], "model.safetensors"]
    assert choose_files(folder[3:], "sapiens2_1b_pose.safetensors") == folder[3:]
    assert choose_files(["config.json"], "*_pose.safetensors") == []


def test_only_whole_weights_count_as_cached(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--facebook--sapiens2-pose-1b" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    find = partial(cached_weights, "facebook/sapiens2-pose-1b", "sapiens2_1b_pose.safetensors")
    assert find() is None
    (snapshot / "config.json").touch()
    (snapshot / "model-00001-of-00002.safetensors").touch()
    assert find() is None
    (snapshot / "model-00002-of-00002.safetensors").symlink_to(tmp_path / "a_blob_that_is_not_there")
    assert find() is None
    Path(tmp_path / "a_blob_that_is_not_there").touch()
    assert find() == snapshot
