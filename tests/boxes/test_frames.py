"""Which image is which frame, by the numbers in the names."""

from __future__ import annotations

import pytest
from box_sources import boxes_of

from sapiens_pl.boxes.mot_boxes import MotBoxes
from sapiens_pl.core.errors import ConfigError


def frames_of(tmp_path, frames, *names):
    """The box of frame n is n + 100 px wide: by image, the frame that it got."""
    text = "".join(f"{frame},1,1,1,{100 + frame},9,1,-1,-1,-1\n" for frame in frames)
    boxes, failures = boxes_of(MotBoxes, tmp_path, text, *names)
    return {name: int(rows[0][2] - rows[0][0]) - 100 for name, rows in boxes.items() if rows}, failures


def test_frames_that_count_from_0(tmp_path):
    assert frames_of(tmp_path, (0, 1, 2), "00.jpg", "01.jpg", "02.jpg")[0] == {"00.jpg": 0, "01.jpg": 1, "02.jpg": 2}
    assert frames_of(tmp_path, (1, 2, 3), "00.jpg", "01.jpg", "02.jpg")[0] == {"00.jpg": 1, "01.jpg": 2, "02.jpg": 3}
    assert frames_of(tmp_path, (0, 1, 2), "01.jpg", "02.jpg", "03.jpg")[0] == {"01.jpg": 0, "02.jpg": 1, "03.jpg": 2}
    with pytest.raises(ConfigError, match="counts its frames from 0 to 1, the images' names from 1 to 3"):
        frames_of(tmp_path, (0, 1), "01.jpg", "02.jpg", "03.jpg")


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("cam1_02.jpg", "cam2_01.jpg"), "more than one number could be the frame's"),
        (("a/1.jpg", "a/2.jpg", "b/1.jpg"), "a/1.jpg and b/1.jpg have the same frame number"),
        (("s1/01.jpg", "s2/01.jpg"), "s1/01.jpg and s2/01.jpg have the same frame number"),
        (("000000.jpg", "000001.jpg", "cover2.jpg"), "not named alike"),
        (("1_a.jpg", "2_a.jpg", "a3_.jpg"), "not named alike"),
        (("1.jpg", "1.png"), "same frame number"),
        (("101.jpg", "102.jpg"), "has frames 1 to 2, data.images has frames 101 to 102"),
    ],
)
def test_frames_that_nobody_can_tell_are_refused(tmp_path, names, sentence):
    with pytest.raises(ConfigError, match=sentence):
        frames_of(tmp_path, (1, 2), *names)
