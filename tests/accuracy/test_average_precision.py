"""AP and AR: against the figures of COCO-WholeBody's own evaluation, and through the real commands."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import COCO, GOLDEN

from sapiens_pl.accuracy.annotations import read_annotations
from sapiens_pl.accuracy.average_precision import METRICS, accuracy_of
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.instance_scores import oks_nms
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.demo.draw import write_scenes
from sapiens_pl.demo.figures import draw_scene
from sapiens_pl.models.keypoint_sets import COCO as COCO_17
from sapiens_pl.models.keypoint_sets import GOLIATH, WHOLEBODY, our_set

LISTS = ("keypoints", "foot_kpts", "face_kpts", "lefthand_kpts", "righthand_kpts")
# By xtcocotools 1.14.3 for `noisy_people()`; None where nobody is of that size.
EXPECTED = {
    "body": (0.8029, 0.9068, 0.9068, 0.9406, 0.8623, 0.9167, 1.0, 1.0, 0.94, 0.9),
    "foot": (0.7907, 0.8375, 0.8375, 0.9752, 0.8665, 0.96, 1.0, 1.0, 0.975, 0.95),
    "face": (0.019, 0.0965, 0.0, None, 0.0255, 0.15, 0.5, 0.0, None, 0.15),
    "left hand": (0.271, 0.4505, 0.1881, 0.5, 0.3329, 0.7, 1.0, 0.6, 1.0, 0.625),
    "right hand": (0.3725, 0.7624, 0.3069, 0.9, 0.2492, 0.48, 0.8, 0.4, 0.9, 0.375),
    "whole": (0.4569, 0.7348, 0.4173, 0.9406, 0.3167, 0.675, 0.9167, 0.6667, 0.94, 0.4857),
}


def people_of_the_photographs(scale_noise: float, only=lambda person: True):
    """Each photograph with its annotated 133 keypoints, moved at random by parts of the box's size."""
    data = json.loads((COCO / "test_coco_wholebody.json").read_text())
    rng = np.random.default_rng(0)
    for image in data["images"]:
        people = [row for row in data["annotations"] if row["image_id"] == image["id"] and only(row)]
        triples = [np.concatenate([np.reshape(row[key], (-1, 3)) for key in LISTS]) for row in people]
        points = np.array(triples, np.float32).reshape(-1, 133, 3)
        boxes = np.array([row["bbox"] for row in people], np.float64).reshape(-1, 4)
        size = np.sqrt(boxes[:, 2] * boxes[:, 3])[:, None, None]
        noise = rng.normal(0, 0.015, (len(people), 133, 2)) * size * rng.uniform(0, 2, (len(people), 1, 1))
        boxes[:, 2:] += boxes[:, :2]
        count = len(people)
        yield PoseResult(
            "", (points[..., :2] + scale_noise * noise).astype(np.float32),
            rng.uniform(0.3, 1, (count, 133)).astype(np.float32), boxes, rng.uniform(0.5, 1, count),
            np.arange(count), (image["width"], image["height"]), image["file_name"], (),
        )  # fmt: skip


@pytest.fixture(scope="module")
def wholebody():
    return read_annotations(COCO / "test_coco_wholebody.json")


def test_every_figure_is_that_of_the_reference_evaluation(wholebody):
    found = accuracy_of(people_of_the_photographs(1.0), our_set(WHOLEBODY), wholebody, oks_nms_threshold=1.0)
    assert list(found.parts) == ["body", "foot", "face", "left hand", "right hand", "hand", "whole"]
    for part, expected in EXPECTED.items():
        assert [found.parts[part][name] for name in METRICS] == pytest.approx(expected, abs=6e-5), part
    assert found.parts["hand"]["AP"] == pytest.approx((0.271 + 0.3725) / 2, abs=6e-5)
    assert (found.num_images, found.num_annotated) == (4, 4)


def drawn_poses(num_keypoints: int) -> list[PoseResult]:
    """The golden detections, an image after the other."""
    images = json.loads((GOLDEN / f"evaluation_{num_keypoints}_annotations.json").read_text())["images"]
    rows = json.loads((GOLDEN / f"evaluation_{num_keypoints}_detections.json").read_text())["detections"]
    results = []
    for image in images:
        people = [row for row in rows if row["image_id"] == image["id"]]
        count = len(people)
        results.append(
            PoseResult(
                "", np.array([row["keypoints"] for row in people], np.float32).reshape(count, num_keypoints, 2),
                np.array([row["keypoint_scores"] for row in people], np.float32).reshape(count, num_keypoints),
                np.array([row["bbox_xyxy"] for row in people], np.float64).reshape(count, 4),
                np.array([row["bbox_score"] for row in people], np.float64),
                np.arange(count), (image["width"], image["height"]), image["file_name"], (),
            )
        )  # fmt: skip
    return results


GOLDEN_PARTS = {
    "body": ("keypoints", "keypoints_body"), "foot": ("keypoints_foot",), "face": ("keypoints_face",),
    "left hand": ("keypoints_lefthand",), "right hand": ("keypoints_righthand",), "whole": ("keypoints_wholebody",),
}  # fmt: skip


@pytest.mark.parametrize("num_keypoints", [17, 133])
def test_suppression_and_every_figure_are_the_originals(num_keypoints):
    golden = json.loads((GOLDEN / f"evaluation_{num_keypoints}_detections.json").read_text())
    annotations = read_annotations(GOLDEN / f"evaluation_{num_keypoints}_annotations.json")
    found = accuracy_of(drawn_poses(num_keypoints), our_set({17: COCO_17, 133: WHOLEBODY}[num_keypoints]), annotations)
    assert found.num_poses == golden["poses_after_nms"] < len(golden["detections"])
    parts = {key: part for part, keys in GOLDEN_PARTS.items() for key in keys}
    for key, expected in golden["expected"].items():
        figures = [-1 if figure is None else figure for figure in found.parts[parts[key]].values()]
        assert figures == pytest.approx(expected, abs=1e-6), key


def test_the_annotations_own_keypoints_are_perfect(wholebody):
    complete = lambda person: person["num_keypoints"]  # noqa: E731
    found = accuracy_of(people_of_the_photographs(0.0, complete), our_set(WHOLEBODY), wholebody)
    assert found.parts["body"]["AP"] == pytest.approx(1) and found.parts["body"]["AR"] == pytest.approx(1)
    assert found.parts["whole"]["AP"] == pytest.approx(1)


def test_doubles_are_suppressed_and_neighbours_stay(wholebody):
    labelled = lambda person: person["num_keypoints"]  # noqa: E731

    def doubled():
        for result in people_of_the_photographs(0.0, labelled):
            twice = [np.concatenate([array, array]) for array in result[1:4]]
            scores = np.concatenate([result.bbox_scores, result.bbox_scores * 0.9])
            yield result._replace(
                keypoints=twice[0] + np.float32(0.5), keypoint_scores=twice[1], bboxes=twice[2], bbox_scores=scores,
                instance_ids=np.arange(len(scores)),
            )  # fmt: skip

    kept = accuracy_of(doubled(), our_set(WHOLEBODY), wholebody)
    all_of_them = accuracy_of(doubled(), our_set(WHOLEBODY), wholebody, oks_nms_threshold=1.0)
    assert kept.num_poses == all_of_them.num_poses / 2 == 12
    assert kept.parts["body"]["AP"] == pytest.approx(1) and all_of_them.parts["body"]["AP"] < 0.95


def test_oks_suppression_keeps_the_best_first():
    sigmas = np.full(5, 0.05)
    pose = np.array([[0, 0], [10, 0], [0, 10], [10, 10], [5, 5]], float)
    poses = np.stack([pose, pose + 0.1, pose + 30, pose + 30.1])
    areas = np.full(4, 100.0)
    assert oks_nms(poses, np.array([0.2, 0.9, 0.8, 0.1]), areas, sigmas, 0.9).tolist() == [1, 2]
    assert oks_nms(poses, np.array([0.2, 0.9, 0.8, 0.1]), areas, sigmas, 1.0).tolist() == [1, 2, 0, 3]
    assert oks_nms(poses[:0], np.empty(0), np.empty(0), sigmas, 0.9).tolist() == []


def test_images_without_a_result_count_as_missed_and_images_outside_the_run_do_not(wholebody):
    labelled = lambda person: person["num_keypoints"]  # noqa: E731
    one = list(people_of_the_photographs(0.0, labelled))[-1:]
    alone = accuracy_of(one, our_set(WHOLEBODY), wholebody, [one[0].name])
    assert alone.num_images == 1 and alone.parts["body"]["AR"] == pytest.approx(1)
    failed = accuracy_of(
        one, our_set(WHOLEBODY), wholebody, ["000000000785.jpg", "000000040083.jpg", one[0].name, "not annotated.jpg"]
    )
    assert failed.num_images == 3 and failed.parts["body"]["AR"] < 0.9


def goliath_of(result: PoseResult) -> PoseResult:
    """The same poses as a network of 308 keypoints gives them; what COCO-WholeBody does not name lies anywhere."""
    rng, count = np.random.default_rng(7), len(result.keypoints)
    names = our_set(WHOLEBODY).names
    common = [name for name in our_set(GOLIATH).names if name in names]
    assert len(common) == 53
    columns, places = [our_set(GOLIATH).names.index(name) for name in common], [names.index(name) for name in common]
    points = rng.uniform(0, 400, (count, 308, 2)).astype(np.float32)
    scores = rng.uniform(0.3, 1, (count, 308)).astype(np.float32)
    points[:, columns], scores[:, columns] = result.keypoints[:, places], result.keypoint_scores[:, places]
    return result._replace(keypoints=points, keypoint_scores=scores)


def test_308_keypoints_count_by_the_names_that_wholebody_has_and_the_rest_as_missed():
    """The original's way: common names in their places, all others at (0, 0) with score 0."""
    annotations = read_annotations(GOLDEN / "evaluation_133_annotations.json")
    ours = set(our_set(GOLIATH).names)
    absent = [place for place, name in enumerate(our_set(WHOLEBODY).names) if name not in ours]
    blanked = [
        result._replace(keypoints=result.keypoints.copy(), keypoint_scores=result.keypoint_scores.copy())
        for result in drawn_poses(133)
    ]
    for result in blanked:
        result.keypoints[:, absent] = 0
        result.keypoint_scores[:, absent] = 0
    expected = accuracy_of(blanked, our_set(WHOLEBODY), annotations)
    found = accuracy_of(map(goliath_of, drawn_poses(133)), our_set(GOLIATH), annotations)
    assert list(found.parts) == ["body", "foot", "face", "left hand", "right hand", "hand", "whole"]
    assert found.parts == expected.parts and found.num_poses == expected.num_poses
    assert found.parts["face"]["AR"] == 0 and found.parts["body"]["AP"] > 0.5 and found.parts["left hand"]["AR"] > 0.1
    assert "53" in found.notes[0] and not expected.notes
    body_alone = accuracy_of(
        map(goliath_of, drawn_poses(133)), our_set(GOLIATH), read_annotations(GOLDEN / "evaluation_17_annotations.json")
    )
    assert list(body_alone.parts) == ["body"] and not body_alone.notes


def test_another_set_is_compared_by_the_parts_and_sigmas_that_it_tells_of():
    """COCO's keypoints in another order, under other names, with one more: what its description says is enough."""
    coco, annotations = our_set(COCO_17), read_annotations(GOLDEN / "evaluation_17_annotations.json")
    poses, order = drawn_poses(17), [17, *reversed(range(17))]
    moved = [
        result._replace(
            keypoints=np.pad(result.keypoints, ((0, 0), (0, 1), (0, 0)))[:, order],
            keypoint_scores=np.pad(result.keypoint_scores, ((0, 0), (0, 1)))[:, order],
        )
        for result in poses
    ]
    body = tuple(order.index(index) for index in range(17))
    sigmas = (1e9, *reversed(coco.sigmas))
    other = KeypointSet("other", tuple("abcdefghijklmnopqr"), sigmas=sigmas, parts={"body": body})
    expected = accuracy_of(poses, coco, annotations, oks_nms_threshold=1.0)
    assert accuracy_of(moved, other, annotations, oks_nms_threshold=1.0) == expected


@pytest.mark.parametrize(
    ("changes", "lacks"),
    [
        ({"sigmas": None}, "it has no sigmas; give"),
        ({"parts": {}}, "it has no parts of the body that COCO annotates"),
        ({"sigmas": None, "parts": {}}, "it has no sigmas and no parts of the body"),
    ],
)
def test_a_set_that_tells_too_little_is_refused(changes, lacks):
    spider = our_set(COCO_17)._replace(dataset_name="spider", **changes)
    with pytest.raises(ConfigError, match=rf"keypoint set spider \(17 keypoints\) cannot be compared .*: {lacks}"):
        accuracy_of(drawn_poses(17), spider, read_annotations(GOLDEN / "evaluation_17_annotations.json"))


@pytest.fixture
def command(predict):
    """`python -m sapiens_pl.evaluate`, in a process that has imported the package already."""

    def run(*arguments):
        given = [str(argument) for argument in arguments]
        script = f"import sys; from sapiens_pl.evaluate import main; sys.argv[1:] = {given!r}; main()"
        return predict(inject=script, folder="evaluate")

    return run


def test_a_run_ends_with_its_accuracy_and_the_command_finds_the_same(predict, command, tmp_path):
    rng = np.random.default_rng(11)
    write_scenes(tmp_path, [(f"{i}.jpg", draw_scene(rng, 400, 300, i % 4)) for i in range(8)])
    (tmp_path / "images" / "7.jpg").write_bytes(b"broken")
    settings = [f"data.images={tmp_path / 'images'}", "boxes=json", f"boxes.file={tmp_path / 'people.json'}"]
    annotations = f"annotations={tmp_path / 'annotations.json'}"
    run = predict(*settings, "trainer.accelerator=cpu", "output.formats=[parquet]", annotations)
    assert run.code == 0 and not run.results, run.err
    found = json.loads((run.folder / "evaluation.json").read_text())
    metrics = found["parts"]["body"]
    assert 0.6 < metrics["AP"] < 0.9 and found["num_images"] == 8  # a quarter of the figures lies in the broken file
    assert f"{metrics['AP']:.3f}" in run.out and "8 of its 8 images" in run.out
    (run.folder / "evaluation.json").unlink()
    (run.folder / "predictions" / ".ipynb_checkpoints").mkdir(parents=True)  # nobody's results
    for hidden in ("._1.jpg.json", ".ipynb_checkpoints/1-checkpoint.jpg.json"):
        (run.folder / "predictions" / hidden).write_bytes(b"\0\5\x16\7")
    again = command(f"predictions={run.folder}", annotations)
    assert again.code == 0 and again.out.split("\n  ")[1:] == run.out.split("\n  ")[-2:], again.err
    assert json.loads((run.folder / "evaluation.json").read_text()) == found
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read"),
        ("", "is empty"),
        ("[]", "is a list, as detection results are"),
        ("{}", "not a COCO keypoint annotation file .*images"),
        ('{"images": [], "annotations": []}', "no person with keypoints"),
        ('{"images": [{"id": 1}], "annotations": []}', "not a COCO keypoint annotation file .*file_name"),
        (
            '{"images": [], "annotations": [{"id": 7, "image_id": 1, "bbox": [0, 0, 1, 1], "keypoints": [1, 2]}]}',
            "keypoints of annotation 7 has 2 numbers, not 51",
        ),
    ],
)
def test_files_that_are_no_annotations_are_named(tmp_path, content, complaint):
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    with pytest.raises(ConfigError, match=complaint):
        read_annotations(tmp_path / "a.json")


def test_what_cannot_be_evaluated_is_said_in_a_sentence(predict, command, mini, tmp_path):
    before = predict(*mini, f"annotations={tmp_path / 'none.json'}", folder="before")
    assert before.code == 2 and before.err.count("\n") == 1 and not before.results, before.err
    run = predict(*mini, "annotations=null", folder="done", inject="import sys; sys.modules['pycocotools'] = None")
    assert run.code == 0, run.err
    again = predict(*mini, f"annotations={COCO / 'test_coco.json'}", folder="done")
    assert again.code == 2 and "complete, but its accuracy is not known: None of" in again.err, again.err
    assert again.info["status"] == "complete" and again.results == run.results
    cases = {
        ("predictions=nowhere", f"annotations={COCO / 'test_coco.json'}"): "not an output folder",
        (f"predictions={run.folder}", f"annotations={COCO / 'test_coco.json'}"): "None of the run's images is in",
        (f"predictions={run.folder}",): "annotations is not set",
    }
    for arguments, complaint in cases.items():
        ended = command(*arguments)
        last = ended.err.splitlines()[-1]
        assert ended.code == 2 and last.startswith("error: ") and complaint in last, ended.err
    assert not (tmp_path / "elsewhere" / "nowhere").exists()
