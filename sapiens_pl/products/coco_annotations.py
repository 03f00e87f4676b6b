"""All poses of a run as one COCO annotation file, for annotation programs and for training: `COCO(file)` loads it.

Form: cocodataset.org/#format-data, "Keypoint Detection". All K keypoints of a set stand in one list. Frames of videos
are images too; as in COCO's video data sets (CocoVID, TAO) they have a `video_id` of the list `videos`, and a
`frame_id`, which counts the frames that a player shows from 0; their people have a `track_id`.

Legend: N people of one image, K keypoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from sapiens_pl.core.instance_scores import instance_scores
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import Records, RunProduct
from sapiens_pl.core.settings import check, number
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.products.coco_results import PERSON_CATEGORY, image_ids, track_of
from sapiens_pl.products.frame_columns import ListedVideos
from sapiens_pl.products.json_files import COORDINATE_DECIMALS, SCORE_DECIMALS, rounded, to_json

ABSENT, HIDDEN, VISIBLE = 0, 1, 2
"""COCO's flags of a keypoint: not labelled (its place is 0, 0), labelled but not visible, labelled and visible."""


class CocoAnnotations(RunProduct):
    """`coco_annotations.json`.

    Args:
        visible_threshold: keypoints with that score or a higher one are visible.

    Raises:
        ConfigError: it is no number.
    """

    outputs = ("coco_annotations.json",)

    def __init__(self, visible_threshold: float) -> None:
        check({"visible_threshold": number()}, {"visible_threshold": visible_threshold}, "output")
        self._threshold = visible_threshold

    def write(self, records: Records, folder: Path) -> None:
        images, of_frames, videos = [], [], ListedVideos()
        for result in records.results():
            images.append(result.listing)
            of_frames.append(videos.keys_of(result.frame, result.image_wh))
        ids = image_ids(images)  # they depend on all the names, so the poses are read once more
        numbers = count(1)
        people = (
            person | {"id": next(numbers), "image_id": image_id}
            for image_id, result in zip(ids, records.results())
            for person in _people_of(result, self._threshold)
        )
        listed = (
            {"id": image_id, "file_name": image.name, "width": image.width, "height": image.height} | of_frame
            for image_id, image, of_frame in zip(ids, images, of_frames)
        )
        with open(folder / self.outputs[0], "w", encoding="utf-8", newline="\n") as file:
            file.write('{"categories": [' + to_json(_category(records.keypoint_set)) + "],\n")
            if videos.videos:
                file.write('"videos": ')
                _write_list(videos.videos, file)
                file.write(",\n")
            file.write('"images": ')
            _write_list(listed, file)
            file.write(',\n"annotations": ')
            _write_list(people, file)
            file.write("}\n")


def _category(keypoint_set: KeypointSet) -> dict[str, Any]:
    return {
        "id": PERSON_CATEGORY,
        "name": "person",
        "supercategory": "person",
        "keypoints": keypoint_set.names,
        "skeleton": [[start + 1, end + 1] for start, end in keypoint_set.skeleton],  # COCO counts from 1
    }


def _people_of(result: PoseResult, threshold: float) -> Iterator[dict[str, Any]]:
    """One entry a person, without its own id and the image's."""
    flags = visibilities(result, threshold)
    places = rounded(np.where(flags[:, :, None] == ABSENT, 0, result.keypoints), COORDINATE_DECIMALS)
    scores = rounded(instance_scores(result.bbox_scores, result.keypoint_scores), SCORE_DECIMALS)
    for row, (left, top, right, bottom) in enumerate(result.bboxes.tolist()):
        triples = zip(*places[row].T.tolist(), flags[row].tolist())
        yield {
            "category_id": PERSON_CATEGORY,
            "bbox": [left, top, right - left, bottom - top],
            "area": (right - left) * (bottom - top),
            "iscrowd": 0,
            "num_keypoints": int((flags[row] != ABSENT).sum()),
            "keypoints": [number for triple in triples for number in triple],
            "score": float(scores[row]),
            "instance_id": int(result.instance_ids[row]),
            **track_of(result, row),
        }


def visibilities(result: PoseResult, threshold: float) -> np.ndarray:
    """(N, K): visible from the threshold on, else hidden; absent outside the image or without any score."""
    assert result.image_wh is not None, "an image that could not be read has no poses"
    inside = ((result.keypoints >= 0) & (result.keypoints <= np.array(result.image_wh) - 1)).all(axis=2)
    flags = np.where(result.keypoint_scores >= threshold, VISIBLE, HIDDEN)
    return np.where(inside & (result.keypoint_scores > 0), flags, ABSENT)


def _write_list(rows: Iterable[dict[str, Any]], file: TextIO) -> None:
    """A JSON list with a row a line, however many there are."""
    separator = "["
    for row in rows:
        file.write(f"{separator}\n{to_json(row)}")
        separator = ","
    file.write("[]" if separator == "[" else "\n]")
