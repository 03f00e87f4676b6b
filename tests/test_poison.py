"""What people's folders, lists and box files hold, and what must become of each (the tables), by the real command."""

from __future__ import annotations

import io
import json
import os
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import COCO, check_same
from PIL import Image

PHOTO = (COCO / "000000000785.jpg").read_bytes()
PIXELS = cv2.imdecode(np.frombuffer(PHOTO, np.uint8), cv2.IMREAD_COLOR)[:300, :400]
GOOD_BOX = [20, 10, 180, 190]
NAN, INF = float("nan"), float("inf")


def encoded(suffix, pixels=PIXELS):
    return cv2.imencode(suffix, pixels)[1].tobytes()


def with_pillow(format, mode="RGB", **options):
    file = io.BytesIO()
    Image.fromarray(PIXELS[..., ::-1]).convert(mode).save(file, format, **options)
    return file.getvalue()


def animated(format):
    frames = [Image.fromarray(np.full((30, 40, 3), value, np.uint8)) for value in (200, 20)]
    file = io.BytesIO()
    frames[0].save(file, format, save_all=True, append_images=frames[1:], duration=100)
    return file.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return with_pillow("JPEG", exif=exif)


def bomb():
    file = io.BytesIO()
    Image.new("1", (40_000, 30_000)).save(file, "PNG")
    return file.getvalue()


def cut(data, part=0.5):
    return data[: int(len(data) * part)]


WIDE, HIGH, SMALL = (400, 300), (300, 400), (40, 30)
LONG = "n" * 251 + ".jpg"
UNDECODABLE = os.fsdecode(b"bytes \xff\xfe.jpg")


@cache
def files() -> dict:
    """Name in the folder: content (or what makes it), outcome.

    The outcome is the upright picture's width and height, with the one box's person found; the class of the error that
    is recorded; or None, left out and counted.
    """
    return {
        "good/0.jpg": (PHOTO, (640, 425)),
        "good/1.png": (encoded(".png"), WIDE),
        "good/2.webp": (encoded(".webp"), WIDE),
        "good/3.bmp": (encoded(".bmp"), WIDE),
        "good/4.tif": (encoded(".tif"), WIDE),
        # damaged
        "truncated.jpg": (cut(PHOTO), "DamagedImageError"),
        "almost whole.jpg": (cut(PHOTO, 0.97), "DamagedImageError"),
        "hole.jpg": (PHOTO[:9000] + PHOTO[30000:], "DamagedImageError"),
        "truncated.png": (cut(encoded(".png")), "DamagedImageError"),
        "truncated.webp": (cut(encoded(".webp")), "UnreadableImageError"),
        "truncated.bmp": (cut(encoded(".bmp")), "DamagedImageError"),
        "truncated.tif": (cut(encoded(".tif")), "UnreadableImageError"),
        "truncated.gif": (cut(with_pillow("GIF")), "DamagedImageError"),
        "header only.jpg": (PHOTO[:20], "UnreadableImageError"),
        "zero bytes.jpg": (b"", "UnreadableImageError"),
        "text.jpg": (b"<html>404 not found</html>", "UnreadableImageError"),
        "zeros.png": (bytes(5000), "UnreadableImageError"),
        # unusual
        "cmyk.jpg": (with_pillow("JPEG", "CMYK"), WIDE),
        "grey.jpg": (with_pillow("JPEG", "L"), WIDE),
        "progressive.jpg": (with_pillow("JPEG", progressive=True), WIDE),
        "sixteen bits.png": (encoded(".png", PIXELS.astype(np.uint16) * 257), WIDE),
        "palette.png": (with_pillow("PNG", "P"), WIDE),
        "alpha.png": (with_pillow("PNG", "RGBA"), WIDE),
        "one bit.png": (with_pillow("PNG", "1"), WIDE),
        "animated.gif": (animated("GIF"), SMALL),
        "animated.webp": (animated("WEBP"), SMALL),
        "a png called.jpg": (encoded(".png"), WIDE),
        **{f"exif {n}.jpg": (turned(n), WIDE if n < 5 else HIGH) for n in range(1, 9)},
        "exif 9.jpg": (turned(9), WIDE),
        # too large, too small, too long
        "bomb.png": (bomb, "OversizedImageError"),
        "endless.tif": (
            lambda: os.truncate(os.open("endless.tif", os.O_CREAT | os.O_RDWR), 2**40),
            "OversizedImageError",
        ),
        "dot.png": (encoded(".png", PIXELS[:1, :1]), (1, 1)),
        "strip.png": (encoded(".png", np.full((20, 30_000, 3), 99, np.uint8)), (30_000, 20)),
        # names
        "a 'quoted' \"name\".jpg": (encoded(".jpg"), WIDE),
        "new\nline.jpg": (encoded(".jpg"), WIDE),
        UNDECODABLE: (encoded(".jpg"), WIDE),
        "Case.jpg": (encoded(".jpg"), WIDE),
        "case.jpg": (encoded(".jpg", PIXELS[:100]), (400, 100)),
        "twin.jpg": (encoded(".jpg"), WIDE),
        "twin.png": (encoded(".png", PIXELS[:100]), (400, 100)),
        "SHOUTED.JPG": (encoded(".jpg"), WIDE),
        LONG: (encoded(".jpg"), "ResultNameError"),
        # no files
        "loop.jpg": (lambda: os.symlink("loop.jpg", "loop.jpg"), "UnreadableImageError"),
        "dangling.jpg": (lambda: os.symlink("nowhere", "dangling.jpg"), "MissingImageError"),
        "fifo.jpg": (lambda: os.mkfifo("fifo.jpg"), "UnreadableImageError"),
        "folder.jpg/inside.jpg": (encoded(".jpg"), WIDE),
        "link.jpg": (lambda: os.symlink("good/0.jpg", "link.jpg"), None),  # the same box by a second name counts once
    }


# Image: boxes in the file, indices of those that give a person. The others are recorded, each as a BoxError.
BOXES = {
    "boxes/no numbers.jpg": ([[NAN, 0, 10, 10], GOOD_BOX, [0, 0, INF, 10], ["a", "b", "c", "d"], None, [1, 2, 3]], [1]),
    "boxes/no area.jpg": ([GOOD_BOX, [50, 50, 50, 90], [90, 20, 40, 60], GOOD_BOX], [0, 3]),
    "boxes/negative.jpg": ([[-100, -50, 80, 90], [-90, -80, -10, -20]], [0]),
    "boxes/huge.jpg": ([[-1e6, -1e6, 1e6, 1e6], [0, 0, 1e300, 10], [5000, 5000, 5100, 5200]], [0]),
    "boxes/strings.jpg": ([["20", "10", "180", "190"], "box", "1234"], [0]),
    "boxes/crowd.jpg": ([[x, y, x + 30, y + 40] for x in range(50) for y in range(50)], list(range(2500))),
    "boxes/none.jpg": ([], []),
}


def put(root: Path, name: str, content) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if callable(content):
        before = Path.cwd()
        os.chdir(root)
        content = content()
        os.chdir(before)
    if isinstance(content, bytes):
        path.write_bytes(content)


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory):
    """The folder that the tables describe, a folder with the good pictures alone, and their box files."""
    root = tmp_path_factory.mktemp("poison")
    for name, (content, _) in files().items():
        put(root / "all", name, content)
        if name.startswith("good/"):
            put(root / "clean", name, content)
    for name in (*BOXES, "not in the box file.jpg"):
        put(root / "all", name, encoded(".jpg"))
    boxes = {name: [GOOD_BOX if name not in ("dot.png", "strip.png") else [0, 0, 1, 1]] for name in files()}
    boxes |= {name: rows for name, (rows, _) in BOXES.items()} | {"not there.jpg": [GOOD_BOX]}
    text = json.dumps(boxes, ensure_ascii=False)
    (root / "boxes.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    (root / "clean.json").write_text(json.dumps({name: [GOOD_BOX] for name in files() if name.startswith("good/")}))
    return root


def test_the_folder_and_its_boxes(predict, poisoned, mini):
    settings = [*mini, "boxes=json", "data.batch_size=50", "data.num_workers=2"]
    run = predict(*settings, f"data.images={poisoned / 'all'}", f"boxes.file={poisoned / 'boxes.json'}")
    assert run.code == 0 and "Traceback" not in run.err, run.err
    results, failed = run.results, {row["image"]: row for row in run.failures if row["instance_id"] is None}
    assert len(failed) == sum(row["instance_id"] is None for row in run.failures), "an image is recorded twice"
    assert run.info["left_out"]["links"] == 1
    for name, (_, outcome) in files().items():
        if outcome is None:
            assert name not in results and name not in failed, name
        elif isinstance(outcome, str):
            assert name not in results and name in failed, name
            assert failed[name]["error"] == outcome, failed[name]
            assert os.path.basename(name) in failed[name]["message"] and failed[name]["message"].endswith(".")
        else:
            assert name not in failed, failed[name]
            assert (results[name]["image"]["width"], results[name]["image"]["height"]) == outcome, name
            assert [person["instance_id"] for person in results[name]["instance_info"]] == [0], name
    for name, (rows, usable) in BOXES.items():
        assert [person["instance_id"] for person in results[name]["instance_info"]] == usable
        recorded = [row for row in run.failures if row["image"] == name]
        assert [row["instance_id"] for row in recorded] == [i for i in range(len(rows)) if i not in set(usable)]
        assert all(row["error"] == "BoxError" and name in row["message"] for row in recorded)
    assert results["not in the box file.jpg"]["instance_info"] == []
    assert failed["not there.jpg"]["error"] == "MissingImageError"
    listed = {name for name, (_, outcome) in files().items() if outcome is not None}
    assert set(results) | set(failed) == {*listed, *BOXES, "not in the box file.jpg", "not there.jpg"}

    clean = predict(
        *settings, f"data.images={poisoned / 'clean'}", f"boxes.file={poisoned / 'clean.json'}", folder="clean"
    )
    check_same({name: results[name] for name in clean.results}, clean.results, 100)

    again = predict(*settings, f"data.images={poisoned / 'all'}", f"boxes.file={poisoned / 'boxes.json'}")
    not_there = [
        name for name, (_, outcome) in files().items() if outcome == "MissingImageError"
    ]  # looked for once more
    assert again.code == 0 and again.info["counts"]["images_planned"] == len(not_there) == 1, again.err
    assert again.info["counts"]["images_absent"] == 1 and again.info["counts"]["images_done"] == 0
    assert again.results == results and again.failures == run.failures


def everything(*roots):
    return {path for root in roots for path in root.rglob("*")}


# A line of a list file (%s is its folder): the name in the outputs, outcome.
LINES = {
    "good/0.jpg": ("good/0.jpg", "done"),
    "./good/0.jpg": ("good/0.jpg", "done"),
    "%s/good/0.jpg": ("good/0.jpg", "done"),
    "good/../good/1.png": ("good/1.png", "done"),
    "../elsewhere/there.jpg": ("_outside%s/../elsewhere/there.jpg", "done"),
    "../../../../../../../../../../../../etc/passwd": ("_outside/etc/passwd", "UnreadableImageError"),
    "../not there.jpg": ("_outside%s/../not there.jpg", "MissingImageError"),
    "good": ("good", "UnreadableImageError"),
    "new%20line.jpg": ("new%20line.jpg", "MissingImageError"),
    " ": None,
    UNDECODABLE: (UNDECODABLE, "done"),
}


def test_a_list_file(predict, poisoned, mini, tmp_path):
    here = poisoned / "all"
    put(poisoned, "elsewhere/there.jpg", encoded(".jpg"))
    lines = "\r\n".join(line.replace("%s", str(here)) for line in LINES)
    (here / "list.txt").write_bytes(os.fsencode(lines))
    before = everything(poisoned, tmp_path)
    run = predict(*mini, f"data.images={here / 'list.txt'}", "boxes=whole_image", "data.num_workers=0")
    assert run.code == 0 and "Traceback" not in run.err, run.err
    expected: dict[str, str] = {}
    for outcome in filter(None, LINES.values()):
        name = outcome[0].replace("%s", str(here))
        expected["_outside" + os.path.normpath(name[8:]) if name.startswith("_outside") else name] = outcome[1]
    found = dict.fromkeys(run.results, "done") | {row["image"]: row["error"] for row in run.failures}
    assert found == expected
    written = everything(poisoned, tmp_path) - before
    assert {path for path in written if run.folder not in (path, *path.parents)} == {
        tmp_path / name for name in ("elsewhere", "output_0.out", "output_0.err")
    }
