"""`fcos_small`: torchvision's FCOS detector over a trunk of a few convolutions, for drawings and tests.

There are no published weights of it; the demo's detector of calibration figures is one (`demo.train_detector`).

Legend: B images, H W network input px.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.ops import FeaturePyramidNetwork

_CHANNELS = (16, 32, 64, 96, 128)
_HEAD_CHANNELS = 64
_MIN_SIDE_PX, _MAX_SIDE_PX = 192, 320


def fcos_small(num_classes: int = 2, **given: object) -> FCOS:
    """The detector with random weights, in torchvision's manner: class 0 is the background."""
    head = FCOSHead(_HEAD_CHANNELS, num_anchors=1, num_classes=num_classes, num_convs=2)
    anchors = AnchorGenerator(sizes=((16,), (32,)), aspect_ratios=((1.0,), (1.0,)))  # one a cell: points, in effect
    sizes = {"min_size": _MIN_SIDE_PX, "max_size": _MAX_SIDE_PX}
    return FCOS(_Trunk(), num_classes, anchor_generator=anchors, head=head, **sizes)


class _Trunk(nn.Module):
    """(B, 3, H, W) -> feature maps of strides 16 and 32, 64 channels each."""

    def __init__(self) -> None:
        super().__init__()
        one, two, three, four, five = _CHANNELS
        self.to_8 = nn.Sequential(_down(3, one), _down(one, two), _down(two, three))
        self.to_16 = nn.Sequential(_down(three, four), _Residual(four), _Residual(four))
        self.to_32 = nn.Sequential(_down(four, five), _Residual(five), _Residual(five))
        self.pyramid = FeaturePyramidNetwork([four, five], _HEAD_CHANNELS)
        self.out_channels = _HEAD_CHANNELS

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        stride_16 = self.to_16(self.to_8(images))
        return self.pyramid(OrderedDict([("16", stride_16), ("32", self.to_32(stride_16))]))


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, features: Tensor) -> Tensor:
        return (features + self.convolution(features)).relu()


def _down(channels_in: int, channels_out: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels_in, channels_out, 3, 2, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.ReLU())
