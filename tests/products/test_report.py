"""The report of a run with planted faults, read as a browser shows it."""

from __future__ import annotations

import csv
import json

import cv2
import numpy as np
import pytest
from products.made import make_products, run_folder, settings
from products.page_driver import CHROMIUM, DRIVER, browser
from records.made_up import failed_result, frame_result, make_records, pose_result

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.structures import NO_TRACK_ID
from sapiens_pl.models.keypoint_sets import our_set, set_of_network
from sapiens_pl.products.of_run import make_of_run
from sapiens_pl.products.report import Report

COCO = our_set("coco_17")
WH = (320, 240)
STANDING = np.array(
    [(0, -82), (4, -86), (-4, -86), (8, -83), (-8, -83), (20, -62), (-20, -62), (28, -32), (-28, -32), (30, -5)]
    + [(-30, -5), (12, 0), (-12, 0), (13, 45), (-13, 45), (14, 88), (-14, 88)],
    float,
)
"""(17, 2): somebody who looks at the camera, 180 px tall; the hips' middle is at (0, 0)."""
ARMS = (5, 6, 7, 8, 9, 10)
NASTY = "a <img src=x onerror=alert(1)> & \"'ü</script>.jpg"


def standing(x: float = 160, y: float = 120, size: float = 1.0) -> np.ndarray:
    return STANDING * size + (x, y)


def swapped(pose: np.ndarray, which=range(17)) -> np.ndarray:
    other = pose.copy()
    for index in which:
        other[index] = pose[COCO.flip_indices[index]]
    return other


def with_long_shin(pose: np.ndarray) -> np.ndarray:
    other = pose.copy()
    other[15] = pose[13] + 3 * (pose[15] - pose[13])
    return other


def picture(folder, name: str, poses: list[np.ndarray], score: float = 0.9):
    """A result with these people, and its photograph in the folder."""
    count = len(poses)
    path = folder / f"{len(list(folder.iterdir()))}.png"
    ground = np.random.default_rng(len(name)).integers(0, 255, (6, 8, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(ground, WH, interpolation=cv2.INTER_CUBIC))
    points = np.array(poses, np.float32).reshape(count, 17, 2)
    boxes = np.concatenate([points.min(axis=1, initial=1e9) - 4, points.max(axis=1, initial=-1e9) + 4], axis=1)
    return pose_result(
        name, count, path=str(path), image_wh=WH, keypoints=points, bboxes=boxes.astype(float).reshape(count, 4),
        keypoint_scores=np.full((count, 17), score, np.float32), bbox_scores=np.ones(count),
    )  # fmt: skip


def planted(folder) -> list:
    folder.mkdir(exist_ok=True)
    crowd = [standing(14 + 32 * (at % 10), 20 + 40 * (at // 10), 0.17) for at in range(60)]
    long = picture(folder, "long.jpg", [with_long_shin(standing(size=0.6))])
    box = picture(folder, "box.jpg", [standing(size=0.6)]).bboxes
    twice = picture(folder, "twice.jpg", [standing(), standing(161)])
    twice.keypoint_scores[1] = 0.8
    return [
        *(picture(folder, f"fine{at}.jpg", [standing(100 + at)], 0.85 + at / 1000) for at in range(30)),
        picture(folder, "whole.jpg", [swapped(standing())]),
        picture(folder, "arms.jpg", [swapped(standing(), ARMS)]),
        picture(folder, "legs.jpg", [swapped(standing(), range(11, 17))]),
        long._replace(bboxes=box),
        picture(folder, "crowd.jpg", crowd),
        picture(folder, "low.jpg", [standing()], 0.1),
        picture(folder, NASTY, [standing()], 0.45),
        twice,
        picture(folder, "nobody.jpg", []),
        *(failed_result(f"broken{at:02}.jpg") for at in range(20)),
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    account = {"status": "merging", "device": "a <device>", "counts": {"images_done": 39}, "folder": {"failed": 20}}
    files = {"num": 4, "kinds": {".heic": 3, ".txt": 1}, "first": ["<b>.heic"], "why": "is not a picture"}
    account["not_counted"] = {"files": files, "boxes": {"rows": 12, "used": 1, "unusable": 11, "inverted": 11}}
    account["processes"] = [{"shard": 0, "rank": 0, "seconds": 3, "seconds_with_loading": 5, "loading": {"seconds": 1}}]
    (folder / "run").mkdir()
    (folder / "run" / "run.json").write_text(json.dumps(account))
    results = planted(folder / "photographs")
    make_records(folder / "run", results)
    made(folder / "run")
    return folder / "run"


def made(path, *overrides: str):
    folder = run_folder(path)
    folder.failures.settle()
    outcome = make_of_run(folder, settings("output.formats=[report]", *overrides))
    folder.close()
    assert not outcome.failures, outcome.failures
    return path


def worst(path) -> list[dict[str, str]]:
    with open(path / "worst.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def data_of(path) -> dict:
    page = (path / "report.html").read_text("utf-8")
    return json.loads(page.split('id="data">')[1].split("</script>")[0])


def test_every_planted_fault_is_in_the_table_worst_first_with_its_reason(run):
    rows = worst(run)
    assert len(rows) == 30 + 6 + 60 + 2
    found = {row["image"]: row for row in rows if row["reasons"]}
    assert {name: row["reasons"] for name, row in found.items() if name != "long.jpg"} == {
        **{"whole.jpg": "swapped", "arms.jpg": "swapped", "legs.jpg": "swapped"},
        **{"low.jpg": "low_score", NASTY: "low_score", "twice.jpg": "duplicate"},
    }
    assert found["long.jpg"]["reasons"].split() == ["long_limb", "outside_box"]
    assert "left shin" in found["long.jpg"]["details"] and "left_ankle" in found["long.jpg"]["details"]
    assert "trunk" in found["arms.jpg"]["details"] and "like instance 0" in found["twice.jpg"]["details"]
    assert rows[0]["image"] == "long.jpg"
    suspicions = [float(row["suspicion"]) for row in rows]
    assert suspicions == sorted(suspicions, reverse=True) and suspicions[-1] == 0
    rest = [float(row["score"]) for row in rows if not row["reasons"]]
    assert rest == sorted(rest)


@pytest.mark.slow
def test_it_is_made_anew_where_what_it_tells_of_the_run_has_changed(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"status": "running", "folder": {"videos": 2}}))
    make_records(tmp_path, [picture(tmp_path, "a.jpg", [standing()])])
    first = (made(tmp_path) / "report.html").read_text("utf-8")
    assert "not counted yet" in first
    written = (tmp_path / "report.html").stat().st_mtime_ns
    account = {"status": "running", "folder": {"videos": 2}, "looked_at": "2026-11-29T12:00:00Z", "progress": {"a": 1}}
    for told, again in (({}, False), ({"status": "complete", "folder": {"videos": 2, "tracks": 5}}, True)):
        (tmp_path / "run.json").write_text(json.dumps(account | told))
        made(tmp_path)
        assert ((tmp_path / "report.html").stat().st_mtime_ns != written) == again
    assert "not counted yet" not in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.slow
def test_the_same_records_and_photographs_give_the_same_bytes(run):
    before = {name: (run / name).read_bytes() for name in Report.outputs}
    for name in before:
        (run / name).unlink()
    made(run)
    assert {name: (run / name).read_bytes() for name in before} == before


@pytest.mark.slow
def test_photographs_that_are_gone_are_told_and_the_skeleton_stays(tmp_path):
    kept = picture(tmp_path, "kept.jpg", [standing()])
    gone = picture(tmp_path, "gone.jpg", [standing()])._replace(path=str(tmp_path / "gone.png"))
    other = picture(tmp_path, "other.jpg", [standing()])._replace(image_wh=(400, 240))
    entries = data_of(make_products(tmp_path / "run", [kept, gone, other], "report"))["entries"]
    told = {entry["name"]: entry.get("why") for entry in entries}
    assert told["kept.jpg"] is None and "is not there any more" in told["gone.jpg"]
    assert "is another picture now" in told["other.jpg"]
    assert all(entry["people"] for entry in entries)
    assert [entry["name"] for entry in entries if "image" in entry] == ["kept.jpg"]


@pytest.mark.slow
def test_the_page_stays_small_whatever_the_pictures_are(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "noise.jpg"), noise)
    results = [pose_result(f"{at}.jpg", 60, 308, seed=at, image_wh=(400, 400)) for at in range(12)]
    for result in results:
        result.keypoints[:] /= 14
        result.bboxes[:] = (50, 50, 350, 350)
    make_records(tmp_path, [each._replace(path=str(tmp_path / "noise.jpg")) for each in results], 308)
    made(tmp_path)
    assert sum("image" in entry for entry in data_of(tmp_path)["entries"]) > 60
    assert (tmp_path / "report.html").stat().st_size < 5e6


@pytest.mark.slow
@pytest.mark.parametrize("num_keypoints", [5, 17, 133, 308])
def test_any_keypoint_set(tmp_path, num_keypoints):
    results = [pose_result(f"{at}.jpg", 3, num_keypoints) for at in range(5)]
    make_records(tmp_path, results, num_keypoints)
    made(tmp_path)
    data, rows = data_of(tmp_path), worst(tmp_path)
    assert data["names"] == list(set_of_network("It", num_keypoints).names) and len(rows) == 15
    assert all("outside_box" in row["reasons"] for row in rows), "they are at random places"
    assert any("long_limb" in row["reasons"] for row in rows) == (num_keypoints > 5)


def test_a_run_of_nothing_and_one_of_nobody(tmp_path):
    for name, results in (("nothing", []), ("nobody", [pose_result("a.jpg", 0)])):
        make_records(tmp_path / name, results)
        made(tmp_path / name)
        assert "Nobody was found." in (tmp_path / name / "report.html").read_text() or name == "nobody"
        assert worst(tmp_path / name) == []


@pytest.mark.slow
def test_a_keypoint_that_leaves_its_track_for_a_frame_is_found(tmp_path):
    def frame(index: int, moved: float = 0.0, **changes):
        pose = standing(100 + 3 * index)
        pose[9, 0] += moved
        result = frame_result("walk.mp4", index, image_wh=WH, keypoints=pose[None].astype(np.float32), **changes)
        return result._replace(
            bboxes=np.array([[pose[:, 0].min(), 30, pose[:, 0].max(), 220]]),
            keypoint_scores=np.full((1, 17), 0.9, np.float32),
        )

    frames = [frame(index, 60.0 if index == 4 else 0.0) for index in range(9)]
    make_records(tmp_path, frames)
    made(tmp_path)
    jumps = [row for row in worst(tmp_path) if "jump" in row["reasons"]]
    assert [row["frame"] for row in jumps] == ["4", "3", "5"] or [row["frame"] for row in jumps] == ["4"]
    assert "left_wrist" in jumps[0]["details"] and jumps[0]["video"] == "walk.mp4" and jumps[0]["track_id"] == "1"
    data = data_of(tmp_path)
    assert data["entries"][data["galleries"]["jump"][0]]["name"].endswith("000000000004")
    lost = [frame(index, 60.0 if index == 4 else 0.0, track_ids=np.array([NO_TRACK_ID])) for index in range(9)]
    make_records(tmp_path / "lost", lost)
    made(tmp_path / "lost")
    assert not any("jump" in row["reasons"] for row in worst(tmp_path / "lost"))


def test_a_threshold_that_is_no_number_is_refused():
    with pytest.raises(ConfigError, match="output.overlay_score_threshold=half must be a number"):
        Report("half")


INTRUDE = """
const image = new Image(), script = document.createElement("script");
image.src = "http://127.0.0.1:9/x.png";
script.textContent = "window.bad = 1";
document.body.append(image, script);
"""
CHOOSE_PERSON = """
const choice = document.querySelector("#s-person");
choice.value = arguments[0];
choice.dispatchEvent(new Event("input"));
return [...document.querySelectorAll("#s-keypoints tbody tr")].map(row => row.innerText);
"""
UNNAMED = """
return [...document.querySelectorAll("button, input, select, svg[role=img]")]
  .filter(each => !each.innerText && !each.getAttribute("aria-label") && !each.closest("label"))
  .map(each => each.outerHTML)
"""
CARDS = (
    """return [...document.querySelectorAll(`[data-gallery="${arguments[0]}"] .card`)].map(card => card.innerText)"""
)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="there is no chromium with its driver")
def test_a_browser_shows_every_planted_fault(run):
    with browser() as page:
        page.open(run / "report.html", 1400)
        text = page.run("return document.body.innerText")
        assert "DamagedImageError" in text and "broken00.jpg is broken; look at it." in text and "broken04.jpg" in text
        assert "a <device>" in text and "complete" in text
        assert "4 files (.heic 3, .txt 1): <b>.heic" in text and "11 inverted" in text
        rows = page.run("return [...document.querySelectorAll('#failures tbody tr')].map(row => row.innerText)")
        assert len(rows) == 1 and "\t20\t" in rows[0]
        swaps = page.run(CARDS, "swapped")
        assert sorted(card.split()[0] for card in swaps) == ["arms.jpg", "legs.jpg", "whole.jpg"]
        assert [card.split()[0] for card in page.run(CARDS, "long_limb")] == ["long.jpg"]
        (crowd, *_) = page.run(CARDS, "crowds")
        assert crowd.startswith("crowd.jpg") and "60 people" in crowd
        assert [card.split()[0] for card in page.run(CARDS, "duplicate")] == ["twice.jpg"]
        lowest = page.run(CARDS, "lowest")
        assert lowest[0].startswith("low.jpg") and lowest[1].startswith(NASTY) and len(lowest) == 24
        assert not page.run("return document.querySelectorAll('img[onerror]').length"), "names are text"
        assert page.run("return document.images.length") > 50
        assert page.wait("return [...document.images].every(image => image.naturalWidth > 0)")
        page.run("document.querySelector('#f-reason').value = 'long_limb'; document.querySelector('#f-reason')"
                 ".dispatchEvent(new Event('input'))")  # fmt: skip
        assert {card.split()[0] for card in page.run(CARDS, "lowest")} <= {"long.jpg"}
        assert page.run(CARDS, "swapped") == []
        assert page.complaints() == []
        assert [url for url in page.requests() if not url.startswith("file:")] == []


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="there is no chromium with its driver")
def test_keyboard_phone_and_nothing_from_outside(run):
    with browser() as page:
        page.open(run / "report.html", 390, dark=True)
        assert page.run("return document.documentElement.scrollWidth") <= 390
        assert page.run("return getComputedStyle(document.body).backgroundColor") == "rgb(21, 23, 26)"
        page.press("Tab")
        assert page.wait("return document.activeElement.className == 'skip'")
        page.run("document.querySelector('[data-gallery=long_limb] .card').focus()")
        page.press("Enter")
        assert page.wait("return document.querySelector('#shown').open && document.activeElement.id == 's-close'")
        rows = page.run("return [...document.querySelectorAll('#s-keypoints tbody tr')].map(row => row.innerText)")
        assert len(rows) == 17 and any(row.split()[0] == "left_ankle" for row in rows)
        page.press("Escape")
        was = "document.activeElement.innerText.startsWith('long.jpg')"
        assert page.wait(f"return !document.querySelector('#shown').open && {was}"), "the focus is where it was"
        page.run("document.querySelector('[data-gallery=crowds] .card').click()")
        first, last = (page.run(CHOOSE_PERSON, number) for number in (0, 59))
        assert len(first) == 17 and first != last and {row.split()[0] for row in first} == {*COCO.names}
        page.press("Escape")
        page.run("document.querySelector('[data-gallery=lowest] .card').focus()")
        page.press("Right", "Enter", "Right")
        name = page.run("return document.querySelector('#s-name').textContent")
        page.press("Escape")
        third = page.run(CARDS, "lowest")[2]
        assert third.startswith(name) and page.run("return document.activeElement.innerText") == third
        # Whatever would ask for anything is stopped by the page's own rule.
        page.run(INTRUDE)
        assert page.run("return window.bad === undefined")
        assert page.wait("return [...document.images].pop().complete")
        assert page.run(UNNAMED) == []
        assert len([line for line in page.complaints() if "Content Security Policy" in line]) >= 2
