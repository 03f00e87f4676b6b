"""One run from start to end: boxes, poses, and the closing."""

from __future__ import annotations

import gc
import time
from typing import Any

import lightning as L
from hydra.utils import instantiate
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from sapiens_pl.accuracy.annotations import read_annotations
from sapiens_pl.core.devices import free_cached, start_afresh
from sapiens_pl.core.keypoints import flip_indices_for, keypoint_spec
from sapiens_pl.core.structures import ImageTask
from sapiens_pl.data.datamodule import ImageDataModule
from sapiens_pl.detection.boxes import DetectorBoxes
from sapiens_pl.detection.data import DetectionData
from sapiens_pl.detection.module import DetectionModule
from sapiens_pl.detection.record import DetectionRecord
from sapiens_pl.detection.writer import DetectionWriter
from sapiens_pl.inference.module import PoseModule
from sapiens_pl.models.hub import find_weights
from sapiens_pl.models.truncation import zeros_for_what_is_cut_off
from sapiens_pl.records.listing import section
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.records.writer import PoseWriter
from sapiens_pl.run.closing import Demo, close_run, note_the_end, versions
from sapiens_pl.run.hydra_record import HydraRecord
from sapiens_pl.run.launch import fit_to_launcher, follow
from sapiens_pl.run.progress import CropProgress
from sapiens_pl.run.ranks import Ranks, build_trainer
from sapiens_pl.run.resume import finished_names, prepare_folder, refuse_moved_links, result_settings
from sapiens_pl.run.stopping import StopRequest
from sapiens_pl.run.weights_note import LoadingNote


def pose_run(cfg: DictConfig, demo: Demo) -> int:
    """Runs one prediction as configured; returns the exit code.

    Args:
        cfg: as `conf/predict.yaml` composes it.
        demo: fills in what is left open, and tells at the end how right the demo was.

    Raises:
        ConfigError: before anything has run.
        SapiensError: the run cannot go on; what is written stays.
    """
    record = HydraRecord(cfg)
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
                return _pose_in(folder, ranks, cfg, record, demo, demo_notes, stop, run)
        except BaseException as error:
            if run:
                note_the_end(folder, ranks, run, stop, demo, error)
            if isinstance(error, SystemExit) and stop.signal is None and not error.code:
                raise RuntimeError("Something in the run wanted to end the process.") from error
            raise
        finally:
            folder.close()
            folder.lock.release()


def _pose_in(
    folder: RunFolder,
    ranks: Ranks,
    cfg: DictConfig,
    record: HydraRecord,
    demo: Demo,
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
    return close_run(trainer, data, writer, stop, ranks, demo, run, seconds, time.perf_counter() - start)


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
