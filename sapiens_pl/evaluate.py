"""The accuracy of a run: `python -m sapiens_pl.evaluate predictions=OUTPUT annotations=coco.json`."""

from __future__ import annotations

import os
import shlex
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from sapiens_pl.accuracy.annotations import read_annotations
from sapiens_pl.accuracy.of_run import evaluate_run
from sapiens_pl.core.bar import Bar
from sapiens_pl.core.configs import config_folder
from sapiens_pl.core.errors import ConfigError, SapiensError
from sapiens_pl.core.interrupts import run
from sapiens_pl.core.logs import quieten_libraries
from sapiens_pl.core.settings import check, number
from sapiens_pl.core.terminal import keep_going_without_a_terminal
from sapiens_pl.records.at_hand import at_hand, shown
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.records.store import FOLDER
from sapiens_pl.run.command import complain, disk_error, disk_sentence, hydra_sentence, sentence_of, take_arguments
from sapiens_pl.run.run_log import held_back, logged_in


def _evaluate(cfg: DictConfig) -> None:
    check({"oks_nms_threshold": number(), "moved_pixels": number(0)}, cfg, "")
    with at_hand(cfg.predictions, only_read=True) as path:
        path = path.expanduser()
        if not (path / FOLDER).is_dir():
            given = shown(cfg.predictions)
            raise ConfigError(
                f"predictions={given} is not an output folder of a run; give the one that holds {FOLDER}/."
            )
        annotations = read_annotations(cfg.annotations)
        folder = RunFolder(path, rank="evaluate")
        folder.open()
        command = shlex.join(["evaluate", *HydraConfig.get().overrides.task])
        try:
            with logged_in(path, command), Bar("evaluation", "image") as bar:
                evaluate_run(folder, annotations, cfg.oks_nms_threshold, cfg.handed_out, cfg.moved_pixels, bar)
        finally:
            folder.close()


def _run_job(cfg: DictConfig) -> int:
    """`_evaluate`, with every error for people printed as one sentence."""
    quieten_libraries()
    try:
        _evaluate(cfg)
    except SapiensError as error:
        return complain(str(error), 2 if isinstance(error, ConfigError) else 1)
    except OmegaConfBaseException as error:
        return complain(sentence_of(error), 2)
    except OSError as error:
        return complain(disk_sentence(error), 1)
    return 0


def main() -> None:
    """Exit codes: 0 evaluated, 1 the result could not be written, 2 there is nothing to evaluate."""
    keep_going_without_a_terminal()
    take_arguments()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises its errors instead of printing them
    codes: list[int] = []

    @hydra.main(version_base="1.3", config_path=config_folder(), config_name="evaluate")
    def task(cfg: DictConfig) -> None:
        with held_back():
            codes.append(_run_job(cfg))

    try:
        task()
    except (HydraException, OmegaConfBaseException) as error:
        codes.append(complain(hydra_sentence(error), 2))
    except Exception as error:
        disk = disk_error(error)
        if disk is None:
            raise
        codes.append(complain(disk_sentence(disk), 2))
    sys.exit(max(codes, default=0))


if __name__ == "__main__":
    run(main)
