"""From box to crop and back: the affine that cuts a person out, and its inverse.

Spaces: *image* px (upright photograph), *crop* px (network input), *heatmap* px (network output).
All three put the centre of the first pixel at 0, and the mappings send the first pixel's centre to
the first pixel's centre and the last to the last (unbiased data processing, UDP; Huang et al.,
"The Devil is in the Details", CVPR 2020).

Legend: N boxes, K keypoints, W H crop px, w h heatmap px.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BOX_PADDING = 1.25
"""How much wider and taller than the box the crop is (Sapiens' published test setting)."""


class CropSettings(NamedTuple):
    """How a network wants its crops to be cut and normalised; the defaults are Sapiens v1's.

    Attributes:
        box_padding: how much wider and taller than the box the crop is.
        enlarging: how pixels are interpolated where the crop is larger than what it shows along both sides,
            `bilinear` or `bicubic`; else it is bilinear in any case.
        pixel_mean_rgb, pixel_std_rgb: grey levels of 255 (ImageNet's).
    """

    box_padding: float = BOX_PADDING
    enlarging: str = "bilinear"
    pixel_mean_rgb: tuple[float, float, float] = (123.675, 116.28, 103.53)
    pixel_std_rgb: tuple[float, float, float] = (58.395, 57.12, 57.375)


SAPIENS_CROPS = CropSettings()
SAPIENS2_CROPS = CropSettings(enlarging="bicubic")


def box_center_scale(
    bboxes_xyxy: np.ndarray, input_wh: tuple[int, int], padding: float = BOX_PADDING
) -> tuple[np.ndarray, np.ndarray]:
    """The region of the image that the network sees for each box.

    Args:
        bboxes_xyxy: (N, 4), image px.
        input_wh: width and height of the network input, crop px.
        padding: factor on both sides of the box.

    Returns:
        centers: (N, 2) float32 xy, image px.
        scales: (N, 2) float32 width and height of the region, image px, in the input's aspect.
    """
    bboxes = np.asarray(bboxes_xyxy, dtype=np.float32).reshape(-1, 4)
    centers = (bboxes[:, :2] + bboxes[:, 2:]) * np.float32(0.5)
    widths, heights = ((bboxes[:, 2:] - bboxes[:, :2]) * np.float32(padding)).T
    aspect = np.float32(input_wh[0] / input_wh[1])
    wide = widths > heights * aspect
    scales = [np.where(wide, widths, heights * aspect), np.where(wide, widths / aspect, heights)]
    return centers, np.stack(scales, axis=1)


def box_to_crop(center: np.ndarray, scale: np.ndarray, input_wh: tuple[int, int]) -> np.ndarray:
    """The 2x3 affine matrix (float32) that maps image px to crop px for one box.

    Computed in float32 as the original does it: `cv2.warpAffine` rounds positions to 1/32 px, and
    only then do both round alike.

    Args:
        center: (2,) float32 xy, image px.
        scale: (2,) float32 width and height of the region, image px.
        input_wh: width and height of the network input, crop px.
    """
    gain = (np.asarray(input_wh, dtype=np.float32) - np.float32(1)) / scale
    shift = gain * (scale * np.float32(0.5) - center)
    return np.array([[gain[0], 0.0, shift[0]], [0.0, gain[1], shift[1]]], np.float32)


def heatmap_to_image(
    keypoints_xy: np.ndarray, centers: np.ndarray, scales: np.ndarray, heatmap_wh: tuple[int, int]
) -> np.ndarray:
    """Maps keypoints from heatmap px to image px, the inverse of what made the crop.

    Args:
        keypoints_xy: (N, K, 2), heatmap px.
        centers: (N, 2) float32 xy, image px, as `box_center_scale` gave them.
        scales: (N, 2) float32 width and height, image px, as it gave them.
        heatmap_wh: width and height of the heatmaps.

    Returns:
        (N, K, 2) float64, image px.
    """
    last = np.asarray(heatmap_wh, dtype=np.float64) - 1
    corners = np.asarray(centers, dtype=np.float64) - np.asarray(scales, dtype=np.float64) / 2
    return np.asarray(keypoints_xy, dtype=np.float64) / last * scales[:, None] + corners[:, None]


def image_to_heatmap(
    keypoints_xy: np.ndarray, centers: np.ndarray, scales: np.ndarray, heatmap_wh: tuple[int, int]
) -> np.ndarray:
    """Maps keypoints from image px to heatmap px; `heatmap_to_image` undoes it. Shapes as there."""
    last = np.asarray(heatmap_wh, dtype=np.float64) - 1
    corners = np.asarray(centers, dtype=np.float64) - np.asarray(scales, dtype=np.float64) / 2
    return (np.asarray(keypoints_xy, dtype=np.float64) - corners[:, None]) / scales[:, None] * last
