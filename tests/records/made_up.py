"""Results and stores for tests that need no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sapiens_pl.core.structures import Failure, PoseResult, VideoFrame
from sapiens_pl.models.keypoint_sets import set_of_network
from sapiens_pl.records.recorder import Recorder
from sapiens_pl.records.store import FOLDER, Store, make_store


def pose_result(name: str, num_people: int = 1, num_keypoints: int = 17, seed: int = 0, **changes) -> PoseResult:
    """A done picture with people at random places."""
    rng = np.random.default_rng([seed, *name.encode("utf-8", "surrogatepass")])
    result = PoseResult(
        path=f"/photographs/{name}",
        keypoints=rng.uniform(-50, 5000, (num_people, num_keypoints, 2)).astype(np.float32),
        keypoint_scores=rng.random((num_people, num_keypoints)).astype(np.float32),
        bboxes=rng.uniform(0, 5000, (num_people, 4)),
        bbox_scores=rng.random(num_people),
        instance_ids=np.arange(num_people),
        image_wh=(640, 480),
        name=name,
        failures=(),
        keypoint_set=set_of_network("It", num_keypoints),
    )
    return result._replace(**changes)


def failed_result(name: str, error: str = "DamagedImageError", num_keypoints: int = 17) -> PoseResult:
    """A picture that gave nothing."""
    failure = Failure(name, None, error, f"{name} is broken; look at it.")
    return pose_result(name, 0, num_keypoints, image_wh=None, failures=(failure,))


def make_records(run: Path, results: list[PoseResult], num_keypoints: int = 17, a_frame: int = 3, **options) -> Store:
    """Records results in a run's folder, as one process of a run does from its start to its end."""
    store = make_store(run / FOLDER, set_of_network("It", num_keypoints), {"model.flip_test": False})
    recorder = Recorder(run / FOLDER, store, **options)
    for start in range(0, len(results), a_frame):
        recorder.append(results[start : start + a_frame])
    recorder.close()
    return store


def check_equal(found: PoseResult, expected: PoseResult) -> None:
    """Every bit alike, and every type."""
    for name, one, other in zip(PoseResult._fields, found, expected):
        if isinstance(other, np.ndarray):
            assert one.dtype == other.dtype and one.shape == other.shape, name
            if one.tobytes() != other.tobytes():  # looked at first, for it is ten times as quick
                np.testing.assert_array_equal(one, other, err_msg=name)
        else:
            assert one == other and type(one) is type(other), name


def check_all_equal(found, expected: list[PoseResult]) -> None:
    """The same results, `found` sorted by name."""
    found, expected = list(found), sorted(expected, key=lambda result: result.name)
    assert [result.name for result in found] == [result.name for result in expected]
    for one, other in zip(found, expected):
        check_equal(one, other)


def frame_result(video: str, index: int, num_people: int = 1, num_keypoints: int = 17, **changes) -> PoseResult:
    """A done frame of a video at 25 frames a second; its people are tracks 1, 2 and so on."""
    stem = Path(video).stem
    frame = VideoFrame(video, index, index * 512, index / 25)
    changes = {"frame": frame, "path": f"/films/{video}", "track_ids": np.arange(1, num_people + 1)} | changes
    return pose_result(f"{video}/{stem}_{index:012}", num_people, num_keypoints, **changes)
