"""The poses of all frames of a video in one JSON file: the list that mmpose's programs write of a video.

mmpose has `meta_info`, and in `instance_info` a `frame_id` and `instances` a frame. Some of its programs count frames
from 1, some from 0, and all through OpenCV, which skips what it cannot decode; here `frame_id` is the index of the
frame that a player shows, from 0. A box is four numbers, as in the files of photographs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sapiens_pl.core.protocols import Film, VideoProduct
from sapiens_pl.core.structures import NO_TRACK_ID, PoseResult, SmoothedPoses
from sapiens_pl.core.text_files import to_json
from sapiens_pl.products.json_files import COORDINATE_DECIMALS, SCORE_DECIMALS, instance_info, meta_info, rounded


class FramesJson(VideoProduct):
    """`predictions/a/walk.mp4.json`."""

    folder, suffix = "predictions", ".json"

    def write(self, film: Film, target: Path) -> None:
        results = film.results()
        first = next(results)
        assert first.image_wh is not None, "a frame that could not be read has no poses"
        width, height = first.image_wh
        video = {"path": film.name, "width": width, "height": height}
        with open(target, "w", encoding="utf-8", newline="\n") as file:
            file.write(f'{{"meta_info": {to_json(meta_info(film.keypoint_set))},\n"video": {to_json(video)},\n')
            file.write('"instance_info": [')
            file.write(f"\n{to_json(_frame(first))}")
            for result in results:
                file.write(f",\n{to_json(_frame(result))}")
            file.write("\n]}\n")


def _frame(result: PoseResult) -> dict[str, Any]:
    assert result.frame is not None
    _, index, pts, seconds = result.frame
    people = [_person(result, row) for row in range(len(result.instance_ids))]
    if result.smoothed is not None:
        num_people = len(people)
        for row, person in enumerate(people):
            person["keypoints_smoothed"] = _coordinates(result.smoothed, row)
        people += [_bridged(result.smoothed, row) for row in range(num_people, len(result.smoothed.track_ids))]
    return {"frame_id": index, "pts": pts, "seconds": seconds, "instances": people}


def _person(result: PoseResult, row: int) -> dict[str, Any]:
    track_id = NO_TRACK_ID if result.track_ids is None else int(result.track_ids[row])
    person = instance_info(result, row)
    return {
        "instance_id": person.pop("instance_id"),
        "track_id": None if track_id == NO_TRACK_ID else track_id,
        **person,
    }


def _bridged(smoothed: SmoothedPoses, row: int) -> dict[str, Any]:
    """A person who was found only before and after this frame."""
    return {
        "instance_id": None,
        "track_id": int(smoothed.track_ids[row]),
        "bridged": True,
        "bbox": smoothed.bboxes[row].tolist(),
        "bbox_score": None,
        "keypoints": _coordinates(smoothed, row),
        "keypoint_scores": rounded(smoothed.keypoint_scores[row], SCORE_DECIMALS).tolist(),
        "keypoints_smoothed": _coordinates(smoothed, row),
    }


def _coordinates(smoothed: SmoothedPoses, row: int) -> list[list[float]]:
    return rounded(smoothed.keypoints[row], COORDINATE_DECIMALS).tolist()
