"""What a run would cost, before it has begun: operations, and a device's speed, measured for some seconds."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, NamedTuple

import lightning as L
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sapiens_pl.core.devices import device_name
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.data.datamodule import ImageDataModule
from sapiens_pl.inference.batch_size import best_batch_size
from sapiens_pl.models.keypoint_sets import named_set
from sapiens_pl.models.pose_network import checked_network
from sapiens_pl.run.keypoint_meaning import check_network_meaning
from sapiens_pl.run.ranks import build_trainer, place_of

_USUAL_KEYPOINTS = 308


class NetworkFacts(NamedTuple):
    """Operations of one crop (a multiply-add is two), with the flip test; None if they cannot be counted; the
    keypoint set is None if only the weights tell it.
    """

    flops: int | None
    num_keypoints: int
    keypoint_set: KeypointSet | None = None


def network_facts(cfg: DictConfig) -> NetworkFacts:
    """What is known of the network without its weights: what conf/model/ says, else what a local file's shapes say."""
    passes = 2 if cfg.model.flip_test else 1
    flops, keypoints = cfg.model.get("flops"), cfg.model.get("keypoints")
    named = None if cfg.model.keypoint_set is None else named_set(cfg.model.keypoint_set)
    if flops is not None and keypoints is not None:
        return NetworkFacts(passes * flops, keypoints, named)
    if cfg.model.checkpoint is None and cfg.model.hub.repository is not None:
        return NetworkFacts(None, keypoints or _USUAL_KEYPOINTS, named)
    network: Any = checked_network(instantiate(cfg.model.network))
    counted = _flops_a_crop(network)
    return NetworkFacts(counted and passes * counted, network.keypoint_set.num_keypoints, network.keypoint_set)


def _flops_a_crop(network: Any) -> int | None:
    """Counted by torch without doing them."""
    shapes_only = FakeTensorMode(allow_non_fake_inputs=True)
    # Attention in the form that the counter knows on every torch.
    one_form = sdpa_kernel(SDPBackend.MATH)
    try:
        with torch.inference_mode(), shapes_only, one_form, FlopCounterMode(display=False) as counter:
            network.eval()(torch.empty(1, 3, *network.input_hw))
    except Exception:  # a user's network may need real values
        return None
    return counter.get_total_flops()


class _Pace(L.Callback):
    """Counts the crops from the end of the first batch on, when each batch has left the device."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._begin = self._end = self._started = 0.0
        self._crops = self._first_crops = 0
        self._last: Any = None

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.perf_counter()

    def on_predict_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *index: Any) -> None:
        outputs.result()
        self._end = time.perf_counter()
        if not self._begin:
            self._begin, self._first_crops = self._end, len(batch.crops)
        else:
            self._crops += len(batch.crops)

    def is_over(self) -> bool:
        return bool(self._crops) and time.perf_counter() - self._begin > self._seconds

    def crops_per_second(self) -> float:
        """With one batch only, its speed from the start."""
        if self._crops:
            return self._crops / (self._end - self._begin)
        return self._first_crops / max(self._end - self._started, 1e-9)


def crops_per_second(cfg: DictConfig, data: ImageDataModule) -> tuple[float, str]:
    """Poses the first of the planned crops on one device, as the run would, and keeps nothing of it.

    Returns:
        The speed, reading included, and the device's name.

    Raises:
        CheckpointError: there are no weights.
    """
    from sapiens_pl.run.pose_run import fill_in_weights, pose_module

    fill_in_weights(cfg)
    network = checked_network(instantiate(cfg.model.network))
    check_network_meaning(cfg, network)
    data.cut_for(network.input_hw, network.crop_settings)
    module, pace = pose_module(cfg, network), _Pace(cfg.calibrate)
    trainer = build_trainer(cfg, [pace], devices=1, num_nodes=1, strategy="auto")
    data.place, data.find_batch_size = partial(place_of, trainer), partial(best_batch_size, module, trainer)
    data.stopped = pace.is_over
    trainer.predict(module, datamodule=data, return_predictions=False)
    return pace.crops_per_second(), device_name(trainer.strategy.root_device)
