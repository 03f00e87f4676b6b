"""One image's poses as JSON, in the layout that the original's scripts write."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np

from sapiens_pl.core.keypoints import KeypointSpec
from sapiens_pl.core.protocols import PictureProduct
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.core.text_files import to_json

COORDINATE_DECIMALS = 3
SCORE_DECIMALS = 6


class JsonFiles(PictureProduct):
    """`predictions/a.jpg.json`."""

    folder, suffix, ending = "predictions", ".json", b"}"

    def content(self, result: PoseResult, keypoint_set: KeypointSpec, photograph: Callable[[], np.ndarray]) -> bytes:
        return result_json(result, keypoint_set)


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
        "keypoints": rounded(result.keypoints[row], COORDINATE_DECIMALS).tolist(),
        "keypoint_scores": rounded(result.keypoint_scores[row], SCORE_DECIMALS).tolist(),
    }


def rounded(values: np.ndarray, decimals: int) -> np.ndarray:
    """As float64; one and the same rounding in all formats."""
    return np.round(values.astype(np.float64), decimals)


def read_result(content: bytes) -> PoseResult:
    """The poses that `result_json` has written; `path` and `failures` are not in there.

    Raises:
        ValueError, KeyError, TypeError, IndexError: it is no such file.
    """
    data = json.loads(content)
    image, people, count = data["image"], data["instance_info"], data["meta_info"]["num_keypoints"]
    return PoseResult(
        path="",
        keypoints=np.array([person["keypoints"] for person in people], np.float32).reshape(-1, count, 2),
        keypoint_scores=np.array([person["keypoint_scores"] for person in people], np.float32).reshape(-1, count),
        bboxes=np.array([person["bbox"] for person in people], np.float64).reshape(-1, 4),
        bbox_scores=np.array([person["bbox_score"] for person in people], np.float64),
        instance_ids=np.array([person["instance_id"] for person in people], np.int64),
        image_wh=None if image["width"] is None else (image["width"], image["height"]),
        name=image["path"],
        failures=(),
        image_id=image.get("id"),
    )
