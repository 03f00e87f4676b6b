"""Average precision and recall of a run against a COCO or COCO-WholeBody annotation file.

COCO's keypoint evaluation (cocodataset.org/#keypoints-eval), done by pycocotools, on poses from which OKS
suppression has taken the doubles. The parts of COCO-WholeBody (Jin et al., "Whole-Body Human Pose Estimation in the
Wild", ECCV 2020) are evaluated each with its own keypoints and the person's area.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from sapiens_pl.annotations import LENGTHS, Annotations, IdFinder, pycocotools
from sapiens_pl.errors import ConfigError
from sapiens_pl.geometry import box_center_scale
from sapiens_pl.keypoints import KeypointSpec, keypoint_spec
from sapiens_pl.scoring import instance_scores, oks_nms
from sapiens_pl.structures import PoseResult

METRICS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
OKS_NMS_THRESHOLD = 0.9
"""As in the original's evaluation settings."""
_PARTS = {
    "body": ("keypoints", "body"),
    "foot": ("foot_kpts", "feet"),
    "face": ("face_kpts", "face"),
    "left hand": ("lefthand_kpts", "left_hand"),
    "right hand": ("righthand_kpts", "right_hand"),
}
"""Each part's list in an annotation, and its subset of the network's keypoints."""
_GOLIATH, _WHOLEBODY = 308, 133
_GOLIATH_NOTE = (
    "Networks of 308 keypoints have 53 of COCO-WholeBody's 133 (body, feet, hands without roots and first joints, "
    "nothing of the face); the others count as missed, as in the original's evaluation."
)
_Metrics = dict[str, float | None]


class Evaluation(NamedTuple):
    """`parts` has `METRICS` by part of the body, each from 0 to 1, or None where nobody could be counted.

    `num_images` of the `num_annotated` images of the annotation file were in the run, with `num_poses` that
    suppression has left. `note` is a sentence on what the figures do not show, or empty.
    """

    parts: dict[str, _Metrics]
    num_images: int
    num_annotated: int
    num_poses: int
    note: str = ""


def evaluate(
    results: Iterable[PoseResult],
    annotations: Annotations,
    run_images: Collection[str] = (),
    oks_nms_threshold: float = OKS_NMS_THRESHOLD,
) -> Evaluation:
    """How well poses fit the annotations of the same images.

    Args:
        results: of each image that has a result.
        annotations: what `annotations.read_annotations` gave.
        run_images: names of all images that were to be done: one without a result counts as one in which nobody
            was found. Images of the annotation file that the run does not have do not count.
        oks_nms_threshold: as in `scoring.oks_nms`.

    Raises:
        ConfigError: run and annotations have no image, or no part of the body, in common.
    """
    ids = IdFinder(annotations)
    image_ids = {ids.find(name) for name in run_images}
    detections: list[dict[str, Any]] = []
    spec: KeypointSpec | None = None
    from_goliath = False
    for result in results:
        image_id = ids.find(result.name, result.image_id)
        image_ids.add(image_id)
        if result.keypoints.shape[1] == _GOLIATH:
            result, from_goliath = _in_wholebody(result), True
        spec = keypoint_spec(result.keypoints.shape[1])
        if image_id is not None:
            detections += _detections(result, spec, image_id, oks_nms_threshold)
    image_ids.discard(None)
    if spec is None or not image_ids:
        raise ConfigError(f"None of the run's images is in {annotations.path}; give the annotations of these images.")
    evaluated = {
        part: _metrics(annotations, sorted(image_ids), detections, columns, spec)
        for part, columns in _parts_of(annotations, spec).items()
    }
    if not evaluated:
        raise ConfigError(f"{annotations.path} and networks of {spec.num_keypoints} keypoints have no part in common.")
    note = _GOLIATH_NOTE if from_goliath and len(evaluated) > 1 else ""
    return Evaluation(_with_both_hands(evaluated), len(image_ids), len(annotations.images), len(detections), note)


def _in_wholebody(result: PoseResult) -> PoseResult:
    """Goliath's poses in COCO-WholeBody's places, by the names that both sets have, as the original evaluates them.

    The other places hold (0, 0) with a score of 0, so they are wrong wherever somebody has annotated them.
    """
    ours, theirs = keypoint_spec(_GOLIATH).names, keypoint_spec(_WHOLEBODY).names
    places = [place for place, name in enumerate(theirs) if name in ours]
    columns = [ours.index(theirs[place]) for place in places]
    keypoints = np.zeros((len(result.keypoints), _WHOLEBODY, 2), np.float32)
    scores = np.zeros((len(result.keypoints), _WHOLEBODY), np.float32)
    keypoints[:, places], scores[:, places] = result.keypoints[:, columns], result.keypoint_scores[:, columns]
    return result._replace(keypoints=keypoints, keypoint_scores=scores)


def _detections(result: PoseResult, spec: KeypointSpec, image_id: Any, threshold: float) -> Iterator[dict[str, Any]]:
    scores = instance_scores(result.bbox_scores, result.keypoint_scores)
    _, crop_sizes = box_center_scale(result.bboxes, (3, 4))
    areas = np.prod(crop_sizes, axis=1)  # of the crops, not of the boxes: the original's evaluation has these
    triples = np.concatenate([result.keypoints, result.keypoint_scores[..., None]], axis=2)
    if spec.sigmas is None:
        return
    body = result.keypoints[:, list(spec.subsets["body"])]
    extents = np.prod(np.ptp(body, axis=1), axis=1, dtype=np.float64)
    for row in oks_nms(result.keypoints, scores, areas, np.array(spec.sigmas), threshold):
        person = {"image_id": image_id, "category_id": 1, "score": float(scores[row])}
        yield person | {"triples": triples[row], "body_area": float(extents[row])}


def _parts_of(annotations: Annotations, spec: KeypointSpec) -> dict[str, dict[str, tuple[int, ...]]]:
    """For each part, the annotations' lists that it consists of, with the network's keypoints in their order."""
    annotated = {key for person in annotations.people for key in LENGTHS if key in person}
    parts = {
        part: {key: spec.subsets[subset]}
        for part, (key, subset) in _PARTS.items()
        if key in annotated and len(spec.subsets.get(subset, ())) == LENGTHS[key]
    }
    if len(parts) == len(_PARTS):
        parts["whole"] = {key: columns for lists in parts.values() for key, columns in lists.items()}
    return parts


def _metrics(
    annotations: Annotations,
    image_ids: list[Any],
    detections: list[dict[str, Any]],
    columns: dict[str, tuple[int, ...]],
    spec: KeypointSpec,
) -> _Metrics:
    """pycocotools' figures for one part of the body."""
    chosen = [index for part in columns.values() for index in part]
    truth = []
    for number, person in enumerate(annotations.people, 1):
        triples = np.concatenate([person.get(key, np.zeros(3 * LENGTHS[key])) for key in columns])
        common = {key: value for key, value in person.items() if key not in LENGTHS}
        labelled = int((triples[2::3] > 0).sum())
        truth.append(common | {"id": number, "keypoints": triples.tolist(), "num_keypoints": labelled})
    found = []
    for person in detections:
        common = {key: value for key, value in person.items() if key not in ("triples", "body_area")}
        found.append(common | {"keypoints": person["triples"][chosen].ravel().tolist()})
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools talks a lot
        ground = _coco(annotations, truth)
        guess = ground.loadRes(found) if found else _coco(annotations, [])
        # Whether a person counts as medium or large is told by the body, whatever the part.
        for row, person in zip(guess.dataset["annotations"], detections):
            row["area"] = person["body_area"]
        evaluation = pycocotools().cocoeval.COCOeval(ground, guess, "keypoints")
        assert spec.sigmas is not None, "sets without sigmas have no parts"
        evaluation.params.kpt_oks_sigmas = np.array(spec.sigmas)[chosen]
        evaluation.params.imgIds = image_ids
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: None if value < 0 else float(value) for name, value in zip(METRICS, evaluation.stats)}


def _coco(annotations: Annotations, people: list[dict[str, Any]]) -> Any:
    coco = pycocotools().coco.COCO()
    images = [{"id": image_id} for image_id in annotations.images.values()]
    coco.dataset = {"images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}
    coco.createIndex()
    return coco


def _with_both_hands(parts: dict[str, _Metrics]) -> dict[str, _Metrics]:
    """Adds the mean of both hands, before the whole."""
    if "left hand" not in parts or "right hand" not in parts:
        return parts
    pairs = {name: (parts["left hand"][name], parts["right hand"][name]) for name in METRICS}
    means = {name: None if one is None or other is None else (one + other) / 2 for name, (one, other) in pairs.items()}
    whole = {"whole": parts["whole"]} if "whole" in parts else {}
    return {**{part: row for part, row in parts.items() if part != "whole"}, "hand": means, **whole}


def table(evaluation: Evaluation) -> str:
    """The figures, a line a part."""
    lines = [f"  {'':<12}" + "".join(f"{name:>7}" for name in METRICS)]
    for part, row in evaluation.parts.items():
        numbers = "".join(f"{'-' if row[name] is None else format(row[name], '.3f'):>7}" for name in METRICS)
        lines.append(f"  {part:<12}{numbers}")
    return "\n".join(lines)
