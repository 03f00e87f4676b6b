"""People whose left and right may have changed places, by what a body can do; no pixel is looked at.

Seen from the front, a person's left is on the right of the picture; from behind it is on its left. Which of the two it
is, and how far the person is turned away, is told by each pair of keypoints on its own: by the side on which the left
one is, seen along the trunk, and by how wide the pair is, measured against the stature. So each pair has a turn about
the body's long axis, and turns of neighbouring parts cannot differ by more than joints allow:

    face      nose and eyes stand in the order of a mirrored face, whichever way the head is held
    head      the face looks at the camera, and the shoulders are seen from behind (or the eyes have changed places): it
              would be turned further than a neck turns
    trunk     shoulders from the front, hips from behind, or the other way round
    arms      both elbows are far over on the other's side; so that folded arms do not count, wrists alone do not
    legs      both knees are, or both ankles
    hands     each hand is at the other's wrist
    feet      each heel is at the other's ankle

A person who is swapped as a whole and whose face is not seen is simply one who is seen from the other side, and is not
found. In pictures that are mirrored, everybody's face is judged right: a network knows left from right by their looks.

Measured: of 12 annotated people of COCO's photographs, none is a candidate as annotated; swapped as a whole 9 are,
arms 10, legs 10, what hangs on elbows or on knees 8 each, the body without the face 5. Of 524 poses of two recorded
motions (bvhtoolbox 0.1.3), each seen by 40 cameras from all sides, 0.26% are; of those whose face is seen and that are
swapped as a whole 41%, arms 55%, legs 54%: the others are seen from the side, where left and right lie behind one
another.

Legend: P people, 17 keypoints of the body in COCO's order, coordinates in image px, y down; NaN for what is not seen.
"""

from __future__ import annotations

import numpy as np

from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.products.limbs import statures

RULES = ("face", "head", "trunk", "arms", "legs", "hands", "feet")
_NOSE, _EYES, _SHOULDERS, _ELBOWS, _HIPS, _KNEES, _ANKLES = 0, (1, 2), (5, 6), (7, 8), (11, 12), (13, 14), (15, 16)
_WRISTS = (9, 10)
_SHOULDER_WIDTH, _HIP_WIDTH, _EYE_DISTANCE = 0.22, 0.11, 0.037
"""Parts of the stature; 12 annotated people in COCO's photographs have 0.20, 0.13 and 0.045 at most as they look at the
camera, and pupils lie 63 mm apart (Dodgson, "Variation and extrema of human interpupillary distance", 2004)."""
_NECK_DEGREES = 115.0
"""A head turns by about 80 degrees (Youdas et al., "Normal range of motion of the cervical spine", 1992), and shoulders
follow it by some 35 against the rest."""
_TRUNK_DEGREES = 75.0
"""Shoulders turn by about 45 degrees against the hips (AAOS, "Joint Motion", 1965)."""
_NOSE_LENGTH, _FRONTAL = 0.4, 1.0
"""Of the distance between the eyes: so far a nose must be on the wrong side of the line through them, and no farther
from their middle, else the face is seen from the side or from far above."""
_OVER = 0.6
"""Elbows and knees on the wrong sides by so many widths of shoulders or hips; ankles by twice as many."""
_AT_THE_OTHER = 2.0
"""Times farther from its own wrist or ankle than from the other's."""
_APART = 0.1
"""Of the stature: so far apart two wrists or ankles must be to tell whose is whose."""


def swap_candidates(keypoints: np.ndarray, keypoint_set: KeypointSet) -> np.ndarray:
    """Which rules each person breaks.

    Args:
        keypoints: (P, K, 2), NaN for what is not seen.
        keypoint_set: what they are; where it does not tell which are the body's, no rule is applied.

    Returns:
        (P, R) bool, by `RULES`.
    """
    found = np.zeros((len(keypoints), len(RULES)), bool)
    parts = keypoint_set.parts
    if "body" not in parts or not len(keypoints):
        return found
    body = keypoints[:, parts["body"]]
    stature = statures(body)[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        turns = _turns(body, stature)
        found[:, 0] = _is_mirrored(body)
        found[:, 1] = ~found[:, 0] & _is_twisted(turns["eyes"], turns["shoulders"], _NECK_DEGREES)
        found[:, 2] = _is_twisted(turns["shoulders"], turns["hips"], _TRUNK_DEGREES)
        found[:, 3] = _is_over(body, _SHOULDERS, _ELBOWS, _SHOULDER_WIDTH * stature, _OVER)
        hips = _HIP_WIDTH * stature
        found[:, 4] = _is_over(body, _HIPS, _KNEES, hips, 2 * _OVER) | _is_over(body, _HIPS, _ANKLES, hips, 4 * _OVER)
        if "left_hand" in parts and "right_hand" in parts:
            knuckles = keypoints[:, [parts["left_hand"][9], parts["right_hand"][9]]]
            found[:, 5] = _is_at_the_other(body[:, _WRISTS], knuckles, stature)
        if "feet" in parts:
            found[:, 6] = _is_at_the_other(
                body[:, _ANKLES], keypoints[:, [parts["feet"][2], parts["feet"][5]]], stature
            )
    return found


def _down(body: np.ndarray) -> np.ndarray:
    """(P, 2) unit vectors from the shoulders to the hips, of people with both seen."""
    down = body[:, _HIPS].mean(axis=1) - body[:, _SHOULDERS].mean(axis=1)
    return down / np.linalg.norm(down, axis=1, keepdims=True)


def _widths(body: np.ndarray, pair: tuple[int, int]) -> np.ndarray:
    """(P,) px across the trunk from the right keypoint to the left; positive as seen from the front."""
    return _cross(body[:, pair[0]] - body[:, pair[1]], _down(body))


def _cross(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]


def _turns(body: np.ndarray, stature: np.ndarray) -> dict[str, np.ndarray]:
    """(P,) degrees by which pairs are turned from the camera: 0 from the front, 90 from the side, 180 from behind."""
    sizes = {
        "eyes": (_EYES, _EYE_DISTANCE),
        "shoulders": (_SHOULDERS, _SHOULDER_WIDTH),
        "hips": (_HIPS, _HIP_WIDTH),
    }
    return {
        name: np.degrees(np.arccos(np.clip(_widths(body, pair) / (part * stature), -1, 1)))
        for name, (pair, part) in sizes.items()
    }


def _is_twisted(one: np.ndarray, other: np.ndarray, most: float) -> np.ndarray:
    return np.abs(one - other) > most


def _is_mirrored(body: np.ndarray) -> np.ndarray:
    """(P,) bool: going from the right eye to the left one, the nose is on the wrong hand; of faces seen from the front.

    The nose is as far from the middle of the eyes as from the line through them, or nearly so, and no farther than the
    eyes from each other.
    """
    right, left, nose = body[:, 2], body[:, 1], body[:, _NOSE]
    between = left - right
    distance = np.linalg.norm(between, axis=1)
    wrong = -_cross(between, nose - right) / distance
    return (wrong > _NOSE_LENGTH * distance) & (np.linalg.norm(nose - (left + right) / 2, axis=1) < _FRONTAL * distance)


def _is_over(
    body: np.ndarray, above: tuple[int, int], below: tuple[int, int], width: np.ndarray, least: float
) -> np.ndarray:
    """(P,) bool: the upper pair is seen from one side at half its width or more, the lower one from the other."""
    upper, lower = _widths(body, above) / width, _widths(body, below) / width
    return (np.abs(upper) > 0.5) & (np.sign(upper) != np.sign(lower)) & (np.abs(lower) > least)


def _is_at_the_other(joints: np.ndarray, ends: np.ndarray, stature: np.ndarray) -> np.ndarray:
    """(P,) bool; joints and ends (P, 2, 2), left and right."""
    own = np.linalg.norm(ends - joints, axis=2)
    others = np.linalg.norm(ends - joints[:, ::-1], axis=2)
    apart = np.linalg.norm(joints[:, 0] - joints[:, 1], axis=1) > _APART * stature
    return apart & (own > _AT_THE_OTHER * others).all(axis=1)
