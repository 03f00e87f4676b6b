"""The command: `python -m sapiens_pl.predict`, configured by Hydra (files in `conf/`)."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import hydra
import lightning as L
from hydra.errors import HydraException
from hydra.utils import instantiate
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from sapiens_pl import demo
from sapiens_pl.data.datamodule import ImageDataModule
from sapiens_pl.errors import ConfigError, SapiensError
from sapiens_pl.estimator import flip_indices_for
from sapiens_pl.keypoints import keypoint_spec
from sapiens_pl.models.checkpoints import file_sha256
from sapiens_pl.module import PoseModule
from sapiens_pl.progress import CropProgress
from sapiens_pl.report import device_name, peak_memory, summary_table, versions
from sapiens_pl.writers.callback import PoseWriter
from sapiens_pl.writers.run_folder import RunFolder

log = logging.getLogger("sapiens_pl")

EXIT_COMPLETE, EXIT_NOTHING, EXIT_BAD_CONFIG = 0, 1, 2


def predict(cfg: DictConfig) -> int:
    """Runs one prediction as configured; returns the exit code.

    Raises:
        ConfigError: before anything has run.
        SapiensError: the run cannot go on; what is written stays.
    """
    start = time.perf_counter()
    check_switches(cfg)
    demo_notes = demo.fill_in(cfg)
    folder = RunFolder(cfg.output.dir)
    network = instantiate(cfg.model.network)
    spec = keypoint_spec(network.shape.num_keypoints)
    settings = result_settings(cfg)
    if getattr(rank_zero_only, "rank", 0) == 0:
        prepare_folder(folder, cfg, settings)
    data: ImageDataModule = instantiate(
        cfg.data,
        input_hw=network.shape.input_hw,
        finished=lambda: folder.finished(cfg.output.retry_failed),
        _convert_="all",
    )
    module = PoseModule(network, flip_indices_for(spec) if cfg.model.flip_test else None)
    writer = PoseWriter(folder, spec, cfg.output.formats, cfg.output.overlay, cfg.output.overlay_score_threshold)
    progress = [CropProgress()] if cfg.trainer.get("enable_progress_bar", True) else []
    trainer: L.Trainer = instantiate(cfg.trainer, callbacks=[writer, *progress, demo_notes], _convert_="all")

    run = {"status": "running", "settings": settings, "config": OmegaConf.to_container(cfg, resolve=True)}
    if trainer.is_global_zero:
        folder.write_run(run | {"versions": versions()})
    loop_start = time.perf_counter()
    trainer.predict(module, datamodule=data, return_predictions=False)
    seconds = time.perf_counter() - loop_start
    return close_run(trainer, data, writer, run, seconds, time.perf_counter() - start)


def check_switches(cfg: DictConfig) -> None:
    """Refuses what only looks like a yes or a no: any text would count as true."""
    for key in ("model.flip_test", "output.overlay", "output.resume", "output.retry_failed", "output.overwrite"):
        value = OmegaConf.select(cfg, key)
        if not isinstance(value, bool) and not (key == "output.overlay" and value is None):
            raise ConfigError(f"{key}={value} must be true or false.")


def result_settings(cfg: DictConfig) -> dict[str, Any]:
    """Everything that decides what a result is; a resumed run must have the same. Files count by content."""
    settings = {
        "model.checkpoint": cfg.model.checkpoint,
        "model.flip_test": cfg.model.flip_test,
        "model.num_heads": cfg.model.num_heads,
        "trainer.precision": str(cfg.trainer.precision),
        **{f"boxes.{key}": value for key, value in cfg.boxes.items() if value is not None},
    }
    for key, value in settings.items():
        if key.endswith(("checkpoint", "file")) and Path(value).expanduser().is_file():
            settings[key] = f"SHA-256 {file_sha256(value)}"
    return settings


def prepare_folder(folder: RunFolder, cfg: DictConfig, settings: dict[str, Any]) -> None:
    """Starts over or continues, as the configuration says; refuses to mix two kinds of result."""
    if cfg.output.overwrite and folder.read_run():  # only what a run of ours has made is removed
        folder.clear()
    if not folder.has_results():
        return
    if not cfg.output.resume:
        raise ConfigError(
            f"{folder.path} already holds results and output.resume=false; set output.overwrite=true to replace "
            "them, or choose another output.dir."
        )
    earlier: dict[str, Any] = folder.read_run().get("settings") or settings
    for key in sorted({*settings, *earlier}):
        if earlier.get(key) != settings.get(key):
            raise ConfigError(
                f"{folder.path} holds results made with {key}={earlier.get(key)}, not {settings.get(key)}; choose "
                "another output.dir, or set output.overwrite=true to start over."
            )
    if cfg.output.retry_failed:
        folder.forget_failures()


def close_run(
    trainer: L.Trainer,
    data: ImageDataModule,
    writer: PoseWriter,
    run: dict[str, Any],
    seconds: float,
    total_seconds: float,
) -> int:
    """Counts what came out, writes `run.json`, prints the table; success is a count."""
    counts, device = writer.counts, trainer.strategy.root_device
    planned = data.num_images + sum(failure.instance_id is None for failure in data.failures)
    missing = planned - counts.images_done - counts.images_failed
    nothing = planned > 0 and counts.images_done == 0 and data.num_finished == 0
    run |= {
        "status": "incomplete" if missing else "failed" if nothing else "complete",
        "versions": versions(),
        "device": device_name(device),
        "world_size": trainer.world_size,
        "counts": {"images_planned": planned, "images_done_before": data.num_finished, **vars(counts)},
        "seconds": round(seconds, 3),
        "seconds_with_loading": round(total_seconds, 3),
        "crops_per_second": round(counts.people / seconds, 3),
        "peak_memory": peak_memory(device),
    }
    folder = writer.folder
    if trainer.is_global_zero:
        folder.write_run(run)
        if trainer.world_size > 1:
            print(f"\nThis process's share of {trainer.world_size}:", end="")
        print(f"\n{summary_table(run, counts)}\n  {'results':<15}{folder.path}")
        if counts.images_failed or counts.boxes_failed:
            print(f"  {'reasons':<15}{folder.failures_file}")
        demo.report(run["config"], folder)
        if nothing:
            print("Nothing could be read: every image failed.")
        elif missing:
            print(f"{missing} images were not reached; run the same command again to continue.")
    return EXIT_NOTHING if nothing or missing else EXIT_COMPLETE


def config_folder() -> str:
    """`conf/` inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return str(inside if inside.is_dir() else package.parent / "conf")


def quieten() -> None:
    """Leaves the screen to the bar and the table."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for harmless in (
        "Couldn't infer the batch indices",  # our batches say themselves what is in them
        "Total length of `DataLoader` across ranks is zero",  # nothing left to do is a result
        "does not have many workers",
        "multi-threaded, use of fork",
        r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    ):
        warnings.filterwarnings("ignore", message=f".*{harmless}")


def run_job(cfg: DictConfig) -> int:
    """`predict`, with every error that is for people told in one sentence."""
    quieten()
    try:
        return predict(cfg)
    except ConfigError as error:
        return _complain(str(error), EXIT_BAD_CONFIG)
    except SapiensError as error:
        return _complain(str(error), EXIT_NOTHING)
    except (HydraException, OmegaConfBaseException) as error:
        return _complain(_sentence(error), EXIT_BAD_CONFIG)


def _sentence(error: BaseException) -> str:
    """What a person can use of an error in the configuration: its root, without the wrappings."""
    while error.__cause__ is not None and not isinstance(error, SapiensError):
        error = error.__cause__
    if isinstance(error, SapiensError):
        return str(error)
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and isinstance(error.parent_node, DictConfig):
        alike = get_close_matches(str(error.key), map(str, error.parent_node), 1)
        parent = str(error.full_key).rpartition(".")[0]
        hint = (
            f"did you mean {parent + '.' if parent else ''}{alike[0]}?" if alike else "see conf/ for those there are."
        )
        return f"{error.full_key} is no setting; {hint}"
    return "the configuration cannot be used: " + " ".join(str(error).split())


def _complain(sentence: str, code: int) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return code


def main() -> None:
    """Exit codes: 0 complete (failures may be listed), 1 nothing succeeded or the run broke off, 2 bad input."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises its errors instead of printing them
    codes: list[int] = []

    @hydra.main(version_base="1.3", config_path=config_folder(), config_name="predict")
    def task(cfg: DictConfig) -> None:
        codes.append(run_job(cfg))

    try:
        task()
    except (HydraException, OmegaConfBaseException) as error:
        codes.append(_complain(_sentence(error), EXIT_BAD_CONFIG))
    sys.exit(max(codes, default=EXIT_COMPLETE))


if __name__ == "__main__":
    main()
