"""Images that come one after another: full batches, the same results as a list's, few images in memory."""

from __future__ import annotations

import itertools
import weakref

import numpy as np
import pytest
import torch

from sapiens_pl import Detector, PoseEstimator
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.data.crops import CropCutter
from sapiens_pl.data.image_stream import ImageStream, asked_images
from sapiens_pl.demo import CHECKPOINT, DETECTOR, DETECTOR_MODEL, IMAGES
from sapiens_pl.demo.evaluate import figures

BLANK = np.zeros((40, 30, 3), np.uint8)


@pytest.fixture(scope="module")
def estimator():
    return PoseEstimator.from_checkpoint(CHECKPOINT, device="cpu", detector=Detector(DETECTOR_MODEL, str(DETECTOR)))


@pytest.fixture(scope="module")
def some():
    """Images and boxes, 0 to several an image."""
    images, boxes, _, _ = figures(10, seed=8)
    many = [np.tile(of_image, (count, 1)) for of_image, count in zip(boxes, itertools.cycle([1, 0, 4, 2]))]
    return images, many


def check_same(results, expected):
    results = list(results)
    assert [result.name for result in results] == [result.name for result in expected]
    for one, other in zip(results, expected):
        np.testing.assert_array_equal(one.bboxes, other.bboxes)
        np.testing.assert_allclose(one.keypoints, other.keypoints, atol=0.01)
        assert one.failures == other.failures and one.image_wh == other.image_wh


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_stream_gives_what_a_list_gives(estimator, some, workers):
    images, boxes = some
    expected = estimator.predict(images, boxes, batch_size=3)
    check_same(estimator.predict(iter(images), iter(boxes), batch_size=3, num_workers=workers), expected)
    check_same(estimator.predict(iter(images), boxes, 3, workers), expected)
    check_same(estimator.predict(iter(images[:3]), None, 3), estimator.predict(images[:3]))
    assert list(estimator.predict(iter([]))) == []


@pytest.mark.parametrize("threads", [0, 2])
def test_batches_are_full_across_images(threads):
    counts = [3, 0, 1, 9, 0, 0, 2, 1, 7, 0]
    boxes = [np.tile([[0, 0, 30, 40]], (count, 1)) for count in counts]
    stream = ImageStream(asked_images([BLANK] * len(counts), boxes), 4, CropCutter((64, 48)), threads)
    batches = list(stream)
    assert [len(batch.crops) for batch in batches] == [4, 4, 4, 4, 4, 3]
    whose = np.concatenate([batch.image_indices for batch in batches])
    np.testing.assert_array_equal(whose, np.repeat(np.arange(len(counts)), counts))


def test_many_images_without_boxes_do_not_wait_for_ever():
    boxes = itertools.repeat(np.zeros((0, 4)))
    stream = iter(ImageStream(asked_images(itertools.repeat(BLANK), boxes), 4, CropCutter((64, 48))))
    batch = next(stream)
    assert len(batch.crops) == 0 and 10 < len(batch.parts) < 1000


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_few_images_are_alive_at_any_time(estimator, workers):
    alive = weakref.WeakSet()

    class Pixels(np.ndarray):
        """An array that can stand in a set."""

        __hash__ = object.__hash__

    def images():
        for _ in range(60):
            array = BLANK.copy().view(Pixels)
            alive.add(array)
            yield array

    most = 0
    for result in estimator.predict(images(), batch_size=4, num_workers=workers):
        assert result.error is None
        most = max(most, len(alive))
    assert 0 < most <= 4 * (workers + 3)


def test_images_are_taken_as_results_are_asked_for(estimator):
    taken = itertools.count()
    results = estimator.predict((BLANK for _ in taken), batch_size=2)
    assert next(taken) == 0, "none before the first result is asked for"
    for _ in range(5):
        next(results)
    assert next(taken) < 12
    results.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_the_images_comes_after_what_was_done(estimator, workers):
    def images():
        yield from [BLANK] * 5
        raise KeyError("the camera is gone")

    done = []
    with pytest.raises(KeyError, match="the camera is gone"):
        for result in estimator.predict(images(), batch_size=3, num_workers=workers):
            done.append(result.name)
    assert done == [f"image {number}" for number in range(5)]


def test_boxes_that_end_too_early_or_too_late(estimator):
    box = [[0, 0, 30, 40]]
    results = estimator.predict(iter([BLANK] * 3), iter([box, box]))
    assert [next(results).name, next(results).name] == ["image 0", "image 1"]
    with pytest.raises(ValueError, match="The boxes end after 2 images"):
        next(results)
    with pytest.raises(ValueError, match="1 images but 2 sets of boxes"):
        list(estimator.predict(iter([BLANK]), [box, box]))
    assert len(list(estimator.predict(iter([BLANK] * 2), itertools.repeat(box)))) == 2
    with pytest.raises(TypeError, match="^boxes is int 5; pass a list"):
        estimator.predict(iter([BLANK]), 5)
    with pytest.raises(ValueError, match="batch_size=0"):
        estimator.predict(iter([BLANK]), batch_size=0)
    with pytest.raises(ValueError, match=r"boxes of image 1 have the shape \(4,\)"):
        list(estimator.predict(iter([BLANK] * 2), [box, box[0]]))


def test_a_broken_image_or_box_costs_its_own_place(estimator, tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    box = [0, 0, 30, 40]
    images = [BLANK, tmp_path / "absent.jpg", tmp_path / "text.jpg", np.zeros((5, 5)), BLANK]
    boxes = [[box], [box], None, None, [[9, 9, 1, 1], box]]
    results = list(estimator.predict(iter(images), boxes, batch_size=2))
    assert [result.error is None for result in results] == [True, False, False, False, False]
    for index, word in ((1, "does not exist"), (2, "not an image"), (3, "uint8"), (4, "Box 0 of image 4")):
        assert word in results[index].error
    assert len(results[4].keypoints) == 1 and results[4].instance_ids.tolist() == [1]


@pytest.mark.slow
def test_the_detector_brings_the_boxes_and_their_scores(estimator, tmp_path):
    paths = sorted(IMAGES.rglob("*.*"))
    results = estimator.predict(paths, boxes="detector", batch_size=4)
    assert [result.path for result in results] == [str(path) for path in paths]
    assert sum(len(result.keypoints) for result in results) > 10
    given = estimator.predict(paths, [result.bboxes for result in results], batch_size=4)
    check_same(results, given)
    for result in results:
        assert (result.bbox_scores >= 0.3).all() and (result.bbox_scores < 1).all()
    check_same(estimator.predict(iter(paths), "detector", 4, 2), results)
    one = estimator.predict(paths[-1], boxes="detector")
    np.testing.assert_array_equal(one.bboxes, results[-1].bboxes)

    (tmp_path / "text.jpg").write_text("hello")
    broken, good = estimator.predict([tmp_path / "text.jpg", paths[-1]], boxes="detector")
    assert "not an image" in broken.error and broken.image_failed and not len(broken.keypoints)
    np.testing.assert_allclose(good.keypoints, one.keypoints, atol=0.01)


def test_a_detector_that_cannot_be(tmp_path):
    with pytest.raises(TypeError, match="detector is int 5; pass a Detector"):
        PoseEstimator.from_checkpoint(CHECKPOINT, device="cpu", detector=5)
    with pytest.raises(ConfigError, match="boxes.model=yolo is not a detector"):
        PoseEstimator.from_checkpoint(CHECKPOINT, device="cpu", detector="yolo").predict([BLANK], "detector")
    with pytest.raises(ValueError, match="score_threshold='x' must be a number"):
        Detector(DETECTOR_MODEL, str(DETECTOR), score_threshold="x")
    assert "fcos_small" in repr(Detector(DETECTOR_MODEL, str(DETECTOR)))


def test_a_bar_only_where_it_is_asked_for(estimator, capsys):
    estimator.predict([BLANK] * 3)
    assert capsys.readouterr() == ("", "")
    estimator.predict([BLANK] * 3, progress=True)
    said = capsys.readouterr()
    assert "3/3" in said.err and "image" in said.err and not said.out
    list(estimator.predict(iter([BLANK] * 2), progress=True))
    assert "2image" in capsys.readouterr().err
    with pytest.raises(ValueError, match="progress='yes' must be True or False"):
        estimator.predict([BLANK], progress="yes")


def test_tensors_on_their_own_device_are_taken(estimator):
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    (result,) = estimator.predict([torch.zeros(3, 40, 30, device="cuda")])
    assert result.error is None
