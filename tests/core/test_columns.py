from __future__ import annotations

import numpy as np
import pytest

from sapiens_pl.core.columns import NO_IMAGE_ID, Names, names_of_arrow, whole_pictures

TEXTS = ["a/b.jpg", "", "grün 图.png", "bytes_\udcff\udc80.jpg", "a/b.jpg", "x" * 300]


def test_names_come_back_as_they_were_given():
    names = Names.of(TEXTS)
    assert len(names) == len(TEXTS) and list(names) == TEXTS
    assert [names[index] for index in range(-len(TEXTS), len(TEXTS))] == TEXTS * 2
    assert list(names[1:4]) == TEXTS[1:4] and names == Names.of(TEXTS) and names != Names.of(TEXTS[:-1])
    assert list(names.select(np.array([4, 2, 2]))) == [TEXTS[4], TEXTS[2], TEXTS[2]]
    assert names_of_arrow(names.arrow()[2:5]) == Names.of(TEXTS[2:5])
    with pytest.raises(IndexError):
        names[len(TEXTS)]
    many = [f"{number}.jpg" for number in range(10_000)]
    assert list(Names.of(many)) == many


def test_no_names_are_names_too():
    none = Names.of([])
    assert list(none) == [] and len(none) == 0
    assert list(Names.of(TEXTS).select(np.zeros(0, np.int64))) == []
    assert none.positions(Names.of(["a"])).tolist() == [-1] and len(Names.of(TEXTS).positions(none)) == 0


def test_where_names_stand():
    assert Names.of(TEXTS).positions(Names.of(["x", "a/b.jpg", TEXTS[3], ""])).tolist() == [-1, 0, 3, 1]


def test_half_a_character_of_a_json_file_is_no_traceback():
    assert Names.of(["\ud83d.jpg"])[0].endswith(".jpg")


def test_a_whole_picture_is_one_box_without_numbers():
    whole = whole_pictures(3)
    assert whole.num_boxes.tolist() == [1, 1, 1] and np.isnan(whole.bboxes_xyxy).all()
    assert whole.num_pictures == 3 and set(whole.image_ids.tolist()) == {NO_IMAGE_ID}
