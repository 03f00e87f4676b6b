"""OpenPose's 70 points of a face (iBUG's 68 and the pupils) of a keypoint set that has them.

Legend: K keypoints.
"""

from __future__ import annotations

import numpy as np

from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.models.keypoint_sets.maps import FACE, has_points, mapped

_NUM_IBUG = 68
_PUPILS = (2, 1)
"""Right, left: COCO's eyes are their pupils."""
_JAW, _CHIN = 17, 8
_TRAGI = ("r_protruding_point_of_tragus", "l_protruding_point_of_tragus")


def face_points(keypoints: np.ndarray, scores: np.ndarray, keypoint_set: KeypointSet) -> np.ndarray:
    """(70, 3) x, y, score, or (0, 3) for a set without such a face.

    Of Goliath's, by `maps/openpose_face.yaml`: sixteen points of the jaw have no keypoint, and are 0, 0 with a score
    of 0.

    Args:
        keypoints: (K, 2).
        scores: (K,).
    """
    points = np.concatenate([keypoints, scores[:, None]], axis=1).astype(np.float64)
    face, body = keypoint_set.parts.get("face", ()), keypoint_set.parts.get("body", ())
    if len(face) == _NUM_IBUG and body:
        return np.concatenate([points[list(face)], points[list(body)][list(_PUPILS)]])
    if not has_points(keypoint_set, FACE):
        return np.zeros((0, 3))
    places, of_places = mapped(points[None, :, :2], points[None, :, 2], keypoint_set, FACE)
    return np.concatenate([places[0], of_places[0, :, None]], axis=1)


def with_jaw(face: np.ndarray, keypoints: np.ndarray, scores: np.ndarray, keypoint_set: KeypointSet) -> np.ndarray:
    """The same with a jaw line for Goliath's, which has only its chin; the line is not measured.

    It is half of an ellipse, as the picture shows it: its ends are at the tragi, as iBUG's line begins in front of the
    ears, its vertex is the chin; the other points have the lowest score of the three.

    Args:
        face: what `face_points` gave.
        keypoints: (K, 2).
        scores: (K,).
    """
    if not len(face) or not set(_TRAGI) <= set(keypoint_set.names) or face[:_CHIN, 2].any():
        return face
    right, left = (keypoint_set.names.index(name) for name in _TRAGI)
    middle = (keypoints[right] + keypoints[left]).astype(np.float64) / 2
    angles = np.linspace(np.pi, 0, _JAW)[:, None]
    chin = face[_CHIN]
    line = middle + np.cos(angles) * (keypoints[left] - middle) + np.sin(angles) * (chin[:2] - middle)
    jaw = np.column_stack([line, np.full(_JAW, min(chin[2], scores[right], scores[left]))])
    return np.concatenate([jaw[:_CHIN], chin[None], jaw[_CHIN + 1 :], face[_JAW:]])
