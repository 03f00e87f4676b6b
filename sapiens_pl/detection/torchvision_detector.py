"""torchvision's detectors.

They bring each image to their own size and pad the images of a batch to one: a larger frame of zeros changes what
the convolutions see at the border, and so the boxes. Here only images whose padded sizes agree share a pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights
from torchvision.transforms.functional import convert_image_dtype

from sapiens_pl.core.errors import CheckpointError
from sapiens_pl.detection.detectors import People, PersonDetector
from sapiens_pl.detection.grouping import in_groups
from sapiens_pl.detection.torchvision_weights import DEFAULT_MODEL, builder, read_weights
from sapiens_pl.models.wrapping import unwrap

_COCO = get_model_weights(DEFAULT_MODEL).DEFAULT.meta["categories"]
PERSON_LABEL = _COCO.index("person")
"""In COCO's numbering, and the only class besides the background where there are two."""


class TorchvisionDetector(PersonDetector):
    """One of torchvision's detection models, asked for people.

    Args:
        name: what it is called.
        network: called with a list of (3, H, W) float RGB images from 0 to 1, as torchvision documents it.
    """

    def __init__(self, name: str, network: nn.Module) -> None:
        super().__init__()
        self.name, self.network = name, network.eval()

    def forward(self, images: Sequence[Tensor]) -> list[People]:
        return in_groups(images, self._padded_hw, self._detect)

    def _detect(self, images: Sequence[Tensor]) -> list[People]:
        inputs = [convert_image_dtype(image.flip(2).permute(2, 0, 1), torch.float32) for image in images]
        people = []
        for found in self.network(inputs):
            chosen = found["labels"] == PERSON_LABEL
            people.append(People(found["boxes"][chosen].float(), found["scores"][chosen].float()))
        return people

    def _padded_hw(self, image: Tensor) -> tuple[int, int]:
        """Height and width of the network's input for that image, as torchvision's transform computes them."""
        transform: Any = self.network.transform
        height, width = image.shape[:2]
        if transform.fixed_size is not None:
            return transform.fixed_size[1], transform.fixed_size[0]
        shortest, longest = np.float32(transform.min_size[-1]), np.float32(transform.max_size)
        # float32, or a side could come out one pixel longer or shorter.
        scale = float(min(shortest / np.float32(min(height, width)), longest / np.float32(max(height, width))))
        step = transform.size_divisible
        padded_height, padded_width = (step * math.ceil(math.floor(side * scale) / step) for side in (height, width))
        return padded_height, padded_width


def load_torchvision(name: str, weights: str | None) -> TorchvisionDetector:
    """The model with those weights; how many classes it has is read from them.

    Raises:
        ConfigError: no weights, or weights of something else.
    """
    state = read_weights(name, weights)
    for num_classes in (len(_COCO), 2):
        extra = {} if name == "fcos_small" else {"weights": None, "weights_backbone": None}
        network = builder(name)(num_classes=num_classes, **extra)
        expected = network.state_dict()
        state = unwrap(Path(weights or name), state, [next(iter(expected))])
        if all(key in state and state[key].shape == tensor.shape for key, tensor in expected.items()):
            network.load_state_dict(state, strict=False)
            return TorchvisionDetector(name, network)
    missing = next(
        (key for key, tensor in expected.items() if key not in state or state[key].shape != tensor.shape), "a layer"
    )
    raise CheckpointError(
        f"{weights or 'The downloaded file'} holds no {name} with COCO's {len(_COCO)} classes or with 2 (it differs "
        f"in {missing}); give a file of that model's weights, or another boxes.model."
    )
