"""Person detectors behind one small interface, and how one is chosen by its name.

A detector is a module that is called with a list of upright images, (H, W, 3) uint8 BGR tensors of any sizes on its
device, and gives the people of each; what it gives does not depend on which images share the list.
"""

from __future__ import annotations

import hashlib
import os
from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.detection.torchvision_weights import DEFAULT_MODEL, TORCHVISION_MODELS


class People(NamedTuple):
    """What a detector finds in one image: `bboxes_xyxy` (N, 4) image px and `scores` (N,), float32, best first."""

    bboxes_xyxy: Tensor
    scores: Tensor


class PersonDetector(nn.Module):
    """Images to people.

    Attributes:
        name: the model's, as `boxes.model` has it.
    """

    name: str

    @abstractmethod
    def forward(self, images: Sequence[Tensor]) -> list[People]:
        """(H, W, 3) uint8 BGR tensors -> the people of each."""

    def weights_sha256(self) -> str:
        """The SHA-256 of all tensors of the network, name by name."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()


def load_detector(model: str | None = None, weights: str | None = None) -> PersonDetector:
    """The detector of that name, on the CPU, with its weights.

    Args:
        model: one of `TORCHVISION_MODELS`, or a transformers model: a local folder, or its name on the hub.
            None: `DEFAULT_MODEL`.
        weights: a file with a torchvision model's weights; None for those that torchvision publishes.

    Raises:
        ConfigError: there is no such detector, or its weights cannot be had.
    """
    name = model or DEFAULT_MODEL
    if name in TORCHVISION_MODELS:
        from sapiens_pl.detection.torchvision_detector import load_torchvision

        return load_torchvision(name, weights)
    if os.path.sep not in name and not os.path.isdir(os.path.expanduser(name)):
        raise ConfigError(
            f"boxes.model={name} is not a detector; choose one of {', '.join(TORCHVISION_MODELS)}, or a transformers "
            "object detector by its folder or its name on the hub (OWNER/NAME)."
        )
    if weights is not None:
        raise ConfigError(
            f"boxes.weights={weights} is for torchvision's detectors; a transformers model has its weights in its own "
            "folder: omit it."
        )
    from sapiens_pl.detection.transformers_detector import load_transformers

    return load_transformers(name)
