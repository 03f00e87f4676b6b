"""What the networks of a checkpoint, of either generation, know of themselves."""

from __future__ import annotations

from typing import Any

from torch import nn

from sapiens_pl.core.geometry import CropSettings
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.models.keypoint_sets import set_of_network
from sapiens_pl.models.watch import WeightsWatch


class CheckpointNetwork(nn.Module):
    """A `core.protocols.PoseNetwork` whose weights a file may hold.

    Args:
        shape: everything that fixes the layers; `num_keypoints` and `input_hw` (crop px) are among it.
    """

    crop_settings: CropSettings
    numerics: str | None = None
    """What the weights do not tell of how results are made, where that has changed; None: it never has."""
    watch: WeightsWatch | None = None
    """Over the file that the weights may be a memory map of."""

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
