"""All poses of a run as one COCO annotation file, for annotation programs and for training: `COCO(file)` loads it.

Form: cocodataset.org/#format-data, "Keypoint Detection". The chosen keypoints of a set stand in one list. Frames of
videos are images too; as in COCO's video data sets (CocoVID, TAO) they have a `video_id` of the list `videos`, and a
`frame_id`, which counts the frames that a player shows from 0; their people have a `track_id`.

Programs keep `attributes` where they drop unknown keys: they hold who a person is in the run, and in which box the
person was posed, so that a corrected file tells what was changed (`accuracy/corrections.py`, `boxes/posed_boxes.py`).
Coordinates have two decimals, as many as datumaro keeps, so that a round trip through it changes nothing.

Legend: N people of one image, K keypoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from sapiens_pl.boxes.posed_boxes import SOME_ONLY
from sapiens_pl.core.instance_scores import instance_scores
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import Records, RunProduct
from sapiens_pl.core.settings import check, either, number, one_of, whole_number
from sapiens_pl.core.structures import ListedImage, PoseResult
from sapiens_pl.models.keypoint_sets.subsets import ALL, SUBSETS, subset_columns, subset_of
from sapiens_pl.products.coco_results import PERSON_CATEGORY, image_ids, track_of
from sapiens_pl.products.frame_columns import ListedVideos
from sapiens_pl.products.json_files import SCORE_DECIMALS, rounded, to_json
from sapiens_pl.products.worst_people import worst_people

ABSENT, HIDDEN, VISIBLE = 0, 1, 2
"""COCO's flags of a keypoint: not labelled (its place is 0, 0), labelled but not visible, labelled and visible."""
COORDINATE_DECIMALS = 2
"""px; datumaro's COORDINATE_ROUNDING_DIGITS."""
_SETTINGS = {
    "visible_threshold": number(),
    "subset": one_of(*SUBSETS),
    "worst": either(whole_number(1), None),
    "overlay_score_threshold": number(),
}


class CocoAnnotations(RunProduct):
    """`coco_annotations.json`.

    Args:
        visible_threshold: keypoints with that score or a higher one are visible.
        subset: which keypoints, one of `SUBSETS`.
        worst: how many people, the first of `worst.csv`, with their images; None: all.
        score_threshold: keypoints with a lower score raise no suspicion in `worst.csv`.

    Raises:
        ConfigError: not a number, an unknown subset, not a whole number above 0.
    """

    outputs = ("coco_annotations.json",)

    def __init__(
        self, visible_threshold: float, subset: str = ALL, worst: int | None = None, score_threshold: float = 0.3
    ) -> None:
        values = {"visible_threshold": visible_threshold, "subset": subset, "worst": worst}
        check(_SETTINGS, values | {"overlay_score_threshold": score_threshold}, "output")
        self._threshold, self._subset, self._worst = visible_threshold, subset, worst
        self._score_threshold = score_threshold
        self.needs = () if subset == ALL else ("body",)

    def write(self, records: Records, folder: Path) -> None:
        columns = subset_columns(records.keypoint_set, self._subset)
        worst = None if self._worst is None else worst_people(records, self._worst, self._score_threshold)
        listed = _listed(records, worst)
        with open(folder / self.outputs[0], "w", encoding="utf-8", newline="\n") as file:
            file.write('{"info": {"description": "sapiens_pl"}, "licenses": [],\n')
            file.write('"categories": [' + to_json(_category(subset_of(records.keypoint_set, columns))) + "],\n")
            if listed.videos:
                file.write('"videos": ')
                _write_list(listed.videos, file)
                file.write(",\n")
            file.write('"images": ')
            _write_list(listed.rows(), file)
            file.write(',\n"annotations": ')
            _write_list(self._people(records, listed, columns), file)
            file.write("}\n")

    def _people(self, records: Records, listed: _Listed, columns: list[int]) -> Iterator[dict[str, Any]]:
        """One entry a person; the ids of people count from 1."""
        numbers = count(1)
        for index, result in enumerate(records.results()):
            rows = listed.chosen.get(index, ()) if listed.chosen is not None else range(len(result.instance_ids))
            people = list(people_of(result, self._threshold, columns)) if rows else []
            for row in rows:
                if listed.lacks_people:  # used as a box file, such a file would remove the poses of all others
                    people[row]["attributes"][SOME_ONLY] = self._worst
                yield {"id": next(numbers), "image_id": listed.ids[index], **people[row]}


class _Listed(NamedTuple):
    """The images and their ids, what is said of frames, and of some people which: rows by the number of their image."""

    images: list[ListedImage]
    ids: list[int]
    of_frames: list[dict[str, int]]
    videos: list[dict[str, Any]]
    chosen: Mapping[int, list[int]] | None
    num_people: int

    @property
    def lacks_people(self) -> bool:
        return self.chosen is not None and sum(map(len, self.chosen.values())) < self.num_people

    def rows(self) -> Iterator[dict[str, Any]]:
        for index, (image, image_id, of_frame) in enumerate(zip(self.images, self.ids, self.of_frames)):
            if self.chosen is None or index in self.chosen:
                size = {"width": image.width, "height": image.height}
                yield {"id": image_id, "file_name": image.name} | size | of_frame


def _listed(records: Records, chosen: Mapping[int, list[int]] | None) -> _Listed:
    """The ids depend on all the names, so the poses are read once more."""
    images, of_frames, videos, num_people = [], [], ListedVideos(), 0
    for result in records.results():
        images.append(result.listing)
        of_frames.append(videos.keys_of(result.frame, result.image_wh))
        num_people += len(result.instance_ids)
    return _Listed(images, image_ids(images), of_frames, videos.videos, chosen, num_people)


def _category(keypoint_set: KeypointSet) -> dict[str, Any]:
    return {
        "id": PERSON_CATEGORY,
        "name": "person",
        "supercategory": "person",
        "keypoints": keypoint_set.names,
        "skeleton": [[start + 1, end + 1] for start, end in keypoint_set.skeleton],  # COCO counts from 1
    }


def people_of(result: PoseResult, threshold: float, columns: list[int]) -> Iterator[dict[str, Any]]:
    """One entry a person, without its own id and the image's, with the keypoints of these columns."""
    flags = visibilities(result, threshold)[:, columns]
    places = rounded(np.where(flags[:, :, None] == ABSENT, 0, result.keypoints[:, columns]), COORDINATE_DECIMALS)
    scores = rounded(instance_scores(result.bbox_scores, result.keypoint_scores), SCORE_DECIMALS)
    corners = rounded(result.bboxes, COORDINATE_DECIMALS)
    boxes = rounded(np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1), COORDINATE_DECIMALS)
    for row, bbox in enumerate(boxes.tolist()):
        triples = zip(*places[row].T.tolist(), flags[row].tolist())
        track = track_of(result, row)
        yield {
            "category_id": PERSON_CATEGORY,
            "bbox": bbox,
            "area": bbox[2] * bbox[3],
            "segmentation": [],  # datumaro of CVAT asks for it
            "iscrowd": 0,
            "num_keypoints": int((flags[row] != ABSENT).sum()),
            "keypoints": [number for triple in triples for number in triple],
            "score": float(scores[row]),
            **track,
            "attributes": _attributes(result, row) | track,
        }


def _attributes(result: PoseResult, row: int) -> dict[str, Any]:
    """Who a person is, and the exact box in which the person was posed.

    `posed_id` is the instance's id, by a name that FiftyOne does not use for something else. The box is a text, as few
    programs take lists for attributes.
    """
    box = " ".join(map(repr, result.bboxes[row].tolist()))
    return {"posed_id": int(result.instance_ids[row]), "posed_bbox": box, "posed_score": float(result.bbox_scores[row])}


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
