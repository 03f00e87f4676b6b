"""What is missing is made from the records, and nothing else, without a network; what cannot be made is a sentence."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from products.made import run_folder, settings
from records.made_up import make_records, pose_result

from sapiens_pl.core.errors import ConfigError, WriteError
from sapiens_pl.core.protocols import VideoProduct
from sapiens_pl.products.chosen import all_products
from sapiens_pl.products.of_run import make_of_run
from sapiens_pl.products.overlay import MAX_SIDE
from sapiens_pl.products.removing import clear_products, remove_of_pictures
from sapiens_pl.records.run_folder import RunFolder

ALL = "json,parquet,coco,csv,openpose,overlay"
NOT_UNICODE = b"\xff\n.jpg".decode("utf-8", "surrogateescape")
NAMES = ("b/2.jpg", "a.jpg", "nobody.jpg", NOT_UNICODE)


@pytest.fixture
def album(tmp_path) -> list:
    """Results of four photographs, which lie where the results say."""
    results = []
    for index, name in enumerate(NAMES):
        path = tmp_path / "photographs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = cv2.imencode(".jpg", np.full((480, 640, 3), 90 + index, np.uint8))[1]
        path.write_bytes(content.tobytes())
        results.append(pose_result(name, 0 if name == "nobody.jpg" else 1 + index, path=str(path)))
    return results


@pytest.fixture
def run(tmp_path, album) -> RunFolder:
    make_records(tmp_path / "run", album)
    return run_folder(tmp_path / "run")


def files_of(folder: RunFolder) -> dict[str, bytes]:
    """All products in a run's folder."""
    found = {path.relative_to(folder.path).as_posix(): path for path in folder.path.rglob("*") if path.is_file()}
    own = ("predictions/", "overlays/", "openpose/", "parquet/", "coco", "keypoints.csv")
    return {name: path.read_bytes() for name, path in found.items() if name.startswith(own)}


def changed(folder: RunFolder) -> dict[str, int]:
    return {name: (folder.path / name).stat().st_mtime_ns for name in files_of(folder)}


@pytest.mark.slow
def test_everything_is_made_once_and_only_what_is_missing_again(run):
    made = make_of_run(run, settings(f"output.formats=[{ALL}]"))
    assert made.counts == {"json": 4, "openpose": 4, "overlay": 4, "parquet": 1, "coco": 1, "csv": 1}
    assert not made.failures and len(files_of(run)) == 4 * 3 + 1 + 2 + 1
    before, content = changed(run), files_of(run)
    assert not make_of_run(run, settings(f"output.formats=[{ALL}]")).counts and changed(run) == before
    for name, format in (("overlays/b/2.jpg.jpg", "overlay"), ("keypoints.csv", "csv"), ("coco_images.json", "coco")):
        (run.path / name).unlink()
        assert make_of_run(run, settings(f"output.formats=[{ALL}]")).counts == {format: 1}
    (run.path / "parquet" / "poses-00000.parquet").write_bytes(b"PAR1")  # cut short
    assert make_of_run(run, settings(f"output.formats=[{ALL}]")).counts == {"parquet": 1}
    assert files_of(run) == content


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b'{"meta_info": {"dataset', bytes(900), None])
def test_files_that_are_empty_or_cut_short_are_made_again_and_that_is_said(run, caplog, content):
    cfg = settings("output.formats=[json,openpose,overlay,openpose_json]")
    make_of_run(run, cfg)
    whole = files_of(run)
    for place in ("predictions/a.jpg.json", "overlays/b/2.jpg.jpg", "openpose/a.jpg.png"):
        if content is None:
            (run.path / place).unlink()
            (run.path / place).symlink_to("gone")
        else:
            (run.path / place).write_bytes(content)
    assert make_of_run(run, cfg).counts == {"json": 1, "overlay": 1, "openpose": 1}
    assert files_of(run) == whole and "1 files in overlays/ were empty or cut short (b/2.jpg the first)" in caplog.text
    assert not make_of_run(run, cfg).counts


@pytest.mark.slow
def test_another_threshold_makes_the_drawings_again_and_nothing_else(run):
    make_of_run(run, settings(f"output.formats=[{ALL}]"))
    before, content = changed(run), files_of(run)
    made = make_of_run(run, settings(f"output.formats=[{ALL}]", "output.overlay_score_threshold=0.9"))
    assert made.counts == {"openpose": 4, "overlay": 4}
    drawn = {name for name, time in changed(run).items() if time != before[name]}
    assert drawn == {name for name in before if name.startswith(("overlays/", "openpose/"))}
    assert files_of(run)["overlays/a.jpg.jpg"] != content["overlays/a.jpg.jpg"]
    # Not asked for, the overlays stay as they are; asked for again, they are told from those that are wanted.
    make_of_run(run, settings("output.formats=[openpose]"))
    assert files_of(run)["overlays/a.jpg.jpg"] != content["overlays/a.jpg.jpg"]
    assert make_of_run(run, settings(f"output.formats=[{ALL}]")).counts == {"overlay": 4}
    assert files_of(run) == content


def test_tables_follow_the_records_and_are_the_same_whoever_has_recorded(run, album, tmp_path):
    tables = settings("output.formats=[parquet,coco,csv]")
    make_of_run(run, tables)
    make_records(run.path, [pose_result("z.jpg", 2)])
    assert make_of_run(run, tables).counts == {"parquet": 1, "coco": 1, "csv": 1}
    for rank, results in enumerate(([album[2], album[0]], [pose_result("z.jpg", 2), album[3]], [album[1]])):
        make_records(tmp_path / "ranks", results, a_frame=1, rank=rank)
    ranks = run_folder(tmp_path / "ranks")
    make_of_run(ranks, tables)
    assert files_of(ranks) == files_of(run)


@pytest.mark.slow
def test_what_one_product_cannot_do_is_a_line_and_is_not_tried_again_until_that_is_asked_for(run, album, tmp_path):
    gone, long, odd = "gone.jpg", "long.png", "x" * 251 + ".png"
    cv2.imwrite(str(tmp_path / long), np.zeros((2, MAX_SIDE + 1, 3), np.uint8))
    more = [
        pose_result(gone, path=str(tmp_path / gone)),
        pose_result(long, path=str(tmp_path / long), image_wh=(MAX_SIDE + 1, 2)),
        pose_result(odd, path=album[0].path),
    ]
    make_records(run.path, more)
    cfg = settings("output.formats=[json,overlay,csv]")
    made = make_of_run(run, cfg)
    lines = [json.loads(line) for line in run.failures.file.read_text().splitlines()]
    assert {(line["image"], line["product"]) for line in lines} == {
        (gone, "overlay"), (long, "overlay"), (odd, "overlay"), (odd, "json"),
    }  # fmt: skip
    assert len(lines) == len(made.failures) == 4 and made.counts == {"json": 6, "overlay": 4, "csv": 1}
    said = {line["image"]: line["message"] for line in lines if line["product"] == "overlay"}
    assert (
        "not there any more" in said[gone] and "no side of 65501 px" in said[long] and "rename the image" in said[odd]
    )
    assert not make_of_run(run, cfg).counts and len(run.failures.file.read_text().splitlines()) == 4
    cv2.imwrite(str(tmp_path / gone), np.zeros((480, 640, 3), np.uint8))
    assert not make_of_run(run, cfg).counts
    again = make_of_run(run, cfg, again=True)
    assert again.counts == {"overlay": 1} and len(again.failures) == 3
    assert (run.path / "overlays" / f"{gone}.jpg").is_file()


@pytest.mark.slow
def test_poses_are_not_drawn_on_another_picture_that_has_the_name_now(run, album, tmp_path):
    cv2.imwrite(str(tmp_path / "photographs" / "a.jpg"), np.zeros((640, 480, 3), np.uint8))
    made = make_of_run(run, settings("output.formats=[overlay]"))
    assert made.counts == {"overlay": 3}
    assert [failure.image for failure in made.failures] == ["a.jpg"] and not (run.path / "overlays/a.jpg.jpg").exists()
    assert "is another picture now, of 480x640 px; its poses were found in one of 640x480" in made.failures[0].message


@pytest.mark.slow
def test_foreign_files_stay_and_a_folder_in_a_files_place_is_said_before_anything_is_made(run):
    for name in ("overlays/notes.jpg", "overlays/.hidden.jpg", "parquet/notes.txt", "parquet/poses-00009.parquet"):
        (run.path / name).parent.mkdir(exist_ok=True)
        (run.path / name).write_text("mine")
    make_of_run(run, settings("output.formats=[overlay,parquet]"))
    make_of_run(run, settings("output.formats=[overlay,parquet]", "output.overlay_score_threshold=0.5"))
    kept = {name for name, content in files_of(run).items() if content == b"mine"}
    assert kept == {"overlays/notes.jpg", "overlays/.hidden.jpg", "parquet/notes.txt"}  # more tables would be read
    (run.path / "keypoints.csv").mkdir()
    with pytest.raises(ConfigError, match="keypoints.csv is a folder; move it away"):
        make_of_run(run, settings("output.formats=[json,csv]"))
    (run.path / "openpose").write_text("")
    with pytest.raises(ConfigError, match="openpose is not a folder; move it away"):
        make_of_run(run, settings("output.formats=[json,openpose]"))
    assert not (run.path / "predictions").exists()


def test_a_place_that_takes_no_files_ends_it_in_a_sentence(run):
    run.close()
    for format in ("json", "csv"):
        with pytest.raises(WriteError, match="could not be written"):
            make_of_run(run, settings(f"output.formats=[{format}]"))


@pytest.mark.slow
def test_products_of_pictures_that_are_to_be_done_again_go_and_starting_over_removes_all(run):
    cfg = settings(f"output.formats=[{ALL}]")
    make_of_run(run, cfg)
    remove_of_pictures(run.path, all_products(cfg), ["a.jpg", "never.jpg", "x" * 300])
    assert make_of_run(run, cfg).counts == {"json": 1, "openpose": 1, "overlay": 1}
    (run.path / "mine.txt").write_text("")
    clear_products(run.path, all_products(cfg))
    assert not files_of(run) and (run.path / "mine.txt").exists() and not (run.path / ".products").exists()


@pytest.mark.slow
@pytest.mark.parametrize("num_keypoints", [17, 133, 308, 5])
def test_every_product_of_every_set(tmp_path, num_keypoints):
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), np.zeros((480, 640, 3), np.uint8))
    results = [pose_result("a.jpg", 2, num_keypoints, path=str(path))]
    make_records(tmp_path / "run", results, num_keypoints)
    run = run_folder(tmp_path / "run")
    formats = [name for name in settings().products if num_keypoints != 5 or not name.startswith("openpose")]
    made = make_of_run(run, settings(f"output.formats=[{','.join(formats)}]"))
    classes = dict(zip(settings().products, all_products(settings())))
    assert made.counts == {name: 1 for name in formats if VideoProduct not in classes[name].__mro__}
    assert not made.failures
    if num_keypoints == 5:
        for name in set(settings().products) - set(formats):
            with pytest.raises(ConfigError, match=f"output.formats={name} needs to know which keypoints are the body"):
                make_of_run(run, settings(f"output.formats=[json,{name}]"))


@pytest.mark.slow
def test_a_stop_leaves_the_rest_for_the_next_time(run):
    cfg = settings(f"output.formats=[{ALL}]")
    stopped = make_of_run(run, cfg, stopped=lambda: True)
    assert not stopped.counts and stopped.num_left == 4 * 3 + 3
    made = make_of_run(run, cfg)
    assert made.counts["json"] == 4 and made.num_left == 0
