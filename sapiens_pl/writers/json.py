"""One image's poses as JSON, in the layout that the original's scripts write."""

from __future__ import annotations

import numpy as np

from sapiens_pl.keypoints import KeypointSpec
from sapiens_pl.structures import PoseResult
from sapiens_pl.writers.run_folder import to_json

COORDINATE_DECIMALS = 3
SCORE_DECIMALS = 6


def result_json(result: PoseResult, spec: KeypointSpec) -> bytes:
    """The file's content: `meta_info`, `image`, and `instance_info` in the order of the boxes given.

    `image` has the `id` that the box file calls it by, if it does. Coordinates are image px rounded to 0.001,
    scores rounded to 1e-6; boxes stand as they came.
    """
    width, height = result.image_wh or (None, None)
    known_id = {} if result.image_id is None else {"id": result.image_id}
    content = {
        "meta_info": {
            "dataset_name": spec.dataset_name,
            "num_keypoints": spec.num_keypoints,
            "keypoint_names": list(spec.names),
        },
        "image": {"path": result.name, "width": width, "height": height} | known_id,
        "instance_info": [_instance(result, row) for row in range(len(result.instance_ids))],
    }
    return (to_json(content) + "\n").encode("utf-8")


def _instance(result: PoseResult, row: int) -> dict:
    return {
        "instance_id": int(result.instance_ids[row]),
        "bbox": result.bboxes[row].tolist(),
        "bbox_score": float(result.bbox_scores[row]),
        "keypoints": np.round(result.keypoints[row].astype(np.float64), COORDINATE_DECIMALS).tolist(),
        "keypoint_scores": np.round(result.keypoint_scores[row].astype(np.float64), SCORE_DECIMALS).tolist(),
    }
