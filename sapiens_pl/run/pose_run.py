"""One run from start to end: boxes, poses, and the closing."""

from __future__ import annotations

import time
from contextlib import closing
from functools import partial
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from sapiens_pl.accuracy.annotations import read_annotations
from sapiens_pl.core.devices import start_afresh
from sapiens_pl.core.keypoints import flip_indices_for
from sapiens_pl.core.protocols import PoseNetwork, ShardedSource
from sapiens_pl.core.remote import is_url
from sapiens_pl.data.datamodule import ImageDataModule
from sapiens_pl.detection.boxes import DetectorBoxes
from sapiens_pl.inference.batch_size import best_batch_size
from sapiens_pl.inference.module import PoseModule
from sapiens_pl.models.hub import cached_weights, find_weights
from sapiens_pl.models.pose_network import checked_network
from sapiens_pl.models.truncation import zeros_for_what_is_cut_off
from sapiens_pl.products.chosen import all_products, choose_products
from sapiens_pl.products.making import Products
from sapiens_pl.products.removing import check_places, remove_of_pictures
from sapiens_pl.products.second_read import Photographs, photographs_of
from sapiens_pl.records.store import carry_setting
from sapiens_pl.records.writer import PoseWriter
from sapiens_pl.run.account import POSING, ShardProgress
from sapiens_pl.run.closing import close_run, work_of
from sapiens_pl.run.detecting import PeopleFinder, detect_people
from sapiens_pl.run.film_time import FilmTime
from sapiens_pl.run.hydra_record import HydraRecord
from sapiens_pl.run.keypoint_meaning import check_named_meaning, check_network_meaning
from sapiens_pl.run.launch import fit_to_launcher
from sapiens_pl.run.nothing_left import nothing_is_left, record_failures
from sapiens_pl.run.opening import begin, image_data, ledger_of, open_run, take_folder
from sapiens_pl.run.progress import PassProgress, Tally
from sapiens_pl.run.ranks import build_trainer, keep_weights_apart, place_of
from sapiens_pl.run.resume import check_folder, result_settings
from sapiens_pl.run.running import Demo, Run
from sapiens_pl.run.weights_note import LoadingNote


def pose_run(cfg: DictConfig, demo: Demo) -> int:
    """Runs one prediction as configured; returns the exit code.

    Args:
        cfg: as `conf/predict.yaml` composes it.
        demo: fills in open settings, and prints at the end how accurate the demo was.

    Raises:
        ConfigError: before anything has run.
        SapiensError: the run cannot go on; what is written stays.
    """
    record = HydraRecord(cfg)
    if cfg.annotations is not None:
        read_annotations(cfg.annotations)
    share = fit_to_launcher(cfg)
    notes = demo.fill_in(cfg)
    check_named_meaning(cfg)
    with open_run(cfg, demo) as run, closing(photographs_of(cfg, run.stop)) as photographs:
        start_afresh()
        run.shard_from = share.taken_from
        boxes = instantiate(cfg.boxes, _convert_="all")  # before the weights are fetched: its file may not be there
        data = run.data = image_data(run, boxes)
        check_pictures(run, data, boxes, before_download=needs_download(cfg))
        fill_in_weights(cfg)
        if nothing_is_left(run, record, boxes):
            return close_run(run, record_failures(run), run.earlier_work, [])
        begin_loading = time.perf_counter()
        network = checked_network(instantiate(cfg.model.network))
        check_network_meaning(cfg, network)
        loading = LoadingNote(cfg.model.checkpoint, time.perf_counter() - begin_loading)
        products = _products(run, network, photographs)
        settings = result_settings(cfg, network, boxes) | carry_setting(cfg.data.get("carry")) if run.is_first else {}
        take_folder(run, record, settings, network.keypoint_set)
        if run.is_first and run.folder.lock.only_one and products.are_any:
            products.settle(run.folder.read_records().names())
        data.cut_for(network.input_hw, network.crop_settings)
        module = pose_module(cfg, network)
        writer = _writer(run, network, products)
        progress = _progress(run, writer)
        trainer = build_trainer(cfg, [writer, progress, loading, notes, run.stop])
        data.place, data.find_batch_size = partial(place_of, trainer), partial(best_batch_size, module, trainer)
        begin(run, trainer)
        finder = None
        if isinstance(boxes, DetectorBoxes) and data.goes_by_shards:
            finder = PeopleFinder(run, boxes, trainer, progress, writer.pace)
        elif isinstance(boxes, DetectorBoxes):
            run.detection = detect_people(run, boxes, trainer)
        begin_loop = time.perf_counter()
        with zeros_for_what_is_cut_off():
            trainer.predict(module, datamodule=data, return_predictions=False)
        seconds = time.perf_counter() - begin_loop
        if finder is not None:
            run.detection = finder.found()
            seconds -= run.detection.seconds
        work = work_of(run, trainer, module, writer, loading.loading, seconds)
        others = run.processes.wait(progress.look)  # a run has ended when all of them have
        progress.close()
        return close_run(run, writer.counts, work, others)


def fill_in_weights(cfg: DictConfig) -> None:
    """Puts the path of the weights where only the name of a published model is given: `model.hub` says where they are.

    Raises:
        CheckpointError: the hub does not give them.
    """
    if cfg.model.checkpoint is None and cfg.model.hub.repository is not None:
        cfg.model.checkpoint = str(find_weights(cfg.model.hub.repository, cfg.model.hub.file, cfg.model.licence))


def needs_download(cfg: DictConfig) -> bool:
    """Whether the weights are neither given nor in the hub's cache."""
    hub = cfg.model.hub
    if is_url(cfg.model.checkpoint):
        return True
    return cfg.model.checkpoint is None and hub.repository is not None and not cached_weights(hub.repository, hub.file)


def check_pictures(run: Run, data: ImageDataModule, boxes: Any, before_download: bool) -> None:
    """Sees that there are pictures before anything is written, and checks box file and folder before a download.

    Raises:
        ConfigError: one of them cannot be used.
    """
    if not run.is_first:
        return
    if before_download:
        check_folder(run.folder, run.cfg)
    if not data.goes_by_shards:
        pictures = data.pictures()
    elif before_download:  # the first one says how all are
        assert isinstance(data.source, ShardedSource)
        pictures = data.source.some_shards([0]).pictures()
    else:
        return
    if before_download and not isinstance(boxes, DetectorBoxes) and len(pictures.names):
        boxes(pictures)


def pose_module(cfg: DictConfig, network: PoseNetwork) -> PoseModule:
    flip_indices = flip_indices_for(network.keypoint_set) if cfg.model.flip_test else None
    module = PoseModule(network, flip_indices, cfg.model.compile_mode if cfg.model.compile else None)
    keep_weights_apart(module)
    return module


def _products(run: Run, network: PoseNetwork, photographs: Photographs) -> Products:
    """What is made of the records; refused before anything is written if it cannot be."""
    chosen = choose_products(run.cfg)
    check_places(run.folder.path, [each.product for each in chosen])
    return Products(run.folder, chosen, network.keypoint_set, photographs)


def _writer(run: Run, network: PoseNetwork, products: Products) -> PoseWriter:
    begins_anew = partial(remove_of_pictures, run.folder.path, all_products(run.cfg))
    spec, most = network.keypoint_set, run.cfg.output.max_failures
    return PoseWriter(run.folder, spec, products, most, run.stop.ask, begins_anew, ledger_of(run))


def _progress(run: Run, writer: PoseWriter) -> PassProgress:
    data = run.data
    assert data is not None
    known: list[FilmTime] = []

    def film_time() -> FilmTime:
        if not known or known[-1].portion is not data.portion:  # it is planned only now
            known[:] = [FilmTime(data.portion)]
        return known[-1]

    def planned() -> Tally:
        shards = data.num_own_shards
        return Tally(
            data.num_crops,
            data.counts.to_do,
            video=film_time().planned,
            shards=None if shards is None else ShardProgress(data.counts.shards, shards),
        )

    def done() -> Tally:
        video = film_time().done(writer.frames.copy())
        return Tally(writer.counts.people, writer.counts.images_done, writer.counts.images_failed, video)

    return PassProgress(run.folder, POSING, planned, done, run.has_bar)
