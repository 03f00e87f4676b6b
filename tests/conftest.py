"""Shared fixtures: golden files, and the real command in a real process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sapiens_pl.models.checkpoints import save_network
from sapiens_pl.models.sapiens import SapiensPose, SapiensShape

GOLDEN = Path(__file__).parent / "golden"
COCO = GOLDEN / "coco"
TINY = GOLDEN / "tiny_mmpose.pth"
TINY_HEADS = 4

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def people() -> dict[str, np.ndarray]:
    """The 12 annotated boxes by photograph, (N, 4) xyxy."""
    rows = json.loads((GOLDEN / "crops.json").read_text())
    images = sorted({row["image"] for row in rows})
    return {image: np.array([row["box_xyxy"] for row in rows if row["image"] == image]) for image in images}


class Run:
    """One finished run of the command and its folder."""

    def __init__(self, process: subprocess.CompletedProcess, folder: Path) -> None:
        self.code, self.out, self.err = process.returncode, process.stdout, process.stderr
        self.folder = folder

    @property
    def results(self) -> dict[str, dict]:
        root = self.folder / "predictions"
        return {
            path.relative_to(root).as_posix()[: -len(".json")]: json.loads(path.read_text("utf-8"))
            for path in sorted(root.rglob("*.json"))
        }

    @property
    def failures(self) -> list[dict]:
        path = self.folder / "failures.jsonl"
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []

    @property
    def info(self) -> dict:
        return json.loads((self.folder / "run.json").read_text())


class Started:
    """The command while it runs, in a session of its own."""

    def __init__(self, process: subprocess.Popen, folder: Path) -> None:
        self.process, self.folder = process, folder

    def count(self) -> int:
        return sum(1 for _ in (self.folder / "predictions").rglob("*.json"))

    def wait_until(self, condition: Callable[[], object], seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None:
                raise AssertionError(f"the run has ended with {self.process.returncode}:\n{self.process.stderr.read()}")
            if time.monotonic() > end:
                self.process.kill()
                raise AssertionError(f"waited in vain:\n{self.process.stderr.read()}")
            time.sleep(0.01)

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def finish(self, timeout: float = 240) -> Run:
        out, err = self.process.communicate(timeout=timeout)
        return Run(subprocess.CompletedProcess([], self.process.returncode, out, err), self.folder)


@pytest.fixture
def start(tmp_path: Path):
    """Starts `python -m sapiens_pl.predict` in an empty working directory; `inject` is code to run before it."""
    started = []

    def start(*overrides: object, folder: str | Path = "run", inject: str = "") -> Started:
        how = ["-m", "sapiens_pl.predict"]
        if inject:
            script = tmp_path / "injected.py"
            script.write_text(f"{inject}\nfrom sapiens_pl.predict import main\nmain()")
            how = [str(script)]
        command = [sys.executable, *how, f"hydra.run.dir={tmp_path / folder}", *map(str, overrides)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        working = tmp_path / "elsewhere"
        working.mkdir(exist_ok=True)
        process = subprocess.Popen(
            command,
            cwd=working,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        started.append(process)
        return Started(process, tmp_path / folder)

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()


@pytest.fixture
def predict(start):
    """Runs `python -m sapiens_pl.predict` in a fresh process to its end."""
    return lambda *overrides, timeout=240, **options: start(*overrides, **options).finish(timeout)


@pytest.fixture(scope="session")
def mini(tmp_path_factory) -> list[str]:
    """Overrides: a network of Sapiens' architecture that costs next to nothing (random weights, 64x48 px)."""
    torch.manual_seed(0)
    shape = SapiensShape(8, 1, 2, 16, (8, 8), (8,), 17, (64, 48))
    path = tmp_path_factory.mktemp("mini") / "mini.safetensors"
    save_network(SapiensPose(shape), path)
    return [f"model.checkpoint={path}", "model.num_heads=2", "trainer.accelerator=cpu"]


def check_same(results: dict[str, dict], reference: dict[str, dict], but_one_in: int = 10_000) -> None:
    """The same images and instances in the same order, all but 1 in `but_one_in` keypoints within 0.01 px.

    The mini network's peaks are so flat that rounding can move the refinement: there, 1 in 100.
    """
    assert list(results) == list(reference)
    far = total = 0
    for name, expected in reference.items():
        found = results[name]
        assert found["image"] == expected["image"]
        for key in ("instance_id", "bbox", "bbox_score"):
            assert [i[key] for i in found["instance_info"]] == [i[key] for i in expected["instance_info"]]
        distance = np.abs(keypoints_of(found) - keypoints_of(expected)).max(axis=1, initial=0)
        far, total = far + (distance > 0.01).sum(), total + len(distance)
    assert total > 0 and far <= total / but_one_in


def keypoints_of(result: dict) -> np.ndarray:
    return np.array([instance["keypoints"] for instance in result["instance_info"]]).reshape(-1, 2)
