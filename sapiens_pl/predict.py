"""The command: `python -m sapiens_pl.predict`, configured by Hydra (files in `conf/`)."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import time
import warnings
from typing import Any

import hydra
import lightning as L
from hydra.errors import HydraException
from hydra.utils import instantiate
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sapiens_pl import demo
from sapiens_pl.accuracy.annotations import read_annotations
from sapiens_pl.command import NO_MORE_PROCESSES, complain, disk_error, disk_sentence, hydra_sentence, sentence_of
from sapiens_pl.core.configs import config_folder
from sapiens_pl.core.devices import free_cached, is_out_of_memory, start_afresh
from sapiens_pl.core.errors import ConfigError, SapiensError
from sapiens_pl.core.keypoints import keypoint_spec
from sapiens_pl.core.structures import ImageTask
from sapiens_pl.core.terminal import keep_going_without_a_terminal, make_log_lines_printable
from sapiens_pl.data.datamodule import ImageDataModule
from sapiens_pl.data.packing import check_shard
from sapiens_pl.detection.boxes import DetectorBoxes
from sapiens_pl.detection.data import DetectionData
from sapiens_pl.detection.module import DetectionModule
from sapiens_pl.detection.record import DetectionRecord
from sapiens_pl.detection.writer import DetectionWriter
from sapiens_pl.estimator import flip_indices_for
from sapiens_pl.hydra_record import HydraRecord, record_job_of_sweep
from sapiens_pl.inference.module import PoseModule
from sapiens_pl.launch import array_complaint, fit_to_launcher, follow
from sapiens_pl.loading import LoadingNote
from sapiens_pl.models.hub import find_weights
from sapiens_pl.models.truncation import zeros_for_what_is_cut_off
from sapiens_pl.pictures.folder import check_images
from sapiens_pl.progress import CropProgress
from sapiens_pl.ranks import Ranks, build_trainer
from sapiens_pl.records.listing import section
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.records.writer import PoseWriter
from sapiens_pl.report import EXIT_BAD_CONFIG, EXIT_COMPLETE, EXIT_FAILED, close_run, note_the_end, versions
from sapiens_pl.resume import finished_names, prepare_folder, refuse_moved_links, result_settings
from sapiens_pl.settings import check_settings
from sapiens_pl.stopping import StopRequest
from sapiens_pl.sweep import note_exit_code


def predict(cfg: DictConfig) -> int:
    """Runs one prediction as configured; returns the exit code.

    Raises:
        ConfigError: before anything has run.
        SapiensError: the run cannot go on; what is written stays.
    """
    record = HydraRecord(cfg)
    check_settings(cfg)
    check_shard(cfg.data.num_shards, cfg.data.shard)
    if cfg.data.images is not None:
        check_images(cfg.data.images)
    if cfg.annotations is not None:
        read_annotations(cfg.annotations)
    fit_to_launcher(cfg)
    demo_notes = demo.fill_in(cfg)
    rank = getattr(rank_zero_only, "rank", 0) or 0
    folder = RunFolder(cfg.output.dir, rank, cfg.data.shard, cfg.data.num_shards)
    ranks = Ranks(folder)
    stop = StopRequest(ranks.processes, ranks.is_started)
    run: dict[str, Any] = {}
    with stop.listening():
        try:
            if rank == 0:
                folder.lock.acquire()
            with ranks.at_work():
                return _predict_in(folder, ranks, cfg, record, demo_notes, stop, run)
        except BaseException as error:
            if run:
                note_the_end(folder, ranks, run, stop, error)
            if isinstance(error, SystemExit) and stop.signal is None and not error.code:
                raise RuntimeError("Something in the run wanted to end the process.") from error
            raise
        finally:
            folder.close()
            folder.lock.release()


def _predict_in(
    folder: RunFolder,
    ranks: Ranks,
    cfg: DictConfig,
    record: HydraRecord,
    demo_notes: L.Callback,
    stop: StopRequest,
    run: dict[str, Any],
) -> int:
    rank = folder.rank
    start_afresh()
    boxes = instantiate(cfg.boxes, _convert_="all")  # before the weights are fetched: its file may not be there
    detects = isinstance(boxes, DetectorBoxes)
    fill_in_weights(cfg)
    start = time.perf_counter()
    network = instantiate(cfg.model.network)
    loading = LoadingNote(run, cfg.model.checkpoint, time.perf_counter() - start)
    spec = keypoint_spec(network.shape.num_keypoints)
    # Of the weights it reads every byte.
    settings = result_settings(cfg, network, boxes) if rank == 0 else {}
    if rank == 0 and network.watch is not None:
        network.watch.settle(settings["model.checkpoint"].removeprefix("SHA-256 "))
    if rank == 0:
        prepare_folder(folder, cfg, settings)
        record.write()
    left_out = {} if cfg.output.overwrite else section(folder.read_run(), "left_out")  # on all ranks alike
    data = _image_data(folder, ranks, cfg, network, boxes, stop, left_out)
    ranks.data = data
    module = PoseModule(
        network,
        flip_indices_for(spec) if cfg.model.flip_test else None,
        cfg.model.compile_mode if cfg.model.compile else None,
    )
    output = cfg.output
    writer = PoseWriter(
        folder, spec, output.formats, output.overlay, output.overlay_score_threshold, output.max_failures, stop.ask
    )
    progress = [CropProgress(folder)] if cfg.trainer.get("enable_progress_bar", True) else []
    trainer = build_trainer(cfg, [writer, *progress, loading, demo_notes, stop])
    ranks.trained_by(trainer)
    run |= {"status": "running", "settings": settings, "config": OmegaConf.to_container(cfg, resolve=True)}
    run |= {"world_size": trainer.world_size, "left_out": left_out}
    if rank == 0:
        folder.write_run(run | {"versions": versions()})
        folder.lock.share()
    if detects:
        run["detection"] = _detect_people(folder, ranks, cfg, boxes, data, trainer, stop)
        gc.collect()  # the detector and its trainer know each other
        free_cached(trainer.strategy.root_device)
    loop_start = time.perf_counter()
    with zeros_for_what_is_cut_off():
        trainer.predict(module, datamodule=data, return_predictions=False)
    seconds = time.perf_counter() - loop_start
    return close_run(trainer, data, writer, stop, ranks, run, seconds, time.perf_counter() - start)


def _image_data(
    folder: RunFolder, ranks: Ranks, cfg: DictConfig, network: Any, boxes: Any, stop: StopRequest, left_out: dict
) -> ImageDataModule:
    """The run's images; `left_out` is what an earlier run in the folder has said of its own."""

    def finished(tasks: list[ImageTask]) -> tuple[set[str], set[str]]:
        refuse_moved_links(folder, left_out, data.list_images().left_out.followed)
        return finished_names(folder, tasks, cfg.output.retry_failed)

    data: ImageDataModule = instantiate(cfg.data, boxes=None, _partial_=True, _convert_="all")(
        boxes=boxes,
        input_hw=network.shape.input_hw,
        crop_settings=network.crop_settings,
        finished=finished,
        stopped=stop,
        agree=ranks.agree,
    )
    return data


def _detect_people(
    folder: RunFolder,
    ranks: Ranks,
    cfg: DictConfig,
    boxes: DetectorBoxes,
    data: ImageDataModule,
    poses: L.Trainer,
    stop: StopRequest,
) -> dict[str, Any]:
    """The pass before the poses, with a trainer of its own; leaves nothing of itself on the device."""
    folder.open()
    record = DetectionRecord(folder)
    if folder.rank == 0 and folder.lock.only_one:
        record.settle()
    boxes.in_folder(record)
    module = DetectionModule(boxes.take_detector(), boxes.rules)
    bar = cfg.trainer.get("enable_progress_bar", True)
    writer = DetectionWriter(boxes, folder.failures, cfg.output.max_failures, stop.ask, bar)
    # float32, whatever the poses have: bfloat16 moved corners of the demo's boxes by up to 2.7 px.
    own = {"precision": "32-true", "enable_progress_bar": False}
    trainer = build_trainer(cfg, [writer, stop], **own)
    ranks.trained_by(trainer)
    trainer.predict(module, datamodule=DetectionData(data, boxes), return_predictions=False)
    follow(poses, trainer)
    return writer.account(module.largest_working_batch)


def fill_in_weights(cfg: DictConfig) -> None:
    """Puts the path of the weights where only the name of a published model is given: `model.hub` says where they are.

    Raises:
        CheckpointError: the hub does not give them.
    """
    if cfg.model.checkpoint is None and cfg.model.hub.repository is not None:
        cfg.model.checkpoint = str(find_weights(cfg.model.hub.repository, cfg.model.hub.file, cfg.model.licence))


def quieten() -> None:
    """Leaves the screen to the bar and the table."""
    logging.raiseExceptions = False  # a log file on a full disk is no reason for a traceback
    make_log_lines_printable()
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for harmless in (
        "Couldn't infer the batch indices",  # our batches say themselves what is in them
        "It will use the implementation from `LightningModule`",  # the copy to the device: as it is meant
        "across ranks is zero",  # nothing left to do is a result
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
        return complain(str(error), EXIT_BAD_CONFIG)
    except SapiensError as error:
        return complain(str(error), EXIT_FAILED)
    except (HydraException, OmegaConfBaseException) as error:
        return complain(sentence_of(error), EXIT_BAD_CONFIG)
    except OSError as error:
        return complain(disk_sentence(error), EXIT_FAILED)
    except (RuntimeError, MemoryError) as error:
        if "start new thread" in str(error):
            return complain(NO_MORE_PROCESSES, EXIT_FAILED)
        if not is_out_of_memory(error):
            raise
        text = " ".join(str(error).split())[:300]
        return complain(f"memory ran out ({text}); use a smaller model or batch, or a larger device.", EXIT_FAILED)


def main() -> None:
    """Exit codes: 0 complete (failures may be listed), 1 nothing succeeded, too much failed, or the run broke
    off, 2 bad configuration, 130 and 143 interrupted by SIGINT and SIGTERM.
    """
    keep_going_without_a_terminal()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises its errors instead of printing them
    codes: list[int] = []
    begun: list[bool] = []
    process = os.getpid()

    @hydra.main(version_base="1.3", config_path=config_folder(), config_name="predict")
    def task(cfg: DictConfig) -> None:
        begun.append(True)
        record_job_of_sweep(cfg)
        codes.append(run_job(cfg))
        note_exit_code(codes[-1])
        if codes[-1] > EXIT_BAD_CONFIG and os.getpid() == process:  # interrupted; of a sweep, the rest too
            sys.exit(codes[-1])

    try:
        task()
    except (HydraException, OmegaConfBaseException) as error:
        codes.append(complain(hydra_sentence(error), EXIT_BAD_CONFIG))
    except KeyboardInterrupt:  # while Hydra puts the configuration together
        codes.append(128 + signal.SIGINT)
    except Exception as error:
        complaint = array_complaint(error)
        disk = disk_error(error)
        if complaint is None and disk is not None:  # Hydra cannot make its run folder, or the log in it
            complaint = disk_sentence(disk), EXIT_BAD_CONFIG
        if complaint is None and not begun:  # it cannot put the configuration together
            complaint = hydra_sentence(error), EXIT_BAD_CONFIG
        if complaint is None:
            raise
        codes.append(complain(*complaint))
    sys.exit(max(codes, default=EXIT_COMPLETE))


if __name__ == "__main__":
    main()
