"""Shared fixtures: golden files, and the real command in a real process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

GOLDEN = Path(__file__).parent / "golden"
COCO = GOLDEN / "coco"
TINY = GOLDEN / "tiny_mmpose.pth"
TINY_HEADS = 4

torch.set_num_threads(2)


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


@pytest.fixture
def predict(tmp_path: Path):
    """Runs `python -m sapiens_pl.predict` in a fresh process, in an empty working directory."""

    def run(*overrides: object, folder: str = "run", timeout: float = 240) -> Run:
        command = [
            sys.executable,
            "-m",
            "sapiens_pl.predict",
            f"hydra.run.dir={tmp_path / folder}",
            *map(str, overrides),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": ""}
        working = tmp_path / "elsewhere"
        working.mkdir(exist_ok=True)
        process = subprocess.run(command, cwd=working, env=environment, capture_output=True, text=True, timeout=timeout)
        return Run(process, tmp_path / folder)

    return run


def keypoints_of(result: dict) -> np.ndarray:
    return np.array([instance["keypoints"] for instance in result["instance_info"]]).reshape(-1, 2)
