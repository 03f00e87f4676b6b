"""One JSON file a picture as OpenPose writes it, for the programs that read its results.

Orders of points: OpenPose's documentation, "Output" (doc/02_output.md): BODY_25, COCO (BODY_18), face (iBUG's 68 and
the pupils) and hand. ControlNet has added `canvas_width` and `canvas_height`, and takes only points whose score is 1.

Legend: N people, K keypoints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import PictureProduct
from sapiens_pl.core.settings import SWITCH, check, number, one_of
from sapiens_pl.core.structures import NO_TRACK_ID, PoseResult
from sapiens_pl.products.frame_columns import tracks_of
from sapiens_pl.products.json_files import COORDINATE_DECIMALS, SCORE_DECIMALS, rounded, to_json
from sapiens_pl.products.openpose_face import face_points

_SHOULDERS, _HIPS = (5, 6), (11, 12)
_NECK, _MID_HIP = _SHOULDERS, _HIPS  # OpenPose learns both as the middle of two points
_BODY_25 = (0, _NECK, 6, 8, 10, 5, 7, 9, _MID_HIP, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
_BODY_18 = (0, _NECK, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
"""By their numbers among COCO's 17; BODY_25 has the feet behind: left big toe, small toe, heel, then right."""
MODELS = {"BODY_25": _BODY_25, "BODY_18": _BODY_18}
_SETTINGS = {"openpose_model": one_of(*MODELS), "openpose_scores": SWITCH, "overlay_score_threshold": number()}
_NUM_FEET = 6


class OpenPoseJson(PictureProduct):
    """`openpose_json/a.jpg_keypoints.json`, and `openpose_json/walk.mp4/walk_000000000012_keypoints.json` for a frame.

    `person_id` is the track's, or -1. Points are those that were found, smoothed or not: readers filter by themselves.

    Args:
        model: BODY_25 or BODY_18, the order of `pose_keypoints_2d`.
        scores: give each point its score; else 1, and 0, 0, 0 for points with a lower score than
            `score_threshold`.
        score_threshold: see `scores`.

    Raises:
        ConfigError: an unknown model, not true or false, not a number.
    """

    folder, suffix, ending = "openpose_json", "_keypoints.json", b"}"
    needs = ("body",)

    def __init__(self, model: str, scores: bool, score_threshold: float) -> None:
        values = {"openpose_model": model, "openpose_scores": scores, "overlay_score_threshold": score_threshold}
        check(_SETTINGS, values, "output")
        self._model, self._threshold = model, None if scores else score_threshold

    def content(self, result: PoseResult, keypoint_set: KeypointSet, photograph: Callable[[], np.ndarray]) -> bytes:
        assert result.image_wh is not None, "an image that could not be read has no poses"
        width, height = result.image_wh
        ids = [-1 if track_id == NO_TRACK_ID else track_id for track_id in tracks_of(result).tolist()]
        people = [
            {"person_id": [person_id], **self._person(keypoints, scores, keypoint_set)}
            for person_id, keypoints, scores in zip(ids, result.keypoints, result.keypoint_scores)
        ]
        content = {"version": 1.3, "people": people, "canvas_width": width, "canvas_height": height}
        return (to_json(content) + "\n").encode()

    def _person(self, keypoints: np.ndarray, scores: np.ndarray, keypoint_set: KeypointSet) -> dict[str, Any]:
        parts = keypoint_set.parts
        points = np.concatenate([keypoints, np.clip(scores, 0, 1)[:, None]], axis=1).astype(np.float64)
        body = _points_of(points[list(parts["body"])], MODELS[self._model])
        if self._model == "BODY_25":
            body = np.concatenate([body, points[list(parts["feet"])] if "feet" in parts else np.zeros((_NUM_FEET, 3))])
        face = face_points(keypoints, np.clip(scores, 0, 1), keypoint_set)
        hands = [points[list(parts.get(hand, ()))] for hand in ("left_hand", "right_hand")]
        return {
            "pose_keypoints_2d": self._listed(body),
            "face_keypoints_2d": self._listed(face),
            "hand_left_keypoints_2d": self._listed(hands[0]),
            "hand_right_keypoints_2d": self._listed(hands[1]),
            **{f"{part}_keypoints_3d": [] for part in ("pose", "face", "hand_left", "hand_right")},
        }

    def _listed(self, points: np.ndarray) -> list[float]:
        """x, y, score of each point in one list; three zeros for a point that is not there."""
        places, scores = rounded(points[:, :2], COORDINATE_DECIMALS), rounded(points[:, 2:], SCORE_DECIMALS)
        points = np.concatenate([places, scores], axis=1)
        if self._threshold is not None:
            shown = points[:, 2] >= self._threshold
            points[shown, 2], points[~shown] = 1, 0
        return points.ravel().tolist()


def _points_of(body: np.ndarray, order: Sequence[int | tuple[int, int]]) -> np.ndarray:
    """Points (17, 3) in another order; between two lies their middle, with the lower of their scores."""
    return np.array([body[each] if isinstance(each, int) else _middle(*body[list(each)]) for each in order])


def _middle(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.array([*(one[:2] + other[:2]) / 2, min(one[2], other[2])])
