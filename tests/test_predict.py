"""The real command in real processes, on real files."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
from composed import composed
from conftest import COCO, GOLDEN, TINY, TINY_HEADS, keypoints_of

from sapiens_pl import demo
from sapiens_pl.demo.draw import random_scenes, write_scenes

SMALL_CPU = ["trainer.accelerator=cpu", "boxes=json"]


def test_the_demo_runs_says_what_it_is_and_finds_nothing_to_do_again(predict):
    run = predict(fresh=True)
    assert run.code == 0, run.err
    assert {name: len(result["instance_info"]) for name, result in run.results.items()} == {
        "nobody.jpg": 0,
        "one.jpg": 1,
        "three.jpg": 3,
        "two.png": 2,
        "wide/four.jpg": 4,
        "wide/seven.jpg": 7,
    }
    assert "visible keypoints of 17 figures" in run.out and "model.checkpoint=FILE" in run.out
    overlay = cv2.imread(str(run.folder / "overlays" / "wide" / "seven.jpg.jpg"))
    assert overlay.shape == (720, 1280, 3)
    counts = run.info["counts"]
    assert run.info["status"] == "complete"
    assert (counts["images_planned"], counts["images_done"], counts["people"]) == (6, 6, 17)
    assert len(run.info["settings"]["model.checkpoint"]) > 64 and run.info["crops_per_second"] > 0

    before = {path: path.stat().st_mtime_ns for path in (run.folder / "predictions").rglob("*.json")}
    again = predict()
    assert again.code == 0, again.err
    assert again.info["counts"]["images_done_before"] == 6 and again.info["counts"]["images_done"] == 0
    assert before == {path: path.stat().st_mtime_ns for path in (run.folder / "predictions").rglob("*.json")}


def test_the_file_has_the_originals_form(predict):
    run = predict("output.overlay=false", "trainer.enable_progress_bar=false")
    assert run.code == 0 and "crop/s" not in run.err, run.err
    result = run.results["two.png"]
    assert not (run.folder / "overlays").exists()
    assert list(result) == ["meta_info", "image", "instance_info"]
    assert result["meta_info"]["dataset_name"] == "coco" and result["meta_info"]["num_keypoints"] == 17
    assert result["meta_info"]["keypoint_names"][:2] == ["nose", "left_eye"]
    assert result["image"] == {"path": "two.png", "width": 300, "height": 400}
    for instance_id, instance in enumerate(result["instance_info"]):
        assert list(instance) == ["instance_id", "bbox", "bbox_score", "keypoints", "keypoint_scores"]
        assert instance["instance_id"] == instance_id and len(instance["bbox"]) == 4
        assert np.array(instance["keypoints"]).shape == (17, 2) and len(instance["keypoint_scores"]) == 17


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """The four COCO photographs alone, and among 20 broken files, each with the same box file."""
    root = tmp_path_factory.mktemp("photographs")
    clean, mixed = root / "clean", root / "mixed"
    for folder in (clean, mixed):
        folder.mkdir()
        for image in COCO.glob("*.jpg"):
            shutil.copy(image, folder)
    rows = json.loads((GOLDEN / "crops.json").read_text())
    boxes: dict[str, list] = {}
    for row in rows:
        boxes.setdefault(row["image"], []).append(row["box_xyxy"])
    (root / "boxes.json").write_text(json.dumps(boxes))
    whole = (COCO / "000000000785.jpg").read_bytes()
    for index in range(20):
        content = [b"", b"text", whole[: 3000 * index], whole[:9000] + whole[30000:]][index % 4]
        name = f"{'0' * 8}{index:04d}_{index % 3}.jpg"
        (mixed / name).write_bytes(content)
        boxes[name] = [[10, 10, 200, 200]] * (1 + index % 3)
    (root / "mixed.json").write_text(json.dumps(boxes))
    return root


def tiny_on(images, boxes):
    """Overrides: the reference's network on a folder with a JSON box file, on the CPU."""
    network = [f"model.checkpoint={TINY}", f"model.num_heads={TINY_HEADS}", "trainer.accelerator=cpu"]
    return [*network, f"data.images={images}", "boxes=json", f"boxes.file={boxes}"]


def check_same(results, reference):
    assert list(results) == list(reference)
    far = total = 0
    for name in reference:
        one, other = results[name], reference[name]
        assert [i["bbox"] for i in one["instance_info"]] == [i["bbox"] for i in other["instance_info"]]
        assert [i["instance_id"] for i in one["instance_info"]] == [i["instance_id"] for i in other["instance_info"]]
        distance = np.abs(keypoints_of(one) - keypoints_of(other)).max(axis=1, initial=0)
        far, total = far + (distance > 0.01).sum(), total + len(distance)
    assert total == 12 * 17 and far <= total / 1000


def test_results_depend_neither_on_batches_nor_workers_nor_broken_neighbours(predict, photographs):
    clean = tiny_on(photographs / "clean", photographs / "boxes.json")
    reference = predict(*clean, "data.batch_size=1", "data.num_workers=0", folder="reference")
    assert reference.code == 0, reference.err
    original = np.load(GOLDEN / "tiny_inference_topdown.npz")
    for name, result in reference.results.items():
        assert (np.abs(keypoints_of(result) - original[f"{name}|0|kpts"].reshape(-1, 2)).max(axis=1) < 0.1).all()

    run = predict(*clean, "data.batch_size=64", "data.num_workers=2", folder="all")
    assert run.code == 0, run.err
    check_same(run.results, reference.results)

    mixed = tiny_on(photographs / "mixed", photographs / "mixed.json")
    run = predict(*mixed, "data.batch_size=3", "data.num_workers=2", folder="mixed")
    assert run.code == 0, run.err
    check_same(run.results, reference.results)
    failed = [row["image"] for row in run.failures]
    assert len(failed) == len(set(failed)) == 20
    assert all(row["instance_id"] is None and row["image"] in row["message"] for row in run.failures)
    assert run.info["counts"]["images_failed"] == 20 and "Traceback" not in run.err


def test_coco_files_of_both_kinds_and_all_of_the_reference_detections(predict, mini):
    images, detections = f"data.images={COCO}", f"boxes.file={COCO / 'test_coco_det_AP_H_56.json'}"
    annotated = predict(*mini, images, "boxes=coco", f"boxes.file={COCO / 'test_coco.json'}", folder="a")
    detected = predict(*mini, images, "boxes=coco", detections, folder="d")
    assert annotated.code == detected.code == 0, annotated.err + detected.err
    assert annotated.info["counts"]["people"] == 12 and "threshold" not in annotated.out
    some = detected.info["counts"]["people"]
    assert 4 < some < 118 and f"left out {118 - some} of 118 rows" in detected.out
    published = predict(*mini, images, "experiment=published_ap", detections, folder="p")
    assert published.code == 0 and published.info["counts"]["people"] == 118, published.err
    assert "threshold=" not in published.out and published.info["config"]["model"]["flip_test"] is True


def test_drawn_scenes_of_all_sizes_with_faults_among_them(predict, tmp_path):
    """Ragged images, crowded ones split over batches, bad boxes, a missing and a broken image; then a resume."""
    scenes = random_scenes(12, seed=11)
    write_scenes(tmp_path / "set", scenes)
    people = {entry["image"]: entry["bboxes"] for entry in json.loads((tmp_path / "set" / "people.json").read_text())}
    crowd = max(people, key=lambda name: len(people[name]))
    people[crowd] = people[crowd][:1] + [[5, 5, 5, 5], [9e9, 9e9, 9.1e9, 9.1e9]] + people[crowd][1:]
    people["gone.jpg"] = [[0, 0, 10, 10]]
    (tmp_path / "set" / "images" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    (tmp_path / "boxes.jsonl").write_text("".join(json.dumps({k: v}) + "\n" for k, v in people.items()))
    overrides = [*SMALL_CPU, f"boxes.file={tmp_path / 'boxes.jsonl'}", f"data.images={tmp_path / 'set' / 'images'}"]
    run = predict(*overrides, "data.batch_size=2", "data.num_workers=2")
    assert run.code == 0, run.err
    truth = dict(scenes)
    assert set(run.results) == set(truth)
    near = []
    for name, scene in truth.items():
        result = run.results[name]
        assert (result["image"]["height"], result["image"]["width"]) == scene.image.shape[:2]
        found = keypoints_of(result).reshape(-1, 17, 2)
        assert found.shape == scene.keypoints.shape
        sides = (scene.bboxes_xyxy[:, 2:] - scene.bboxes_xyxy[:, :2]).max(axis=1, initial=1)
        distance = np.linalg.norm(found - scene.keypoints, axis=2) / sides[:, None]
        near += (distance[scene.visible] < 0.05).tolist()
    assert np.mean(near) > 0.95
    assert [i["instance_id"] for i in run.results[crowd]["instance_info"]][:2] == [0, 3]
    assert {(row["image"], row["instance_id"]) for row in run.failures} == {
        (crowd, 1),
        (crowd, 2),
        ("gone.jpg", None),
        ("broken.jpg", None),
    }

    (run.folder / "predictions" / "000003.jpg.json").unlink()
    again = predict(*overrides, "data.batch_size=2", "data.num_workers=0")
    assert again.code == 0, again.err
    assert again.info["counts"]["images_planned"] == 0 and again.results == run.results  # from the records
    assert len(again.failures) == len(run.failures)
    refused = predict(*overrides, "model.flip_test=true")
    assert refused.code == 2 and "model.flip_test=False, not True" in refused.err


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data.batch_sise=8"], "data.batch_sise is not a setting; did you mean data.batch_size?"),
        (["data.batch_size=0"], "data.batch_size=0 must be a whole number of at least 1"),
        (["model.checkpoint=absent.pt2"], "model.checkpoint=absent.pt2 is not a file"),
        (["data.images=absent"], "data.images=absent does not exist"),
        (["boxes=nonsense"], "boxes=nonsense is not a choice; there are auto, coco, csv, detector, json"),
        (
            ["model=sapiens_2b_133_"],
            "model=sapiens_2b_133_ is not a choice; did you mean sapiens_2b_133? There are demo,",
        ),
        ([f"data.images={COCO}", "boxes.weights=absent.pth"], "boxes.weights=absent.pth is not a file"),
        (["boxes=json"], "boxes.file is not set"),
        (["model.flip_test=maybe"], "model.flip_test=maybe must be true or false"),
        (["trainer.precision=8bit"], "8bit"),
        (["output.formats=[xml]"], "output.formats=xml is not a format; choose from"),
    ],
)
def test_a_bad_setting_is_one_sentence_and_exit_code_2(predict, overrides, words):
    run = predict(*overrides)
    assert run.code == 2
    assert words in run.err and "Traceback" not in run.err
    assert run.err.strip().count("\n") == 0 and run.err.startswith("error: ")
    assert not run.results and not run.failures


def test_a_folder_without_images_becomes_no_run(predict, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("none here")
    run = predict(f"data.images={tmp_path / 'notes'}", "boxes=whole_image")
    assert run.code == 2 and "holds no images" in run.err and run.err.count("\n") == 1, run.err
    assert not (run.folder / "run.json").exists() and not (run.folder / "records").exists()


def test_the_demo_network_is_for_photographs_only_when_it_is_asked_for(predict):
    photographs = [f"data.images={COCO}", "boxes=whole_image", "data.num_workers=0"]
    refused = predict("model=sapiens", *photographs)  # no model: as the command has it by itself
    assert refused.code == 2 and not refused.results and refused.err.count("\n") == 1, refused.err
    for choice in ("model=sapiens_1b_308", "sapiens_pl.models", "model.checkpoint=FILE", "model=demo", str(COCO)):
        assert choice in refused.err
    asked = predict("model=demo", *photographs, folder="asked")
    assert asked.code == 0 and len(asked.results) == 4, asked.err
    assert "knows only drawn calibration figures" in asked.out
    by_file = predict(f"model.checkpoint={demo.CHECKPOINT}", *photographs, folder="by_file")
    assert by_file.code == 0 and by_file.results == asked.results


@pytest.mark.parametrize("images", [demo.IMAGES, f"{demo.IMAGES}/../images/", demo.IMAGES / "one.jpg"])
def test_the_demos_images_have_the_demo_network_wherever_they_are_named(images):
    cfg = composed("predict", [f"data.images={images}"])
    demo.fill_in(cfg)
    assert cfg.model.checkpoint == str(demo.CHECKPOINT) and cfg.output.overlay is False
    assert cfg.boxes.demo_file == (None if str(images).endswith("one.jpg") else str(demo.PEOPLE))
    named = composed("predict", [f"data.images={images}", "model=sapiens_1b_308"])
    demo.fill_in(named)
    assert named.model.checkpoint is None


def test_the_demos_images_with_other_boxes(predict):
    run = predict("boxes=whole_image", "output.overlay=false", "data.num_workers=0")
    assert run.code == 0 and "Traceback" not in run.err
    assert run.info["counts"]["people"] == 6 and "keypoints of" not in run.out


def test_nothing_readable_is_exit_code_1(predict, tmp_path):
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "a.jpg").write_text("text")
    run = predict(f"data.images={folder}", "boxes=whole_image", "data.num_workers=0")
    assert run.code == 1 and "Nothing could be read" in run.out and "Traceback" not in run.err
    assert run.failures[0]["error"] == "UnreadableImageError" and run.info["status"] == "failed"
    assert f"every image failed. The first: {run.failures[0]['message']}" in run.out


def test_nobody_posed_is_exit_code_1(predict, mini, tmp_path):
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"000000000785.jpg": [[9000, 9000, 9100, 9100]]}))
    given = [*mini, f"data.images={COCO}", "boxes=json", f"boxes.file={boxes}", "data.num_workers=0"]
    run = predict(*given)
    assert run.code == 1 and run.info["status"] == "failed"
    assert "Nobody could be posed: every box failed. The first: Box 0 of" in run.out
    boxes.write_text(json.dumps({}))
    assert predict(*given, folder="empty").code == 0


def test_half_precision_runs_find_the_same_figures(predict):
    exact = predict("output.overlay=false", folder="exact")
    rough = predict("output.overlay=false", "trainer.precision=bf16-true", folder="rough")
    mixed = predict("output.overlay=false", "trainer.precision=bf16-mixed", folder="mixed")
    for run in (rough, mixed):
        assert run.code == 0, run.err
        differences = [np.abs(keypoints_of(run.results[n]) - keypoints_of(exact.results[n])) for n in exact.results]
        assert 0 < np.median(np.concatenate(differences)) < 0.2


def test_two_processes_share_the_images(predict):
    one = predict("output.overlay=false", "trainer.devices=1", "trainer.accelerator=cpu", folder="one")
    two = predict(
        "trainer.devices=2",
        "trainer.accelerator=cpu",
        "trainer.strategy=ddp",
        "data.num_workers=0",
        folder="two",
        fresh=True,
    )
    assert two.code == 0, two.err
    assert two.err.count("poses:   0%") == 1 and "17/17" in two.err and "6/6 images" in two.err  # one bar for both
    assert list(two.results) == list(one.results)
    for name, result in one.results.items():
        np.testing.assert_allclose(keypoints_of(two.results[name]), keypoints_of(result), atol=0.01)


def test_overwrite_starts_over_and_touches_nothing_else(predict, tmp_path):
    (tmp_path / "run" / "predictions").mkdir(parents=True)
    (tmp_path / "run" / "predictions" / "mine.txt").write_text("not yours")
    first = predict("output.overlay=false", "output.overwrite=true")
    assert first.code == 0 and (first.folder / "predictions" / "mine.txt").exists()
    refused = predict("output.overlay=false", "output.resume=false")
    assert refused.code == 2 and "output.overwrite=true" in refused.err
    again = predict("output.overlay=false", "output.overwrite=true", "trainer.precision=bf16-mixed")
    assert again.code == 0 and again.info["counts"]["images_done"] == 6, again.err
