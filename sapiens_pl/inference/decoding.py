"""Heatmaps to keypoints, on the device: UDP/DARK sub-pixel decoding without blurring whole maps.

The position of a maximum is refined by one Newton step on the logarithm of the Gaussian-blurred
map (Zhang et al., "Distribution-Aware Coordinate Representation", CVPR 2020, in the form of Huang
et al., "The Devil is in the Details", CVPR 2020). The step needs the blurred map only at the
maximum and its neighbours, so only the 13x13 px around it are read.

Legend: B crops, K keypoints, h w heatmap px, M = B*K maps, R blur radius.
"""

from __future__ import annotations

import logging
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sapiens_pl.core.wording import one_line

log = logging.getLogger(__name__)

BLUR_KERNEL = 11
"""Heatmap px; with it comes the sigma of 2.0 px, 0.3 * ((11 - 1) / 2 - 1) + 0.8."""
BLUR_SIGMA = 2.0
LOG_FLOOR, LOG_CEILING = 1e-3, 50.0
"""The blurred map is clipped to this range before the logarithm."""


def decode_heatmaps(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Finds each map's maximum to a fraction of a pixel.

    Args:
        heatmaps: (B, K, h, w) float32.

    Returns:
        keypoints: (B, K, 2) float32 xy, heatmap px, always finite. A map without a positive value
            gives the position of its maximum, unrefined; so does one whose refined position is more than the
            blur's reach of 5 px outside the map (the original gives NaN for the former, the latter as it is).
        scores: (B, K) float32, the maxima as they stand in `heatmaps`; NaN or infinite only where
            the map is.
    """
    with torch.autocast(heatmaps.device.type, enabled=False):
        return _decode(heatmaps.float())


def _decode(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    batch, count, height, width = heatmaps.shape
    maps = heatmaps.reshape(-1, height, width)
    peaks = _first_maxima(maps.flatten(1))
    scores = maps.flatten(1).gather(1, peaks[:, None])[:, 0]
    x, y = peaks % width, peaks // width
    blurred = _blurred_neighbourhood(maps, x, y)
    scale = scores / _largest_blurred(heatmaps, scores, blurred)
    step = _newton_step(torch.log((blurred * scale[:, None, None]).clamp(LOG_FLOOR, LOG_CEILING)))
    whole, reach = torch.stack([x, y], dim=1).float(), BLUR_KERNEL // 2
    refined = whole - step
    # Where the logarithm is almost flat the step may be any number or NaN, which compares as false.
    near = (refined > -reach).all(dim=1) & (refined[:, 0] < width + reach) & (refined[:, 1] < height + reach)
    keypoints = torch.where(((scores > 0) & near)[:, None], refined, whole)
    return keypoints.view(batch, count, 2), scores.view(batch, count)


def _first_maxima(values: Tensor) -> Tensor:
    """(M, n) -> (M,) int64, the first maximum of each row."""
    if values.device.type == "cpu":  # numpy's argmax is several times faster than torch's here
        return torch.from_numpy(values.numpy().argmax(axis=1))
    return values.argmax(dim=1)


def _gaussian(device: torch.device) -> Tensor:
    offsets = torch.arange(BLUR_KERNEL, dtype=torch.float32, device=device) - BLUR_KERNEL // 2
    kernel = torch.exp(-(offsets**2) / (2 * BLUR_SIGMA**2))
    return kernel / kernel.sum()


def _blurred_neighbourhood(maps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(M, 3, 3) of the blurred map around each maximum; what lies outside repeats the border."""
    num_maps, height, width = maps.shape
    reach = BLUR_KERNEL // 2 + 1
    offsets = torch.arange(-reach, reach + 1, device=maps.device)
    rows, columns = y[:, None] + offsets, x[:, None] + offsets
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    cells = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
    patch = maps.flatten(1).gather(1, cells.flatten(1)).view(num_maps, 2 * reach + 1, 2 * reach + 1) * inside
    kernel = _gaussian(maps.device)
    # Sums instead of matrix products: those may run in TF32.
    patch = (patch.unfold(1, BLUR_KERNEL, 1) * kernel).sum(dim=3)
    patch = (patch.unfold(2, BLUR_KERNEL, 1) * kernel).sum(dim=3)
    near = torch.arange(-1, 2, device=maps.device)
    rows = 1 + ((y[:, None] + near).clamp(0, height - 1) - y[:, None])
    columns = 1 + ((x[:, None] + near).clamp(0, width - 1) - x[:, None])
    index = (rows[:, :, None] * 3 + columns[:, None, :]).flatten(1)
    return patch.flatten(1).gather(1, index).view(num_maps, 3, 3)


def _largest_blurred(heatmaps: Tensor, scores: Tensor, blurred: Tensor) -> Tensor:
    """(M,) what the blurred map's own maximum is, where it matters.

    The blurred map is scaled to keep the map's maximum, but a scale drops out of a logarithm's
    derivatives, so it counts only where the clipping bites: near zero or far above it.
    """
    local = blurred.flatten(1)
    doubtful = ((local.amin(dim=1) < LOG_FLOOR) | (scores > LOG_CEILING)) & (scores > 0)
    if heatmaps.device.type != "cpu":  # asking how many there are would wait for the device
        return torch.where(doubtful, _largest_without_asking(heatmaps.flatten(0, 1), doubtful), local[:, 4])
    largest, kernel = local[:, 4].clone(), _gaussian(heatmaps.device).numpy()
    maps = heatmaps.flatten(0, 1).numpy()
    full = np.empty(maps.shape[1:], np.float32)
    for index in doubtful.nonzero()[:, 0].tolist():  # tens of times faster than a convolution of one channel
        cv2.sepFilter2D(maps[index], -1, kernel, kernel, dst=full, borderType=cv2.BORDER_CONSTANT)
        largest[index] = float(full.max())
    return largest


def _largest_without_asking(maps: Tensor, doubtful: Tensor) -> Tensor:
    """(M, h, w), (M,) -> (M,) maxima of the blurred maps, at least of the doubtful ones."""
    if not _triton_works(maps.device):
        return largest_of_each(maps)
    from sapiens_pl.inference.weak_maps import largest_where_weak

    return largest_where_weak(maps, doubtful, _gaussian(maps.device))


@lru_cache
def _triton_works(device: torch.device) -> bool:
    """Tries the kernel against the plain way, once."""
    if device.type != "cuda":
        return False
    try:
        from sapiens_pl.inference.weak_maps import largest_where_weak

        sample = torch.rand(3, 32, 16, device=device)
        found = largest_where_weak(sample, torch.ones_like(sample[:, 0, 0], dtype=torch.bool), _gaussian(device))
        if not torch.allclose(found, largest_of_each(sample), rtol=1e-5):
            raise ArithmeticError("a kernel's result is wrong")
    except Exception as error:  # no Triton, no C compiler, a cache that cannot be written
        reason = one_line(error)
        log.warning("Triton does not work on %s (%s): keypoints are decoded a little more slowly.", device, reason)
        return False
    return True


def largest_of_each(maps: Tensor) -> Tensor:
    """(M, h, w) -> (M,) maxima of the whole blurred maps; some hundred at a time for the sake of memory."""
    reach = BLUR_KERNEL // 2
    kernel = _gaussian(maps.device)
    maxima = []
    for some in maps.split(256):  # one channel a group: CUDA's kernel for that stays float32, without TF32
        kernels = kernel.expand(len(some), 1, -1)
        full = F.conv2d(some[None], kernels[..., None], padding=(reach, 0), groups=len(some))
        full = F.conv2d(full, kernels[..., None, :], padding=(0, reach), groups=len(some))
        maxima.append(full.amax(dim=(0, 2, 3)))
    return torch.cat(maxima)


def _newton_step(logs: Tensor) -> Tensor:
    """(M, 3, 3) logarithms, rows then columns -> (M, 2) xy, what to take off the maximum's position."""
    eps = torch.finfo(torch.float32).eps
    up, left, middle, right, down = logs[:, 0, 1], logs[:, 1, 0], logs[:, 1, 1], logs[:, 1, 2], logs[:, 2, 1]
    dx, dy = (right - left) / 2, (down - up) / 2
    dxx, dyy = right - 2 * middle + left + eps, down - 2 * middle + up + eps
    dxy = (logs[:, 2, 2] - right - down + 2 * middle - left - up + logs[:, 0, 0]) / 2
    determinant = dxx * dyy - dxy * dxy
    return torch.stack([dyy * dx - dxy * dy, dxx * dy - dxy * dx], dim=1) / determinant[:, None]
