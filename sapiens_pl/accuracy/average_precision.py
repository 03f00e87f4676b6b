"""Average precision and recall of a run against a COCO or COCO-WholeBody annotation file.

COCO's keypoint evaluation (cocodataset.org/#keypoints-eval), done by pycocotools, on poses from which OKS
suppression has removed duplicates. The parts of COCO-WholeBody (Jin et al., "Whole-Body Human Pose Estimation in the
Wild", ECCV 2020) are evaluated each with its own keypoints and the person's area.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from sapiens_pl.accuracy.annotations import LENGTHS, Annotations, IdFinder, has_labels, pycocotools
from sapiens_pl.accuracy.own_lists import PARTS, in_parts
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.geometry import box_center_scale
from sapiens_pl.core.instance_scores import instance_scores, oks_nms
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.models.keypoint_sets import GOLIATH, WHOLEBODY, our_set

METRICS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
OKS_NMS_THRESHOLD = 0.9
"""As in the original's evaluation settings."""
_GOLIATH_NOTE = (
    "Goliath's 308 keypoints have 53 of COCO-WholeBody's 133 (body, feet, hands without roots and first joints, "
    "nothing of the face); the others count as missed, as in the original's evaluation."
)
_Metrics = dict[str, float | None]


class Accuracy(NamedTuple):
    """`parts` has `METRICS` by part of the body, each from 0 to 1, or None where there was nobody to count.

    `num_images` of the `num_annotated` images of the annotation file were in the run, with `num_poses` that
    suppression has left. `notes` are sentences on what the figures do not show.
    """

    parts: dict[str, _Metrics]
    num_images: int
    num_annotated: int
    num_poses: int
    notes: list[str]


def check_comparable(keypoint_set: KeypointSet) -> None:
    """Raises ConfigError for poses that COCO's evaluation cannot compare: OKS needs parts of the body, and sigmas."""
    lacks = [] if _compared_set(keypoint_set).sigmas else ["sigmas"]
    lacks += [] if _parts_in(keypoint_set) else ["parts of the body that COCO annotates (parts.body)"]
    if lacks:
        raise ConfigError(
            f"Poses of the keypoint set {keypoint_set.dataset_name} ({keypoint_set.num_keypoints} keypoints) cannot be "
            f"compared with COCO's annotations: it has no {' and no '.join(lacks)}; give them in the YAML that "
            "model.keypoint_set names, or omit the annotations."
        )


def accuracy_of(
    results: Iterable[PoseResult],
    keypoint_set: KeypointSet,
    annotations: Annotations,
    run_images: Collection[str] = (),
    oks_nms_threshold: float = OKS_NMS_THRESHOLD,
) -> Accuracy:
    """How well poses fit the annotations of the same images.

    Args:
        results: of each image that has a result.
        keypoint_set: what their keypoints are.
        annotations: what `annotations.read_annotations` gave.
        run_images: names of all images that were to be done: one without a result counts as one in which nobody
            was found. Images of the annotation file that the run does not have do not count.
        oks_nms_threshold: as in `instance_scores.oks_nms`.

    Raises:
        ConfigError: run and annotations have no image, or no part of the body, in common; or the keypoint set does
            not say enough to compare its poses.
    """
    check_comparable(keypoint_set)
    compared, found_any = _compared_set(keypoint_set), False
    if any("keypoints" in person for person in annotations.people):
        annotations = annotations._replace(names=())  # COCO's own lists
    elif annotations.names:
        annotations, compared = in_parts(annotations, keypoint_set), keypoint_set
    finder = IdFinder(annotations, run_images)
    detections: list[dict[str, Any]] = []
    other_sizes: list[str] = []
    for result in results:
        found_any = True
        image = finder.find(result.name, result.image_id, result.image_wh)
        if image is not None:
            detections += _detections(result, keypoint_set, compared, image.id, oks_nms_threshold)
            if image.wh and result.image_wh and image.wh != result.image_wh:
                other_sizes.append(result.name)
    image_ids = finder.found_ids()
    if not found_any or not image_ids:
        raise ConfigError(f"None of the run's images is in {annotations.path}; give the annotations of these images.")
    if not any(person["image_id"] in image_ids and has_labels(person) for person in annotations.people):
        raise ConfigError(
            f"{annotations.path} has no person with keypoints in the {len(image_ids)} images that it shares with the "
            "run; "
            "check its image ids, or give the annotations of these images."
        )
    evaluated = {
        part: _metrics(annotations, image_ids, detections, columns, compared)
        for part, columns in _parts_of(annotations, compared).items()
    }
    if not evaluated:
        raise ConfigError(
            f"{annotations.path} and the keypoint set {keypoint_set.dataset_name} have no part of the body in common; "
            "give annotations of the body."
        )
    notes = _notes(annotations, other_sizes, compared != keypoint_set and len(evaluated) > 1)
    return Accuracy(_with_both_hands(evaluated), len(image_ids), len(annotations.images), len(detections), notes)


def _notes(annotations: Annotations, other_sizes: list[str], wholebody_of_goliath: bool) -> list[str]:
    notes = [_GOLIATH_NOTE] if wholebody_of_goliath else []
    if annotations.num_without_area:
        people = annotations.num_without_area
        notes.append(
            f"{people} annotated people have no area; the area of their box stands in, which makes OKS larger."
        )
    if other_sizes:
        notes.append(
            f"{len(other_sizes)} images are not as large as the annotation file says ({other_sizes[0]} the first); "
            "what is annotated may lie elsewhere in them."
        )
    return notes


def _compared_set(keypoint_set: KeypointSet) -> KeypointSet:
    """The set whose places poses are compared in: Goliath's in COCO-WholeBody's, all others in their own."""
    return our_set(WHOLEBODY) if keypoint_set == our_set(GOLIATH) else keypoint_set


def _in_wholebody(result: PoseResult) -> PoseResult:
    """Goliath's poses in COCO-WholeBody's places, by the names that both sets have, as the original evaluates them.

    The other places hold (0, 0) with a score of 0, so they are wrong wherever they are annotated.
    """
    ours, theirs = our_set(GOLIATH).names, our_set(WHOLEBODY).names
    places = [place for place, name in enumerate(theirs) if name in ours]
    columns = [ours.index(theirs[place]) for place in places]
    keypoints = np.zeros((len(result.keypoints), len(theirs), 2), np.float32)
    scores = np.zeros((len(result.keypoints), len(theirs)), np.float32)
    keypoints[:, places], scores[:, places] = result.keypoints[:, columns], result.keypoint_scores[:, columns]
    return result._replace(keypoints=keypoints, keypoint_scores=scores)


def _detections(
    result: PoseResult, keypoint_set: KeypointSet, compared: KeypointSet, image_id: int | str, threshold: float
) -> Iterator[dict[str, Any]]:
    """The people of one image that suppression leaves."""
    if compared != keypoint_set:
        result = _in_wholebody(result)
    scores = instance_scores(result.bbox_scores, result.keypoint_scores)
    _, crop_sizes = box_center_scale(result.bboxes, (3, 4))
    areas = np.prod(crop_sizes, axis=1)  # of the crops, not of the boxes: the original's evaluation has these
    triples = np.concatenate([result.keypoints, result.keypoint_scores[..., None]], axis=2)
    assert compared.sigmas is not None, "only such sets are compared"
    body = result.keypoints[:, list(compared.parts.get("body", range(compared.num_keypoints)))]
    extents = np.prod(np.ptp(body, axis=1), axis=1, dtype=np.float64)
    for row in oks_nms(result.keypoints, scores, areas, np.array(compared.sigmas), threshold):
        person = {"image_id": image_id, "score": float(scores[row])}
        yield person | {"triples": triples[row], "body_area": float(extents[row])}


def _parts_in(keypoint_set: KeypointSet) -> list[str]:
    """Those that COCO annotates with as many keypoints."""
    lengths = {part: len(keypoint_set.parts.get(name, ())) for part, (_, name) in PARTS.items()}
    return [part for part, (key, _) in PARTS.items() if lengths[part] == LENGTHS[key]]


def _parts_of(annotations: Annotations, keypoint_set: KeypointSet) -> dict[str, dict[str, tuple[int, ...]]]:
    """For each part, the annotations' lists that it consists of, with the network's keypoints in their order."""
    annotated = {key for person in annotations.people for key in (*LENGTHS, "named") if key in person}
    parts = {
        part: {PARTS[part][0]: keypoint_set.parts[PARTS[part][1]]}
        for part in _parts_in(keypoint_set)
        if PARTS[part][0] in annotated
    }
    if len(parts) == len(PARTS):
        parts["whole"] = {key: columns for lists in parts.values() for key, columns in lists.items()}
    elif annotations.names and "named" in annotated:
        parts["all"] = {"named": tuple(keypoint_set.names.index(name) for name in annotations.names)}
    return parts


def _metrics(
    annotations: Annotations,
    image_ids: Collection[int | str],
    detections: list[dict[str, Any]],
    columns: dict[str, tuple[int, ...]],
    keypoint_set: KeypointSet,
) -> _Metrics:
    """pycocotools' figures for one part of the body."""
    chosen = [index for part in columns.values() for index in part]
    # pycocotools sorts ids, and loses those that are not 64-bit numbers.
    numbers = {image_id: number for number, image_id in enumerate(_in_order(image_ids), 1)}
    truth = [
        {**_true_pose(person, columns), "id": number, "image_id": numbers[person["image_id"]], "category_id": 1}
        for number, person in enumerate(annotations.people, 1)
        if person["image_id"] in numbers
    ]
    found = [
        {
            "image_id": numbers[person["image_id"]],
            "category_id": 1,
            "score": person["score"],
            "keypoints": person["triples"][chosen].ravel().tolist(),
        }
        for person in detections
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints a lot
        ground = _coco(numbers.values(), truth)
        guess = ground.loadRes(found) if found else _coco(numbers.values(), [])
        # The body decides whether a person counts as medium or large, for every part.
        for row, person in zip(guess.dataset["annotations"], detections):
            row["area"] = person["body_area"]
        evaluation = pycocotools().cocoeval.COCOeval(ground, guess, "keypoints")
        assert keypoint_set.sigmas is not None, "only such sets are compared"
        evaluation.params.kpt_oks_sigmas = np.array(keypoint_set.sigmas)[chosen]
        evaluation.params.imgIds = list(numbers.values())
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: None if value < 0 else float(value) for name, value in zip(METRICS, evaluation.stats)}


def _in_order(image_ids: Collection[int | str]) -> list[int | str]:
    return sorted(image_ids, key=lambda image_id: (isinstance(image_id, str), image_id))


def _true_pose(person: dict[str, Any], columns: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """One annotated person with the keypoints of one part; people without a label need not be found."""
    triples = np.concatenate([person.get(key, np.zeros(3 * len(of))) for key, of in columns.items()])
    labelled = person["num_keypoints"] if list(columns) == ["keypoints"] else int((triples[2::3] > 0).sum())
    common = {key: person[key] for key in ("iscrowd", "bbox", "area")}
    return common | {"keypoints": triples.tolist(), "num_keypoints": labelled}


def _coco(image_numbers: Collection[int], people: list[dict[str, Any]]) -> Any:
    coco = pycocotools().coco.COCO()
    images = [{"id": number} for number in image_numbers]
    # Up to its version 2.0.10 pycocotools asks for "info".
    coco.dataset = {"info": {}, "images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}
    coco.createIndex()
    return coco


def _with_both_hands(parts: dict[str, _Metrics]) -> dict[str, _Metrics]:
    """Adds the mean of both hands, before the whole."""
    if "left hand" not in parts or "right hand" not in parts:
        return parts
    pairs = {name: (parts["left hand"][name], parts["right hand"][name]) for name in METRICS}
    means = {name: None if one is None or other is None else (one + other) / 2 for name, (one, other) in pairs.items()}
    last = {part: row for part, row in parts.items() if part in ("whole", "all")}
    return {**{part: row for part, row in parts.items() if part not in last}, "hand": means, **last}


def table(accuracy: Accuracy) -> str:
    """The figures, a line a part."""
    lines = [f"  {'':<12}" + "".join(f"{name:>7}" for name in METRICS)]
    for part, row in accuracy.parts.items():
        numbers = "".join(f"{'-' if row[name] is None else format(row[name], '.3f'):>7}" for name in METRICS)
        lines.append(f"  {part:<12}{numbers}")
    return "\n".join(lines)
