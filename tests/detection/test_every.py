"""`boxes.every`: which frames the detector looks at, and who is in those between."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import SettingError
from sapiens_pl.core.plan import FrameColumns, Pictures
from sapiens_pl.core.structures import Failure, ListedImage
from sapiens_pl.data.packing import shard_images
from sapiens_pl.data.stretches import pieces, places_among
from sapiens_pl.detection.boxes import DetectorBoxes
from sapiens_pl.detection.every import Looks, people_between, same_people
from sapiens_pl.detection.fcos_small import fcos_small
from sapiens_pl.detection.record import DetectionRecord
from sapiens_pl.records.run_folder import RunFolder

STRETCHES = (40, 50, 33, 90)
NUM_PHOTOGRAPHS = 3
WALKER = np.array([10.0, 20.0, 40.0, 80.0, 0.9])


def film_and_photographs() -> Pictures:
    """Frames of one film, whose clock runs twice as fast from frame 100 on, and photographs behind them."""
    count = sum(STRETCHES)
    video = np.append(np.zeros(count, np.int64), np.full(NUM_PHOTOGRAPHS, -1))
    index = np.arange(count + NUM_PHOTOGRAPHS)
    seconds = np.where(index < 100, index, 100 + 2.0 * (index - 100)) / 25
    names = Names.of(f"a.mp4/a_{i:012d}" if i < count else f"photo{i}.jpg" for i in index)
    frames = FrameColumns(Names.of(["a.mp4"]), video, index, index, seconds)
    stretches = np.cumsum([0, *STRETCHES, *[1] * NUM_PHOTOGRAPHS])
    return Pictures("/films", names, stretches=stretches, frames=frames)


@pytest.fixture
def detector(tmp_path):
    """Gives the boxes of a detector that looks so often, and its record in a folder of its own."""
    torch.manual_seed(0)
    weights = tmp_path / "detector.safetensors"
    save_file(fcos_small().state_dict(), weights)

    def make(every):
        boxes = DetectorBoxes("fcos_small", str(weights), every=every)
        folder = RunFolder(tmp_path / f"every_{every}")
        folder.open()
        boxes.in_folder(DetectionRecord(folder))
        return boxes

    return make


def look(boxes, pictures, indices, people) -> None:
    for index in indices.tolist():
        boxes.record.append(ListedImage(pictures.names[index], 640, 360, None), people(index))


@pytest.mark.parametrize("every", [1, 2, 7, 1000])
def test_first_last_and_each_so_manieth_frame_of_a_stretch_and_all_photographs(every):
    pictures = film_and_photographs()
    looked = np.flatnonzero(Looks(pictures, every).is_looked_at)
    expected = set(range(sum(STRETCHES), len(pictures.names)))
    for begin, end in zip(pictures.stretches, pictures.stretches[1:]):
        expected |= {*range(begin, end, every), end - 1}
    assert set(looked) == expected


@pytest.mark.parametrize("every", [3, 10])
def test_no_frame_needs_one_that_another_process_has(every):
    pictures = film_and_photographs()
    together, looks = pieces(pictures), Looks(pictures, every)
    left = np.flatnonzero(np.arange(len(pictures.names)) % 5 != 2)  # of a run that was broken off
    for share in shard_images(np.ones(len(left)), 3, places_among(together, left)):
        own = left[share]
        near = looks.near(own)
        sides = looks.neighbours(own, near)
        others = [set(left[other]) for other in shard_images(np.ones(len(left)), 3, places_among(together, left))]
        foreign = set(near) & set.union(*(other for other in others if other != set(own)))
        assert not foreign
        between = own[~looks.is_looked_at[own]]
        assert set(looks.neighbours(between, near).before) | set(looks.neighbours(between, near).after) <= set(near)
        assert (sides.before[~looks.is_looked_at[own]] >= 0).all()


def test_who_is_in_both_frames_moves_along_a_line_with_the_lower_score():
    after = WALKER + [20, -4, 8, 8, -0.2]
    np.testing.assert_allclose(people_between(WALKER[None], after[None], 0.25), [[15, 19, 42, 82, 0.7]])
    np.testing.assert_allclose(people_between(WALKER[None], after[None], 1.0), [[30, 16, 48, 88, 0.7]])


def test_who_is_in_one_frame_only_stays_for_the_nearer_half():
    stranger = WALKER + [300, 0, 0, 0, 0]
    nobody = np.zeros((0, 5))
    for way, num_before, num_after in ((0.1, 1, 0), (0.5, 1, 0), (0.6, 0, 1), (1.0, 0, 1)):
        assert len(people_between(WALKER[None], nobody, way)) == num_before
        assert len(people_between(nobody, WALKER[None], way)) == num_after
        both = people_between(np.stack([WALKER, stranger]), WALKER[None], way)
        assert len(both) == 1 + num_before and both[0, 0] == 10
    assert people_between(nobody, nobody, 0.5).shape == (0, 5)


def test_two_who_cross_are_told_apart_by_how_far_they_overlap():
    first, second = WALKER, WALKER + [30, 0, 0, 0, 0]
    pairs = same_people(np.stack([first, second]), np.stack([second - [8, 0, 0, 0, 0], first + [8, 0, 0, 0, 0]]))
    assert pairs.tolist() == [[0, 1], [1, 0]]
    assert len(same_people(first[None], first[None] + [35, 0, 0, 0, 0])) == 0  # hardly any overlap


@pytest.mark.parametrize("every", [1, 4])
def test_frames_between_have_boxes_by_their_times(detector, every):
    pictures, boxes = film_and_photographs(), detector(every)
    everything = np.arange(len(pictures.names))
    seconds = pictures.frames.seconds

    def walking(index):
        return (WALKER + [15 * seconds[index], 0, 0, 0, 0])[None]

    to_look_at = boxes.to_look_at(pictures, everything)
    assert len(to_look_at) == (len(everything) if every == 1 else Looks(pictures, 4).is_looked_at.sum())
    assert not boxes.known(pictures, everything).any()
    look(boxes, pictures, to_look_at, walking)
    boxes.share = everything
    dealt = boxes(pictures)
    assert len(dealt.tasks) == len(everything) and not dealt.failures and not dealt.num_without_boxes
    for index, task in enumerate(dealt.tasks):
        x, y, width, height, score = walking(index)[0]
        np.testing.assert_allclose(task.bboxes_xyxy, [[x, y, x + width, y + height]], atol=0.0051)
        assert task.bbox_scores == [score]
    assert len(boxes.to_look_at(pictures, everything)) == 0


def test_a_frame_waits_until_both_of_its_neighbours_have_been_looked_at(detector):
    pictures, boxes = film_and_photographs(), detector(10)
    look(boxes, pictures, np.array([0, 20]), lambda index: WALKER[None])
    assert np.flatnonzero(boxes.known(pictures, np.arange(60))).tolist() == [0, 20]
    look(boxes, pictures, np.array([10]), lambda index: WALKER[None])
    assert np.flatnonzero(boxes.known(pictures, np.arange(60))).tolist() == [*range(21)]
    boxes.share = np.arange(15, 60)
    dealt = boxes(pictures)
    assert len(dealt.tasks) == 6 and dealt.num_without_boxes == 39


def test_frames_that_cannot_be_read_are_bridged_by_those_beyond_and_a_stretch_without_any_fails(detector):
    pictures, boxes = film_and_photographs(), detector(10)
    share = np.arange(sum(STRETCHES[:2]))
    failing = {10, 20, *range(40, 90)}
    looked = boxes.to_look_at(pictures, share)
    seen = np.array([index for index in looked if index not in failing])
    look(boxes, pictures, seen, lambda index: (WALKER + [index / 4, 0, 0, 0, 0])[None])
    lost_now, lost_before = {10, *range(40, 90)}, {20}
    boxes.failures = [Failure(pictures.names[i], None, "DamagedImageError", "x") for i in looked if i in lost_now]
    boxes.given_up = {pictures.names[i] for i in lost_before}
    boxes.share = np.setdiff1d(share, list(lost_before))
    dealt = boxes(pictures)
    assert dealt.tasks.indices.tolist() == [i for i in range(40) if i not in (10, 20)]
    np.testing.assert_allclose([task.bboxes_xyxy[0, 0] for task in dealt.tasks], 10 + dealt.tasks.indices / 4)
    failed = sorted(failure.image for failure in dealt.failures)
    assert failed == sorted(pictures.names[i] for i in [10, *range(40, 90)]) and not dealt.num_without_boxes
    assert sum("boxes.every=1" in failure.message for failure in dealt.failures) == 50 - 6


def test_how_often_it_looks_decides_results_and_is_a_whole_number(detector):
    assert detector(3).settings["boxes.every"] == 3
    assert "boxes.every" not in detector(1).settings  # so runs of earlier versions can be continued
    for wrong in (0, 1.5, None, True):
        with pytest.raises(SettingError, match="every"):
            detector(wrong)
