"""Products of made-up records, made as the end of a run makes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from records.made_up import make_records

from sapiens_pl.core.configs import config_folder
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.products.of_run import make_of_run
from sapiens_pl.records.run_folder import RunFolder


def settings(*overrides: str) -> DictConfig:
    with initialize_config_dir(config_folder(), version_base="1.3"):
        return compose("make", overrides=list(overrides))


def run_folder(path: Path) -> RunFolder:
    folder = RunFolder(path)
    folder.open()
    return folder


def make_products(path: Path, results: Sequence[PoseResult], formats: str, *overrides: str) -> Path:
    """Records the results in a run's folder, and makes products of all that is there."""
    count = results[0].keypoints.shape[1]
    make_records(path, list(results), count)
    folder = run_folder(path)
    made = make_of_run(folder, settings(f"output.formats=[{formats}]", *overrides))
    assert not made.failures
    folder.close()
    return path
