"""How far found keypoints lie from drawn ones, how many figures a detector finds, and whether ids stay with them.

Legend: N figures, K keypoints; coordinates in image px.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torchvision.ops import box_iou

FOUND_IOU = 0.5
PCK_FRACTION = 0.05
"""A keypoint counts as right within this part of the box's longer side."""


class Accuracy(NamedTuple):
    """`pck`: part of the visible keypoints that is right; mean error in px and in box sides."""

    pck: float
    mean_error_px: float
    mean_error_sides: float
    num_keypoints: int
    num_figures: int


def measure(found: np.ndarray, drawn: np.ndarray, visible: np.ndarray, sides: np.ndarray) -> Accuracy:
    """Compares keypoints.

    Args:
        found, drawn: (N, K, 2).
        visible: (N, K) bool; the others do not count.
        sides: (N,) longer sides of the boxes.
    """
    errors = np.linalg.norm(found - drawn, axis=2)
    relative = errors / sides[:, None]
    return Accuracy(
        float((relative[visible] <= PCK_FRACTION).mean()),
        float(errors[visible].mean()),
        float(relative[visible].mean()),
        int(visible.sum()),
        len(found),
    )


def accuracy_line(found: np.ndarray, drawn: np.ndarray, visible: np.ndarray, sides: np.ndarray) -> str:
    """`measure` as a sentence."""
    result = measure(found, drawn, visible, sides)
    return (
        f"Of {result.num_keypoints} visible keypoints of {result.num_figures} figures, {100 * result.pck:.2f}% lie "
        f"within {100 * PCK_FRACTION:g}% of the box's longer side; mean error {result.mean_error_px:.2f} px "
        f"({100 * result.mean_error_sides:.2f}% of that side)."
    )


class Recall(NamedTuple):
    """Of `num_figures` drawn ones, `num_found` have a box; `num_boxes` of boxes there are."""

    num_found: int
    num_figures: int
    num_boxes: int


def pairs(found: np.ndarray, drawn: np.ndarray) -> list[tuple[int, int]]:
    """Rows of (N, 4) found boxes and of (M, 4) drawn ones that belong together, as in `recall`; xyxy."""
    ious, rows = box_iou(torch.from_numpy(found).double(), torch.from_numpy(drawn).double()), []
    while ious.numel() and ious.max() >= FOUND_IOU:
        row, column = divmod(int(ious.argmax()), ious.shape[1])
        ious[row], ious[:, column] = 0, 0
        rows.append((row, column))
    return rows


def recall(found: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray]) -> Recall:
    """Pairs found and drawn boxes, each with at most one other, from an IoU of 0.5 on, the closest first.

    Args:
        found, drawn: (N, 4) xyxy by image; images that are not in `found` do not count.
    """
    num_found = sum(len(pairs(boxes, drawn[name])) for name, boxes in found.items())
    return Recall(num_found, sum(len(drawn[name]) for name in found), sum(map(len, found.values())))


def recall_line(found: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray]) -> str:
    """`recall` as a sentence."""
    result = recall(found, drawn)
    extra = result.num_boxes - result.num_found
    return (
        f"Of {result.num_figures} figures, {result.num_found} have a box (IoU of at least {FOUND_IOU:g}); "
        f"{extra} of {result.num_boxes} boxes are of no figure, or of one that has a box already."
    )


class Identity(NamedTuple):
    """How well `num_ids` ids name `num_figures` figures: `num_switches` times one has another id than when it was last
    found with an id.
    """

    num_switches: int
    num_ids: int
    num_figures: int


def identity(named: Iterable[tuple[int, int]]) -> Identity:
    """Compares ids with who it is.

    Args:
        named: a figure and the id that it has there, frame after frame.
    """
    last: dict[int, int] = {}
    ids, num_switches = set(), 0
    for figure, track_id in named:
        num_switches += last.get(figure, track_id) != track_id
        last[figure] = track_id
        ids.add(track_id)
    return Identity(num_switches, len(ids), len(last))


def identity_line(named: Iterable[tuple[int, int]]) -> str:
    """`identity` as a sentence."""
    result = identity(named)
    switches = "1 id switch" if result.num_switches == 1 else f"{result.num_switches} id switches"
    return f"{result.num_figures} figures have {result.num_ids} ids over the film, with {switches}."
