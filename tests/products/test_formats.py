"""The formats that hold a whole run: COCO, Parquet and CSV, and what they keep of the per-image JSON files."""

from __future__ import annotations

import csv
import json
import os
import signal

import duckdb
import numpy as np
import pandas
import polars
import pyarrow.parquet
import pytest
from conftest import COCO, check_same
from pycocotools.coco import COCO as CocoApi
from pycocotools.cocoeval import COCOeval

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.instance_scores import instance_scores
from sapiens_pl.core.structures import ListedImage, PoseResult
from sapiens_pl.demo.draw import write_scenes
from sapiens_pl.demo.figures import draw_scene
from sapiens_pl.models.keypoint_sets import our_set, set_of_network
from sapiens_pl.products.coco_results import image_ids
from sapiens_pl.products.of_run import make_in_folder
from sapiens_pl.records.store import store_files
from sapiens_pl.run.make_settings import make_settings
from tests.records.made_up import make_records, pose_result

NOT_UNICODE = b"\xff b.jpg".decode("utf-8", "surrogateescape")


def read_result(content: bytes) -> PoseResult:
    """The poses in one of the JSON files."""
    data = json.loads(content)
    image, people, count = data["image"], data["instance_info"], data["meta_info"]["num_keypoints"]
    return PoseResult(
        path="",
        keypoints=np.array([person["keypoints"] for person in people], np.float32).reshape(-1, count, 2),
        keypoint_scores=np.array([person["keypoint_scores"] for person in people], np.float32).reshape(-1, count),
        bboxes=np.array([person["bbox"] for person in people], np.float64).reshape(-1, 4),
        bbox_scores=np.array([person["bbox_score"] for person in people], np.float64),
        instance_ids=np.array([person["instance_id"] for person in people], np.int64),
        image_wh=(image["width"], image["height"]),
        name=image["path"],
        failures=(),
        image_id=image.get("id"),
    )


def some_results(num_keypoints: int, names=("b/2.jpg", "a.jpg", "nobody.jpg", 'line\n"1,5".jpg', NOT_UNICODE)):
    rng = np.random.default_rng(num_keypoints)
    results = []
    for index, name in enumerate(names):
        count = 0 if name == "nobody.jpg" else 1 + index
        results.append(
            PoseResult(
                "",
                rng.uniform(-99, 20_000, (count, num_keypoints, 2)).astype(np.float32),
                rng.uniform(-0.2, 1.1, (count, num_keypoints)).astype(np.float32),
                rng.uniform(0, 999, (count, 4)),
                rng.uniform(0, 1, count),
                np.arange(count) * 7,
                (640, 480 + index),
                name,
                (),
                1000 + index if index % 2 else None,
            )
        )
    return results


def write_all(run, results, formats="parquet") -> None:
    """As a run records them, and as `make` makes products of that."""
    make_records(run, results, results[0].keypoints.shape[1])
    make_in_folder(run, make_settings(run, [f"formats=[{formats}]"]))


def annotations_as_results(file: str, lists: dict[str, int]):
    """The people of a COCO annotation file who have keypoints, with these as predictions."""
    data = json.loads((COCO / file).read_text())
    names = {image["id"]: image for image in data["images"]}
    for image_id, image in names.items():
        people = [row for row in data["annotations"] if row["image_id"] == image_id and row["num_keypoints"]]
        triples = [np.concatenate([np.reshape(row[key], (-1, 3)) for key in lists]) for row in people]
        count = len(people)
        points = np.array(triples, np.float32).reshape(count, sum(lists.values()), 3)
        bboxes = np.array([row["bbox"] for row in people], np.float64).reshape(-1, 4)
        bboxes[:, 2:] += bboxes[:, :2]
        yield PoseResult(
            "", points[:, :, :2], np.ones(points.shape[:2], np.float32), bboxes, np.ones(count), np.arange(count),
            (image["width"], image["height"]), image["file_name"], (),
        )  # fmt: skip


def average_precision(truth: CocoApi, results_file, sigmas) -> float:
    """What pycocotools itself says of a results file."""
    evaluation = COCOeval(truth, truth.loadRes(str(results_file)), "keypoints")
    evaluation.params.kpt_oks_sigmas = np.array(sigmas)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[0]


@pytest.mark.slow
def test_pycocotools_finds_the_annotations_own_keypoints_perfect(tmp_path):
    results = list(annotations_as_results("test_coco.json", {"keypoints": 17}))
    write_all(tmp_path, results, "json,coco")
    truth = CocoApi(str(COCO / "test_coco.json"))
    assert average_precision(truth, tmp_path / "coco_keypoints.json", our_set("coco_17").sigmas) == pytest.approx(1.0)
    moved = [result._replace(keypoints=result.keypoints + np.float32(15)) for result in results]
    write_all(tmp_path, moved, "json,coco")
    assert average_precision(truth, tmp_path / "coco_keypoints.json", our_set("coco_17").sigmas) < 0.8


def test_the_133_keypoints_stand_in_the_lists_of_coco_wholebody(tmp_path):
    lists = {"keypoints": 17, "foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}
    write_all(tmp_path, list(annotations_as_results("test_coco_wholebody.json", lists)), "json,coco")
    people = json.loads((COCO / "test_coco_wholebody.json").read_text())["annotations"]
    people = [person for person in people if person["num_keypoints"]]
    written = json.loads((tmp_path / "coco_keypoints.json").read_text())
    assert len(written) == len(people)
    people.sort(key=lambda person: person["image_id"])
    for row, person in enumerate(people):
        for key, count in lists.items():
            found, expected = (np.reshape(each[key], (-1, 3))[:, :2] for each in (written[row], person))
            assert found.shape == (count, 2)
            np.testing.assert_allclose(found, expected, atol=6e-4)
    # ... and pycocotools evaluates any of the lists: here the feet.
    truth = CocoApi(str(COCO / "test_coco_wholebody.json"))
    for annotation in truth.dataset["annotations"]:
        annotation["keypoints"] = annotation["foot_kpts"]
        annotation["num_keypoints"] = int((np.array(annotation["foot_kpts"][2::3]) > 0).sum())
    with_feet = [row for row, person in zip(written, people) if person["foot_valid"]]
    feet = [{**row, "keypoints": row["foot_kpts"]} for row in with_feet]
    (tmp_path / "feet.json").write_text(json.dumps(feet))
    sigmas = our_set("coco_wholebody_133").sigmas
    assert average_precision(truth, tmp_path / "feet.json", sigmas[17:23]) == pytest.approx(1.0)


def test_coco_scores_and_ids(tmp_path):
    write_all(tmp_path, some_results(17), "json,coco")
    by_name = {result.name: result for result in some_results(17)}
    listing = json.loads((tmp_path / "coco_images.json").read_text())
    names = {image["id"]: image["file_name"] for image in listing["images"]}
    assert list(names.values()) == sorted(by_name) and listing["categories"][0]["keypoints"][0] == "nose"
    assert {name for image_id, name in names.items() if image_id in (1001, 1003)} == {"a.jpg", 'line\n"1,5".jpg'}
    for person in json.loads((tmp_path / "coco_keypoints.json").read_text()):
        result = by_name[names[person["image_id"]]]
        row = result.instance_ids.tolist().index(person["instance_id"])
        seen = result.keypoint_scores[row][result.keypoint_scores[row] > 0.2]
        assert person["score"] == pytest.approx(result.bbox_scores[row] * seen.mean(), rel=1e-5)
        assert person["bbox_score"] == result.bbox_scores[row] and "bbox" not in person
        np.testing.assert_allclose(np.reshape(person["keypoints"], (-1, 3))[:, :2], result.keypoints[row], atol=6e-4)
    assert instance_scores(np.ones(1), np.full((1, 17), 0.1)) == 0


@pytest.mark.parametrize(
    ("names", "given", "expected"),
    [
        (["000000000785.jpg", "x/40083.jpg"], [None, None], [785, 40083]),
        (["1.jpg", "01.jpg"], [None, None], [1, 2]),  # not apart by number
        (["785.jpg", "b.jpg"], [None, None], [1, 2]),
        (["785.jpg", "b.jpg", "c.jpg"], [7, None, None], [7, 8, 9]),
        (["785.jpg", "9.jpg"], [None, 785], [786, 785]),
        (["785.jpg", "9.jpg"], [None, 3], [785, 3]),
        ([], [], []),
    ],
)
def test_image_ids(names, given, expected):
    assert image_ids([ListedImage(name, 1, 1, number) for name, number in zip(names, given)]) == expected


@pytest.mark.parametrize("num_keypoints", [17, 133, 308])
def test_duckdb_polars_and_pandas_find_the_numbers_of_the_json_files(tmp_path, num_keypoints):
    results = [result for result in some_results(num_keypoints) if result.name != NOT_UNICODE]
    write_all(tmp_path, results, "json,parquet")
    files = [tmp_path / "predictions" / f"{name}.json" for name in sorted(result.name for result in results)]
    expected = [read_result(file.read_bytes()) for file in files]
    pattern = str(tmp_path / "parquet" / "*.parquet")
    columns = "image, instance_id, image_width, bbox, bbox_score, score, keypoints_x, keypoints_y, keypoint_scores"
    from_duckdb = duckdb.sql(f"select {columns} from '{pattern}' order by image, instance_id").fetchall()
    frame = polars.read_parquet(pattern).sort("image", "instance_id")
    table = pandas.read_parquet(tmp_path / "parquet").sort_values(["image", "instance_id"])
    rows = [(result, row) for result in expected for row in range(len(result.instance_ids))]
    assert len(rows) == len(from_duckdb) == len(frame) == len(table) == 7
    for (result, row), one, two, three in zip(rows, from_duckdb, frame.iter_rows(named=True), table.to_dict("records")):
        assert one[:3] == (result.name, result.instance_ids[row], 640) and list(one[3]) == result.bboxes[row].tolist()
        assert one[4] == result.bbox_scores[row] and 0 < one[5] < 1.2
        np.testing.assert_array_equal(np.float32([*zip(one[6], one[7])]), result.keypoints[row])
        np.testing.assert_array_equal(np.float32(one[8]), result.keypoint_scores[row])
        for other in (two, three):
            assert (other["image"], other["instance_id"], other["score"]) == (one[0], one[1], one[5])
            for index, column in enumerate(("keypoints_x", "keypoints_y", "keypoint_scores"), 6):
                np.testing.assert_array_equal(other[column], np.float32(one[index]))
    metadata = pyarrow.parquet.read_schema(next((tmp_path / "parquet").iterdir())).metadata
    assert json.loads(metadata[b"keypoint_names"]) == list(set_of_network("It", num_keypoints).names)


def test_csv_has_a_row_a_keypoint(tmp_path):
    results = some_results(133)
    write_all(tmp_path, results, "csv,json")
    with open(tmp_path / "keypoints.csv", encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = sorted(results, key=lambda result: result.name)
    people = [(result, row) for result in expected for row in range(len(result.instance_ids))]
    assert len(rows) == 133 * len(people)
    for index, (result, row) in enumerate(people):
        first, last = rows[index * 133], rows[index * 133 + 132]
        assert (first["image"], int(first["instance_id"])) == (result.name, result.instance_ids[row])
        assert first["keypoint"] == "nose" and last["keypoint"] == set_of_network("It", 133).names[132]
        found = [float(last[key]) for key in ("x", "y", "score")]
        np.testing.assert_allclose(found, [*result.keypoints[row, 132], result.keypoint_scores[row, 132]], atol=6e-4)


@pytest.mark.parametrize("kind", ["people", "pictures"])
def test_damaged_records_are_a_sentence(tmp_path, kind):
    make_records(tmp_path, some_results(17))
    part = next(file.path for file in store_files(tmp_path / "records") if file.kind == kind)
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(ConfigError, match=r"pictures-.*parquet cannot be read \(Arrow.*run the same command again"):
        make_in_folder(tmp_path, make_settings(tmp_path, ["formats=[coco]"]))


def test_names_that_a_spreadsheet_would_calculate_are_paths_in_the_csv_file(tmp_path):
    names = ("=1+1.jpg", "+a.jpg", "-b.jpg", "@c.jpg", "\td.jpg", "plain.jpg", "-dir/e.jpg")
    write_all(tmp_path, [pose_result(name) for name in names], "csv")
    with open(tmp_path / "keypoints.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {row["image"] for row in rows}
    assert {f"./{name}" for name in names if name != "plain.jpg"} | {"plain.jpg"} == found
    assert {os.path.normpath(name) for name in found} == set(names)
    assert not any(name[0] in "=+-@\t" for name in found)
    assert all(float(row["x"]) == float(row["x"]) and row["x"][0] != "." for row in rows)


def test_ids_that_no_column_holds_stay_in_the_records_in_json_and_in_coco(tmp_path):
    ids = {"a.jpg": 2**63, "b.jpg": -(2**70), "sub/c.jpg": 2**63 - 1}
    write_all(tmp_path, [pose_result(name)._replace(image_id=ids[name]) for name in ids], "json,parquet,coco")
    listing = json.loads((tmp_path / "coco_images.json").read_text())["images"]
    assert {row["file_name"]: row["id"] for row in listing} == ids
    for name, image_id in ids.items():
        assert json.loads((tmp_path / "predictions" / f"{name}.json").read_text())["image"]["id"] == image_id
    table = pyarrow.parquet.read_table(next((tmp_path / "parquet").iterdir())).to_pylist()
    assert {row["image"]: row["image_id"] for row in table} == ids | dict.fromkeys(("a.jpg", "b.jpg"))


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("formats"), np.random.default_rng(4)
    scenes = [(f"{i:03d}.jpg", draw_scene(rng, 200, 160, i % 3)) for i in range(40)]
    write_scenes(root, scenes)
    (root / "images" / "007x.jpg").write_bytes(b"\xff\xd8 no picture")
    return [f"data.images={root / 'images'}", "boxes=json", f"boxes.file={root / 'people.json'}", "data.batch_size=3"]


MERGED = ("coco_keypoints.json", "coco_images.json", "keypoints.csv")
SLOW_STEP = """
import time
from sapiens_pl.inference.module import PoseModule
step = PoseModule.predict_step
PoseModule.predict_step = lambda *given: (time.sleep(0.3), step(*given))[1]
from sapiens_pl.records import recorder
recorder.MAX_PICTURES = 5
"""


WAITING_STEP = """
import os, time
from itertools import count
from sapiens_pl.inference.module import PoseModule
step, number = PoseModule.predict_step, count()
def waiting_step(*given):
    while next(number) > 3 and not os.path.exists(GATE):
        time.sleep(0.02)
    return step(*given)
PoseModule.predict_step = waiting_step
"""


def test_a_killed_run_and_two_shards_give_the_same_tables_as_one_run(predict, start, mini, figures):
    settings = [*figures, *mini, "data.num_workers=1"]
    whole = predict(*settings, "output.formats=[json,parquet,coco,csv]", folder="whole")
    assert whole.code == 0, whole.err
    assert len(whole.results) == 40 and len(polars.read_parquet(whole.folder / "parquet/*.parquet")) == 39

    only_tables = [*settings, "output.formats=[parquet,coco,csv]", "data.num_shards=2"]
    victim = start(*only_tables, "data.shard=0", folder="shards", inject=SLOW_STEP)
    victim.wait_until(lambda: len(list((victim.folder / "records").glob("pictures-*"))) >= 2 and victim.count() >= 12)
    os.killpg(victim.pid, signal.SIGKILL)
    other = predict(*only_tables, "data.shard=1", folder="shards")
    assert other.code == 0 and not (other.folder / "coco_keypoints.json").exists()  # it is not whole yet
    last = predict(*only_tables, "data.shard=0", folder="shards")
    assert last.code == 0 and last.info["status"] == "complete", last.err
    assert last.info["processes"][0]["counts"]["images_done_before"] >= 10
    assert not last.results and not list(last.folder.glob(".unfinished*"))
    frame = polars.read_parquet(last.folder / "parquet/*.parquet").sort("image", "instance_id")
    assert len(frame) == 39 and frame.select("image", "instance_id").is_unique().all()
    together = predict(*settings, "output.formats=json", folder="shards")  # without another forward pass
    assert together.code == 0 and together.info["counts"]["images_done"] == 0, together.err
    check_same(together.results, whole.results, but_one_in=100)
    assert together.failures == whole.failures
    people = [json.loads((run.folder / "coco_keypoints.json").read_text()) for run in (whole, last)]
    ids = [[(person["image_id"], person["instance_id"]) for person in each] for each in people]
    assert ids[0] == ids[1] and len(ids[0]) == 39
    rows = [(run.folder / "keypoints.csv").read_text().splitlines() for run in (whole, last)]
    assert len(rows[0]) == len(rows[1]) == 39 * 17 + 1
    first = [row.split(",")[:4] for row in rows[0]]
    assert first == [row.split(",")[:4] for row in rows[1]]


def test_collect_by_hand_writes_the_tables_of_what_there_is(start, forked, mini, figures, tmp_path):
    settings = [*figures, *mini, "data.num_workers=1", "output.formats=[json,coco]"]
    running = start(*settings, inject=f"GATE = {str(tmp_path / 'gate')!r}{WAITING_STEP}")
    running.wait_until(lambda: running.count() >= 3)
    at_work = forked("collect", running.folder)
    assert at_work.code == 1 and "still at work" in at_work.out, at_work.err
    assert not (running.folder / "coco_keypoints.json").exists()
    running.send_signal(signal.SIGTERM)
    (tmp_path / "gate").touch()
    stopped = running.finish()
    assert stopped.code == 143 and not (running.folder / "coco_keypoints.json").exists()
    by_hand = forked("collect", running.folder)
    assert by_hand.code == 1 and "interrupted" in by_hand.out, by_hand.err
    images = json.loads((running.folder / "coco_images.json").read_text())["images"]
    assert [image["file_name"] for image in images] == list(stopped.results) and 3 <= len(images) < 40


def test_formats_that_cannot_be_are_refused_before_the_run(predict, mini):
    unknown = predict(*mini, "output.formats=[json,xml]")
    assert unknown.code == 2 and "choose from coco, coco_annotations, csv, dlc, frames_json, " in unknown.err, (
        unknown.err
    )
    assert unknown.err.count("\n") == 1 and not unknown.results


def test_a_file_of_the_whole_run_that_cannot_be_made_is_said_and_tried_again(predict, mini):
    settings = [*mini, f"data.images={COCO}", "boxes=whole_image", "data.num_workers=0", "output.formats=[csv,coco]"]
    broken = """
from sapiens_pl.products.csv_table import CsvTable
def write(self, records, folder):
    raise ValueError("no such column")
CsvTable.write = write
"""
    for _ in range(2):
        run = predict(*settings, inject=broken)
        assert run.code == 1 and "Not made: keypoints.csv is not made: no such column" in run.out
        assert run.info["status"] == "failed" and run.info["error"] == "keypoints.csv is not made: no such column"
        (line,) = run.failures
        assert (line["image"], line["product"]) == ("", "csv") and (run.folder / "coco_keypoints.json").exists()
    again = predict(*settings)
    assert again.code == 0 and again.info["status"] == "complete" and "error" not in again.info
    assert not again.failures and (again.folder / "keypoints.csv").exists()
