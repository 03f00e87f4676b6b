"""A small film and a photograph through the command: every product, then others of the same records."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas
import pytest
from clips import FRAME_WH, make_clip, picture
from products.test_formats_later import NO_FORWARD_PASS

pytest.importorskip("av")
pytest.importorskip("scipy")

NUM_FRAMES = 10
FORMATS = "json,parquet,csv,coco,coco_annotations,openpose_json,openpose,overlay,dlc,track_plot"


@pytest.fixture
def film(tmp_path) -> list[str]:
    """Settings: a film of two people who move, one of them unseen for two frames, and a photograph."""
    root = tmp_path / "images"
    (root / "a").mkdir(parents=True)
    make_clip(root / "a" / "walk.mp4", NUM_FRAMES, fps=25, gop=4)
    cv2.imwrite(str(root / "photograph.png"), picture(0))
    rows = [{"image": "photograph.png", "bboxes": [[8, 8, 60, 90]]}]
    for index in range(NUM_FRAMES):
        boxes = [[4 + 2 * index, 10, 54 + 2 * index, 90]] + [[120, 10, 170, 90]] * (index not in (4, 5))
        rows.append({"image": f"a/walk.mp4/walk_{index:012}", "bboxes": boxes})
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    return [f"data.images={root}", "boxes=json", f"boxes.file={tmp_path / 'boxes.json'}", "data.num_workers=0"]


def products(run: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of change of each."""
    own = FORMATS.replace("json", "predictions").split(",") + ["keypoints.csv", "overlays", "track_plots", "openpose_"]
    paths = {path.relative_to(run).as_posix(): path for path in run.rglob("*") if path.is_file()}
    return {
        name: (path.read_bytes(), path.stat().st_mtime_ns)
        for name, path in paths.items()
        if name.startswith(tuple(own)) and name != "predict.log"
    }


def contents(run: Path) -> dict[str, bytes]:
    return {name: content for name, (content, _) in products(run).items()}


@pytest.fixture
def make(forked):
    def make(run: Path, *settings: str) -> str:
        done = forked("make", run, f"formats=[{FORMATS}]", *settings)
        assert done.code == 0, done.err
        return done.out

    return make


def test_every_product_of_a_film_and_others_later_from_the_same_records(predict, make, mini, film):
    settings = [*film, *mini, f"output.formats=[{FORMATS}]", "smoothing=savitzky_golay"]
    run = predict(*settings)
    assert run.code == 0 and not run.failures, run.err
    made = products(run.folder)
    assert {name for name in made if name.startswith("predictions")} == {
        "predictions/photograph.png.json",
        "predictions/a/walk.mp4.json",
    }
    for place in ("openpose_json/{}_keypoints.json", "openpose/{}.png", "overlays/{}.jpg"):
        names = ["photograph.png", *(f"a/walk.mp4/walk_{index:012}" for index in range(NUM_FRAMES))]
        assert {*made} >= {place.format(name) for name in names}
    assert {"dlc/a/walk.mp4.csv", "track_plots/a/walk.mp4.png", "keypoints.csv", "coco_annotations.json"} <= {*made}

    frames = json.loads(made["predictions/a/walk.mp4.json"][0])["instance_info"]
    assert [frame["frame_id"] for frame in frames] == [*range(NUM_FRAMES)]
    np.testing.assert_allclose([frame["seconds"] for frame in frames], np.arange(NUM_FRAMES) / 25)
    ids = [[person["track_id"] for person in frame["instances"]] for frame in frames]
    assert ids == [[1, 2]] * NUM_FRAMES
    bridged = [frame["frame_id"] for frame in frames if any(person.get("bridged") for person in frame["instances"])]
    assert bridged == [4, 5]
    table = pandas.read_parquet(run.folder / "parquet")
    assert table.track_id.value_counts().to_dict() == {1: NUM_FRAMES, 2: NUM_FRAMES}
    assert table.bridged.sum() == 2 and table.video.isna().sum() == 1
    tracks = pandas.read_csv(run.folder / "dlc" / "a" / "walk.mp4.csv", header=[0, 1, 2, 3], index_col=0)
    assert tracks.index.tolist() == [*range(NUM_FRAMES)] and not tracks.isna().to_numpy().any()
    of_frame = json.loads(made["openpose_json/a/walk.mp4/walk_000000000003_keypoints.json"][0])
    assert [person["person_id"] for person in of_frame["people"]] == [[1], [2]]
    overlay = cv2.imread(str(run.folder / "overlays" / "a" / "walk.mp4" / "walk_000000000003.jpg"))
    assert overlay.shape[1::-1] == FRAME_WH

    again = predict(*settings, inject=NO_FORWARD_PASS)
    assert again.code == 0 and products(run.folder) == made, again.err

    said = make(run.folder, "tracking=none", "smoothing=none")
    assert "frames_json         1 made" in said and "dlc                 0 made, 1 could not be made" in said
    other = products(run.folder)
    assert other["predictions/photograph.png.json"] == made["predictions/photograph.png.json"]
    frames = json.loads(other["predictions/a/walk.mp4.json"][0])["instance_info"]
    assert {person["track_id"] for frame in frames for person in frame["instances"]} == {None}
    assert "dlc/a/walk.mp4.csv" not in other and "there is no track in it" in said
    make(run.folder, "tracking=tracks", "smoothing=savitzky_golay")
    assert contents(run.folder) == {name: content for name, (content, _) in made.items()}
    assert not run.failures
