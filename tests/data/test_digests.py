from __future__ import annotations

import numpy as np
import pytest

from sapiens_pl.core.columns import NO_IMAGE_ID, BoxColumns, Names, whole_pictures
from sapiens_pl.core.plan import FrameColumns
from sapiens_pl.data.digests import digests


def columns(pictures, raw_exif=False, normalised=False):
    """From rows x1, y1, x2, y2, score, id of each picture."""
    rows = np.array([row for of_picture in pictures for row in of_picture], np.float64).reshape(-1, 6)
    offsets = np.concatenate([[0], np.cumsum([len(of_picture) for of_picture in pictures], dtype=np.int64)])
    ids = np.full(len(pictures), NO_IMAGE_ID)
    return BoxColumns(
        offsets.astype(np.int64), rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64), ids, raw_exif, normalised
    )


PINNED = [11602550931061481835, 12035550249420947055, 13026060237106253766]
PINNED_WHOLE = [12996032587262816642]
ONE, OTHER = [1, 2, 30, 40, 0.5, 0], [5, 6, 70, 80, 0.25, 1]


def test_digests_are_the_same_on_every_machine_and_in_every_version():
    found = digests(columns([[ONE, OTHER], [], [OTHER]])).tolist()
    assert found == PINNED and digests(whole_pictures(1)).tolist() == PINNED_WHOLE


def test_whatever_changes_a_result_changes_the_digest():
    cases = [columns([[ONE, OTHER]]), columns([[OTHER, ONE]]), columns([[ONE]]), columns([[]]), whole_pictures(1)]
    for place in range(6):
        changed = list(ONE)
        changed[place] = np.nextafter(changed[place], 1000) if place < 5 else 7
        cases.append(columns([[changed, OTHER]]))
    cases += [columns([[ONE, ONE]]), columns([[ONE, ONE, ONE]])]
    cases += [columns([[ONE, OTHER]], raw_exif=True), columns([[ONE, OTHER]], normalised=True)]
    cases += [columns([[ONE, OTHER]], raw_exif=True, normalised=True), columns([[]], normalised=True)]
    found = [int(digests(case)[0]) for case in cases]
    assert len(set(found)) == len(found)


def test_neighbours_and_the_sign_of_zero_change_nothing():
    alone = digests(columns([[ONE]]))[0]
    assert digests(columns([[OTHER, OTHER], [ONE], []]))[1] == alone
    zero, minus = columns([[[0, 0, 1, 1, 1, 0]]]), columns([[[-0.0, -0.0, 1, 1, 1, 0]]])
    assert digests(zero) == digests(minus)
    assert len(digests(columns([]))) == 0


@pytest.mark.slow
def test_a_million_pictures_have_a_million_digests():
    count = 1_000_000
    boxes = np.zeros((count, 4))
    boxes[:, 2:] = np.arange(count)[:, None] % 1000 + [1, 1]
    boxes[:, 0] = -(np.arange(count) // 1000)
    whole = whole_pictures(count)._replace(bboxes_xyxy=boxes)
    assert len(np.unique(digests(whole))) == count


def test_an_id_that_a_video_is_given_is_told_from_the_place_that_it_equals():
    plain = columns([[ONE, OTHER], [ONE, OTHER], [[*ONE[:5], 7], OTHER]])
    given = plain._replace(has_given_id=np.ones(6, bool))
    none = np.zeros(3, np.int64)
    frames = FrameColumns(Names.of(["walk.mp4"]), np.array([0, -1, 0]), none, none, none.astype(float))
    differs = digests(given, frames) != digests(plain, frames)
    assert differs.tolist() == [True, False, True]  # the photograph's ids are the same, whoever has said them
    assert (digests(given) == digests(plain)).all() and (digests(plain, frames) == digests(plain)).all()
    only_other = plain._replace(has_given_id=np.array([False] * 4 + [True, False]))
    assert (digests(only_other, frames) == digests(plain)).all(), "what was told apart before stays as it was"
