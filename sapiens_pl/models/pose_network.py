"""What a pose network must know about itself; the networks of a checkpoint of either generation know it."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.geometry import CropSettings
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import PoseNetwork
from sapiens_pl.models.keypoint_sets import set_of_network
from sapiens_pl.models.watch import WeightsWatch

_KINDS = {"crop_settings": CropSettings, "keypoint_set": KeypointSet}


def checked_network(network: Any, setting: str = "model.network") -> PoseNetwork:
    """Returns the network if it can be run.

    Args:
        network: the object that was built.
        setting: the setting that names it, for the sentence.

    Raises:
        ConfigError: it lacks what `core.protocols.PoseNetwork` has.
    """
    problem = _what_is_wrong(network)
    if problem is not None:
        raise ConfigError(
            f"{setting} is a {type(network).__name__}, {problem}; a PoseNetwork is expected, as "
            "sapiens_pl/core/protocols.py describes it."
        )
    return network


def _what_is_wrong(network: Any) -> str | None:
    if not isinstance(network, nn.Module):
        return "which is not a torch.nn.Module"
    for name in ("input_hw", "crop_settings", "keypoint_set", "identity"):
        # Not by asking for it: to know the identity, all weights may have to be read.
        if inspect.getattr_static(network, name, None) is None:
            return f"which has no {name}"
    for name, kind in _KINDS.items():
        if not isinstance(getattr(network, name), kind):
            return f"whose {name} is not a {kind.__name__}"
    sides = network.input_hw
    if not isinstance(sides, tuple | list) or [type(side) for side in sides] != [int, int] or min(sides) < 1:
        return "whose input_hw is not (height, width) in px"
    return None if any(True for _ in network.parameters()) else "which has no parameters"


class CheckpointNetwork(nn.Module):
    """A `core.protocols.PoseNetwork` whose weights a file may hold.

    Args:
        shape: everything that fixes the layers; `num_keypoints` and `input_hw` (crop px) are among it.
    """

    crop_settings: CropSettings
    numerics: str | None = None
    """How results are made, where that has changed between versions; None if it never has."""
    watch: WeightsWatch | None = None
    """Watches the file that the weights may be a memory map of."""

    def __init__(self, shape: Any) -> None:
        super().__init__()
        self.shape = shape
        self._keypoint_set: KeypointSet | None = None

    @property
    def input_hw(self) -> tuple[int, int]:
        """Height and width of the crops, px."""
        return self.shape.input_hw

    @property
    def keypoint_set(self) -> KeypointSet:
        """What its keypoints are: whatever was set, else ours of that number, else numbers for names."""
        if self._keypoint_set is None:  # not before it is asked for: a damaged file may claim thousands of millions
            self._keypoint_set = set_of_network("The network", self.shape.num_keypoints)
        return self._keypoint_set

    @keypoint_set.setter
    def keypoint_set(self, keypoint_set: KeypointSet) -> None:
        self._keypoint_set = keypoint_set

    @property
    def identity(self) -> str:
        """Which weights they are; reads every byte of their file.

        Raises:
            CheckpointError: the file has changed since they were loaded.
        """
        return "weights of no file" if self.watch is None else f"SHA-256 {self.watch.settled_digest()}"
