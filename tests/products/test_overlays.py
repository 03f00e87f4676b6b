"""Overlays: who is who, sizes that suit the picture and the person, and parts of the body."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.structures import NO_TRACK_ID
from sapiens_pl.models.keypoint_sets import set_of_network
from sapiens_pl.products.drawing import line_width, track_colour
from sapiens_pl.products.labels import Labels
from sapiens_pl.products.overlay import Overlay, draw_poses, overlay_jpeg
from tests.products.made import make_products
from tests.records.made_up import pose_result

GREY = 120


def person(wh, bbox, num_keypoints=17, **changes):
    """Somebody whose keypoints lie on the diagonal of the box."""
    bboxes = np.array([bbox], np.float64)
    way = np.linspace(0.1, 0.9, num_keypoints)[None, :, None]
    keypoints = (bboxes[:, None, :2] + way * (bboxes[:, None, 2:] - bboxes[:, None, :2])).astype(np.float32)
    fixed = {"keypoints": keypoints, "keypoint_scores": np.full((1, num_keypoints), 0.9, np.float32)}
    fixed |= {"bboxes": bboxes, "bbox_scores": np.ones(1), "image_wh": wh}
    return pose_result("a.jpg", 1, num_keypoints)._replace(**fixed | changes)


def drawn(result, wh, **options):
    canvas = np.full((wh[1], wh[0], 3), GREY, np.uint8)
    draw_poses(canvas, result, result.keypoint_set, 0.3, **options)
    return canvas


def share(canvas):
    """How much of the picture is drawn over."""
    return float((canvas != GREY).any(axis=2).mean())


def of_colour(canvas, colour):
    return np.abs(canvas.astype(int) - colour).max(axis=2) < 50


@pytest.mark.slow
def test_what_is_drawn_grows_with_the_picture():
    shares = []
    for side in (200, 1000, 8000):
        wh = side, side * 3 // 4
        shares.append(share(drawn(person(wh, (0.2 * side, 0.1 * side, 0.6 * side, 0.7 * side)), wh)))
    small, middle, large = shares  # a line has at least one px, and a letter eight
    assert 0.5 < large / middle < 2 and small < 0.1, shares


def test_lines_suit_the_person_in_a_large_picture():
    assert line_width((8000, 6000)) > 20 and line_width((200, 150)) == 1
    assert line_width((8000, 6000), np.array([0, 0, 100, 150.0])) == 3
    small = drawn(person((2000, 1000), (50, 50, 90, 130)), (2000, 1000), labels=False)
    inside = small[60:120, 54:86]
    assert (inside == GREY).all(axis=2).mean() > 0.5, "somebody small is not hidden by his own lines"


def test_each_id_has_its_colour_and_a_label_that_can_be_left_out():
    wh = 400, 300
    result = person(wh, (100, 100, 200, 280), instance_ids=np.array([7]))
    with_label, without = drawn(result, wh), drawn(result, wh, labels=False)
    assert of_colour(without, track_colour(7)).sum() > 100
    more = of_colour(with_label, track_colour(7)).sum() - of_colour(without, track_colour(7)).sum()
    assert more > 200 and (without[:90] == GREY).all() and (with_label[:90] != GREY).any()
    tracked = drawn(result._replace(track_ids=np.array([3])), wh)
    assert of_colour(tracked, track_colour(3)).any() and not of_colour(tracked, track_colour(7)).any()
    nobodys = drawn(result._replace(track_ids=np.array([NO_TRACK_ID])), wh)
    np.testing.assert_array_equal(nobodys, with_label)


def test_labels_keep_out_of_each_others_way_and_inside_of_the_picture():
    canvas = np.full((300, 400, 3), GREY, np.uint8)
    labels, counts = Labels(canvas), []
    for number, corner in enumerate([(0, 0), (0, 0), (380, 280), (380, 280), (-500, 900)]):
        labels.draw(
            [str(number), "0.50"], np.array([*corner, corner[0] + 150, corner[1] + 100.0]), track_colour(number)
        )
    counts = [of_colour(canvas, track_colour(number)).sum() for number in range(5)]
    assert min(counts) > 0.5 * max(counts)
    labels.draw(["12", "0.50"], np.array([100, 100, 110, 250.0]), (1, 2, 3))
    assert 0 < of_colour(canvas, (1, 2, 3)).any(axis=0).sum() < 40, "of somebody narrow only the id is told"


def test_parts_choose_keypoints_and_hands_are_drawn_finer():
    wh, result = (600, 600), person((600, 600), (50, 50, 550, 550), 133)
    everything, body, hand = (drawn(result, wh, labels=False, parts=parts) for parts in (None, ["body"], ["left_hand"]))
    assert min(map(share, (everything, body, hand))) > 0
    hands = [index for part in ("left_hand", "right_hand") for index in result.keypoint_set.parts[part]]
    x, y = result.keypoints[0, hands[3]].round().astype(int)
    assert (body[y, x] == GREY).all() and (everything[y, x] != GREY).any() and (hand[y, x] != GREY).any()


def test_a_canvas_of_another_size_than_the_picture():
    wh = 400, 300
    result = person(wh, (100, 100, 200, 280))
    half = drawn(result, (200, 150), labels=False)
    whole = cv2.resize(drawn(result, wh, labels=False), (200, 150), interpolation=cv2.INTER_AREA)
    assert ((half != GREY).any(axis=2) & (whole != GREY).any(axis=2)).mean() > 0.5 * share(half)


@pytest.mark.slow
def test_settings_of_overlays(tmp_path):
    for settings, words in (
        ({"labels": 1}, "output.overlay_labels=1 must be true or false"),
        ({"parts": ["head"]}, r"output.overlay_parts=\['head'\] must be a list of body, feet"),
        ({"parts": []}, "must be a list of"),
        ({"score_threshold": "x"}, "output.overlay_score_threshold=x must be a number"),
    ):
        with pytest.raises(ConfigError, match=words):
            Overlay(**{"score_threshold": 0.3} | settings)
    path = str(tmp_path / "a.png")
    cv2.imwrite(path, np.full((300, 400, 3), GREY, np.uint8))
    result = person((400, 300), (100, 100, 200, 280), path=path)
    run = make_products(tmp_path / "run", [result], "overlay", "output.overlay_parts=[body]")
    expected = overlay_jpeg(cv2.imread(path), result, set_of_network("It", 17), 0.3, parts=["body"])
    assert (run / "overlays" / "a.jpg.jpg").read_bytes() == expected
    with pytest.raises(ConfigError, match="output.formats=overlay needs to know which keypoints are the face"):
        make_products(run, [result], "overlay", "output.overlay_parts=[face]")
