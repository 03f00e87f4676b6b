"""One image's poses as JSON, in the layout that the original's scripts write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import PictureProduct
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.core.text_files import to_json

COORDINATE_DECIMALS = 3
SCORE_DECIMALS = 6


class JsonFiles(PictureProduct):
    """`predictions/a.jpg.json`; the frames of a video have one file for all (`frames_json`)."""

    folder, suffix, ending = "predictions", ".json", b"}"
    of_frames = False

    def content(self, result: PoseResult, keypoint_set: KeypointSet, photograph: Callable[[], np.ndarray]) -> bytes:
        return result_json(result, keypoint_set)


def result_json(result: PoseResult, keypoint_set: KeypointSet) -> bytes:
    """The file's content: `meta_info`, `image`, and `instance_info` in the order of the boxes given.

    `image` has the `id` of the box file, if there is one. Coordinates are image px rounded to 0.001,
    scores rounded to 1e-6; boxes are as given.
    """
    width, height = result.image_wh or (None, None)
    known_id = {} if result.image_id is None else {"id": result.image_id}
    content = {
        "meta_info": meta_info(keypoint_set),
        "image": {"path": result.name, "width": width, "height": height} | known_id,
        "instance_info": [instance_info(result, row) for row in range(len(result.instance_ids))],
    }
    return (to_json(content) + "\n").encode("utf-8")


def meta_info(keypoint_set: KeypointSet) -> dict[str, Any]:
    """What the keypoints are."""
    return {
        "dataset_name": keypoint_set.dataset_name,
        "num_keypoints": keypoint_set.num_keypoints,
        "keypoint_names": list(keypoint_set.names),
    }


def instance_info(result: PoseResult, row: int) -> dict[str, Any]:
    """One person, as found."""
    return {
        "instance_id": int(result.instance_ids[row]),
        "bbox": result.bboxes[row].tolist(),
        "bbox_score": float(result.bbox_scores[row]),
        "keypoints": rounded(result.keypoints[row], COORDINATE_DECIMALS).tolist(),
        "keypoint_scores": rounded(result.keypoint_scores[row], SCORE_DECIMALS).tolist(),
    }


def rounded(values: np.ndarray, decimals: int) -> np.ndarray:
    """As float64, rounded in the same way in all formats."""
    return np.round(values.astype(np.float64), decimals)
