"""All poses of a run as one COCO keypoint-results file, which pycocotools loads.

COCO-WholeBody's evaluation wants its 133 keypoints in five lists: body, feet, face, left and right hand.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import numpy as np

from sapiens_pl.core.instance_scores import instance_scores
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import Records, RunProduct
from sapiens_pl.core.structures import NO_TRACK_ID, ListedImage, PoseResult
from sapiens_pl.core.text_files import to_json
from sapiens_pl.products.frame_columns import ListedVideos, tracks_of
from sapiens_pl.products.json_files import COORDINATE_DECIMALS, SCORE_DECIMALS, rounded

PERSON_CATEGORY = 1
WHOLEBODY = "coco_wholebody"
WHOLEBODY_LISTS = {
    "keypoints": slice(0, 17),
    "foot_kpts": slice(17, 23),
    "face_kpts": slice(23, 91),
    "lefthand_kpts": slice(91, 112),
    "righthand_kpts": slice(112, 133),
}


class CocoResults(RunProduct):
    """`coco_keypoints.json`, and `coco_images.json`, which says what its image ids mean."""

    outputs = ("coco_keypoints.json", "coco_images.json")

    def write(self, records: Records, folder: Path) -> None:
        with open(folder / self.outputs[0], "wb") as people, open(folder / self.outputs[1], "wb") as images:
            write_coco(records.results(), records.keypoint_set, people, images)


def people_of(result: PoseResult, keypoint_set: KeypointSet) -> Iterator[dict]:
    """One entry a person, without `image_id`: keypoints as x, y, score; `score` is the instance's.

    They have no `bbox`: pycocotools would then take the entries for boxes. The box a person was found in has
    its `instance_id` and `bbox_score` here, its numbers in the other formats.
    """
    scores = instance_scores(result.bbox_scores, result.keypoint_scores)
    coordinates = rounded(result.keypoints, COORDINATE_DECIMALS)
    keypoint_scores = rounded(result.keypoint_scores, SCORE_DECIMALS)
    triples = np.concatenate([coordinates, keypoint_scores[:, :, None]], axis=2)
    lists = WHOLEBODY_LISTS if keypoint_set.dataset_name == WHOLEBODY else {"keypoints": slice(None)}
    for row in range(len(triples)):
        yield {
            "category_id": PERSON_CATEGORY,
            "score": float(scores[row]),
            **{key: triples[row, part].ravel().tolist() for key, part in lists.items()},
            "instance_id": int(result.instance_ids[row]),
            "bbox_score": float(result.bbox_scores[row]),
            **track_of(result, row),
        }


def track_of(result: PoseResult, row: int) -> dict[str, int]:
    """`track_id`, for people who are tracked through a video."""
    track_id = int(tracks_of(result)[row])
    return {} if track_id == NO_TRACK_ID else {"track_id": track_id}


def image_ids(images: Sequence[ListedImage]) -> list[int]:
    """Ids that the box file gave stay; the others' are the numbers that they are named by, or are counted up.

    `000000000785.jpg` is 785, if all without an id are named by numbers that differ from each other and from
    the given ids.
    """
    given = {image.image_id for image in images if image.image_id is not None}
    stems = [os.path.splitext(os.path.basename(image.name))[0] for image in images if image.image_id is None]
    numbers = [int(stem) for stem in stems if stem.isascii() and stem.isdecimal() and len(stem) < 19]
    if len(numbers) < len(stems) or len({*numbers, *given}) < len(stems) + len(given):
        first = max([0, *given]) + 1
        numbers = list(range(first, first + len(stems)))
    rest = iter(numbers)
    return [next(rest) if image.image_id is None else image.image_id for image in images]


def write_coco(
    results: Iterable[PoseResult], keypoint_set: KeypointSet, keypoints_file: BinaryIO, images_file: BinaryIO
) -> None:
    """Writes both files in one pass over the results; only the images' names are kept in memory."""
    images: list[ListedImage] = []
    of_frames: list[dict[str, int]] = []
    videos = ListedVideos()
    with TemporaryFile(dir=Path(keypoints_file.name).parent) as people:
        for result in results:
            for person in people_of(result, keypoint_set):
                people.write(b"%d %s\n" % (len(images), to_json(person).encode()))
            images.append(result.listing)
            of_frames.append(videos.keys_of(result.frame, result.image_wh))
        ids = image_ids(images)
        people.seek(0)
        # The ids are known only now, as they depend on all the names.
        separator = b"[\n"
        for line in people:
            index, _, person_json = line.partition(b" {")
            keypoints_file.write(b'%s{"image_id": %d, %s' % (separator, ids[int(index)], person_json.rstrip(b"\n")))
            separator = b",\n"
        keypoints_file.write(b"[]\n" if separator == b"[\n" else b"\n]\n")
    images_file.write(_images_json(images, ids, keypoint_set, of_frames, videos))


def _images_json(
    images: Sequence[ListedImage],
    ids: Sequence[int],
    keypoint_set: KeypointSet,
    of_frames: Sequence[dict[str, int]],
    videos: ListedVideos,
) -> bytes:
    lines = [
        to_json({"id": image_id, "file_name": image.name, "width": image.width, "height": image.height} | of_frame)
        for image, image_id, of_frame in zip(images, ids, of_frames)
    ]
    listed = f'"videos": {to_json(videos.videos)},\n' if videos.videos else ""
    category = {
        "id": PERSON_CATEGORY,
        "name": "person",
        "keypoints": keypoint_set.names,
        "skeleton": [[start + 1, end + 1] for start, end in keypoint_set.skeleton],
    }
    listing = ",\n".join(lines)
    return f'{{"categories": [{json.dumps(category)}],\n{listed}"images": [\n{listing}\n]}}\n'.encode()
