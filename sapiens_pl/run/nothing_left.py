"""Coming back to a run in which nothing is left to do: no network is built, and no other process started.

The plan needs no network. What decides a result is in the record store, and the network's part of that follows from
the checkpoint's bytes, the settings of `model`, and the version of this package: if all of these are unchanged,
the store says what the network would.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from sapiens_pl.data.handed_in import Place
from sapiens_pl.detection.boxes import DetectorBoxes
from sapiens_pl.models.tensors import checkpoint_sha256
from sapiens_pl.records.listing import section
from sapiens_pl.records.store import Store, carry_setting, read_store
from sapiens_pl.records.writer import PoseWriter, RunCounts
from sapiens_pl.run.account import read_account
from sapiens_pl.run.closing import versions
from sapiens_pl.run.detecting import plan_detection, take_record
from sapiens_pl.run.hydra_record import HydraRecord
from sapiens_pl.run.launch import check_same_shard
from sapiens_pl.run.opening import begin, plain_config, take_folder
from sapiens_pl.run.ranks import are_independent, as_first_rank_finds, build_trainer, place_of
from sapiens_pl.run.running import Run

_OF_NO_RESULT = frozenset(["checkpoint", "hub", "licence", "size", "compile", "compile_mode", "dtype"])
"""Settings of `model` that change no result; for the checkpoint, its bytes count."""


def nothing_is_left(run: Run, record: HydraRecord, boxes: Any) -> bool:
    """True if all pictures have their outcome, the same in all ranks; `run.data` is planned then.

    False also where that cannot be known before there is a network.

    Args:
        record: written, once the folder is this run's.
        boxes: the box source.

    Raises:
        ConfigError: the results in the folder may not be continued like this.
    """
    data = run.data
    assert data is not None
    trainer = build_trainer(run.cfg, [])
    check_same_shard(run.cfg, trainer)

    def look() -> bool:
        store = None if run.cfg.output.overwrite else read_store(run.folder.records)
        settings = None if store is None else _known_settings(run, store, boxes)
        if store is None or settings is None:
            return False
        take_folder(run, record, settings, store.keypoint_set)
        data.place = partial(place_of, trainer)
        begin(run, trainer)
        return not _is_anything_left(run, boxes)

    if not as_first_rank_finds(trainer, look):
        return False
    if not run.is_first:
        take_folder(run, record, {}, None)
        data.place = partial(place_of, trainer)
        begin(run, trainer)
        _is_anything_left(run, boxes)
    elif run.report is not None and are_independent(trainer):
        run.report = run.report._replace(world_size=1)  # the others are not started
        data.place = Place
    return True


def _known_settings(run: Run, store: Store, boxes: Any) -> dict[str, Any] | None:
    """What decides a result, as far as that is known without the network; else None."""
    account, cfg = read_account(run.folder.run_file), run.cfg
    same = (
        account.terms.settings == store.settings
        and (account.terms.versions or {}).get("sapiens_pl") == versions()["sapiens_pl"]
        and _decisive(section(account.terms.config or {}, "model")) == _decisive(section(plain_config(cfg), "model"))
        and cfg.model.checkpoint is not None
        and not _is_file(cfg.model.get("keypoint_set"))  # which may have changed
        and store.settings.get("model.checkpoint") == f"SHA-256 {checkpoint_sha256(cfg.model.checkpoint)}"
    )
    if not same:
        return None
    of_network = {key: value for key, value in store.settings.items() if not key.startswith("boxes.")}
    own = {"trainer.precision": str(cfg.trainer.precision)} | carry_setting(cfg.data.get("carry"))
    return of_network | own | getattr(boxes, "settings", {})


def _is_file(value: Any) -> bool:
    return isinstance(value, str) and Path(value).expanduser().is_file()


def _decisive(model: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _decisive(value) if isinstance(value, dict) else value
        for key, value in model.items()
        if key not in _OF_NO_RESULT
    }


def _is_anything_left(run: Run, boxes: Any) -> bool:
    """Whether there is for any of the ranks."""
    assert run.data is not None
    if isinstance(boxes, DetectorBoxes) and run.data.goes_by_shards:
        take_record(run, boxes)
    elif isinstance(boxes, DetectorBoxes):
        plan_detection(run, boxes)
        if any(map(len, run.data.shares)):
            return True  # whose boxes are still to come
    return run.data.is_anything_left()


def record_failures(run: Run) -> RunCounts:
    """Records what the plan has found wrong, though no picture is left to read."""
    store = read_store(run.folder.records)
    assert store is not None and run.data is not None
    writer = PoseWriter(run.folder, store.keypoint_set, None, run.cfg.output.max_failures, run.stop.ask)
    run.data.plan_all(writer.begin)
    writer.end()
    return writer.counts
