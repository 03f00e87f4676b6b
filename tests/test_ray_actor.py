"""The class for Ray Data's `map_batches`, called as Ray calls it, without Ray."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

import sapiens_pl.ray_actor
from sapiens_pl import PoseEstimator, demo
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.ray_actor import COLUMNS, PoseActor

TRUTH = {entry["image"]: entry["bboxes"] for entry in json.loads(demo.PEOPLE.read_text())}
PATHS = [demo.IMAGES / name for name in TRUTH]


def cells(values):
    """A column as Ray has those whose cells are of different shapes."""
    column = np.empty(len(values), object)
    column[:] = values
    return column


@pytest.fixture(scope="module")
def expected():
    estimator = PoseEstimator.from_checkpoint(demo.CHECKPOINT, device="cpu")
    return estimator.predict([str(path) for path in PATHS], list(TRUTH.values()), batch_size=4)


@pytest.fixture(scope="module")
def actor():
    return PoseActor(str(demo.CHECKPOINT), boxes="people", batch_size=4, device="cpu")


def batch():
    rows = {"bytes": cells([path.read_bytes() for path in PATHS]), "people": cells(list(TRUTH.values()))}
    return rows | {"key": np.array([path.stem for path in PATHS]), "number": np.arange(len(PATHS))}


def check_equal(table, expected):
    for row, result in zip(table.to_pylist(), expected, strict=True):
        assert row["error"] is None
        for name in COLUMNS.keys() - {"error"}:
            assert row[name] == getattr(result, name).tolist(), name


def test_rows_come_back_in_their_order_with_the_poses_that_the_estimator_gives(actor, expected):
    table = actor(batch())
    check_equal(table, expected)
    assert table["key"].to_pylist() == [path.stem for path in PATHS] and "bytes" not in table.column_names
    assert {name: table.schema.field(name).type for name in COLUMNS} == COLUMNS
    assert table["number"].type == pa.int64() and table["people"].to_pylist() == list(TRUTH.values())


@pytest.mark.slow
def test_pictures_are_bytes_paths_or_arrays(actor, expected):
    of_paths = PoseActor(str(demo.CHECKPOINT), image="path", boxes="people", batch_size=4, device="cpu")
    check_equal(of_paths(batch() | {"path": np.array(list(map(str, PATHS)))}), expected)
    arrays = cells([cv2.imread(str(path))[:, :, ::-1] for path in PATHS])  # as Ray's readers give them
    check_equal(actor(batch() | {"bytes": arrays}), expected)


def test_what_is_wrong_with_a_row_stands_in_it_and_harms_no_other(actor, expected):
    rows = batch()
    rows["bytes"][0] = rows["bytes"][0][: len(rows["bytes"][0]) // 2]
    rows["bytes"][1] = None
    rows["people"][2] = [[1, 2, 3]]
    rows["people"][3] = [[9, 9, 9, 9], *rows["people"][3]]
    table = actor(rows)
    errors = table["error"].to_pylist()
    assert (
        "The picture is cut off or damaged" in errors[0]
        and "holds NoneType" in errors[1]
        and "not (N, 4) numbers" in errors[2]
    )
    assert [table[name].to_pylist()[:3] for name in COLUMNS.keys() - {"error"}] == [[[], [], []]] * 5
    assert errors[3] and table["keypoints"][3].as_py() == expected[3].keypoints.tolist()  # of the other boxes
    check_equal(table.slice(4), expected[4:])
    assert {name: table.schema.field(name).type for name in COLUMNS} == COLUMNS


def test_a_batch_of_no_rows_and_one_without_people_have_the_same_columns(actor):
    nobody = actor({"bytes": cells([]), "people": cells([])})
    assert nobody.num_rows == 0 and {name: nobody.schema.field(name).type for name in COLUMNS} == COLUMNS
    (row,) = actor({"bytes": cells([PATHS[0].read_bytes()]), "people": cells([[]])}).to_pylist()
    assert row["keypoints"] == [] and row["error"] is None


def test_without_boxes_every_picture_is_taken_whole(expected):
    (row,) = PoseActor(str(demo.CHECKPOINT), device="cpu")({"bytes": [PATHS[0].read_bytes()]}).to_pylist()
    assert len(row["keypoints"]) == 1 and np.shape(row["keypoints"]) == (1, *expected[0].keypoints.shape[1:])


def test_a_value_that_cannot_be_meant_is_refused():
    with pytest.raises(ConfigError, match="arrays='grb' must be rgb or bgr"):
        PoseActor(str(demo.CHECKPOINT), arrays="grb")


def test_the_class_needs_no_ray():
    tree = ast.parse(Path(sapiens_pl.ray_actor.__file__).read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert "ray" not in names
