from __future__ import annotations

import json
import threading

import cv2
import numpy as np
import pytest
from conftest import COCO
from PIL import Image

from sapiens_pl.boxes.json_boxes import JsonBoxes
from sapiens_pl.boxes.matching import WholeImage
from sapiens_pl.core import remote
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.data.datamodule import ImageDataModule

INPUT_HW = (64, 48)


@pytest.fixture
def folder(tmp_path):
    """Pictures of three sizes with 0, 1 and 3 boxes, and a broken one with 2."""
    boxes = {
        "a.png": [[5, 5, 30, 40], [10, 0, 50, 59], [40, 20, 60, 50]],
        "b.jpg": [[0, 0, 200, 100]],
        "d.jpg": [[1, 1, 9, 9]] * 2,
    }
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for name, size in (("a.png", (60, 70, 3)), ("b.jpg", (100, 200, 3)), ("c.png", (30, 20, 3))):
        cv2.imwrite(str(tmp_path / "images" / name), rng.integers(0, 256, size).astype(np.uint8))
    (tmp_path / "images" / "d.jpg").write_bytes(b"no picture")
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    return tmp_path


def module_of(folder, **options):
    data = ImageDataModule(str(folder / "images"), JsonBoxes(str(folder / "boxes.json")), INPUT_HW, **options)
    data.setup()
    return data


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_every_box_of_every_image_comes_once_with_its_identity(folder, batch_size, num_workers):
    data = module_of(folder, batch_size=batch_size, num_workers=num_workers)
    assert data.num_crops == 6 and data.num_images == 4
    seen, failures = {}, []
    for batch in data.predict_dataloader():
        assert batch.crops.shape[1:] == (3, *INPUT_HW) and str(batch.crops.dtype) == "torch.uint8"
        assert len(batch.crops) <= batch_size
        rows = zip(batch.image_indices, batch.box_indices, batch.bboxes_xyxy, batch.crops)
        for image_index, box_index, box, crop in rows:
            seen[data.tasks[image_index].name, int(box_index)] = (box.tolist(), crop.numpy())
        failures += [failure for part in batch.parts for failure in part.failures]
    boxes = json.loads((folder / "boxes.json").read_text())
    assert {key: box for key, (box, _) in seen.items()} == {
        (name, index): box for name in ("a.png", "b.jpg") for index, box in enumerate(boxes[name])
    }
    assert {failure.image for failure in failures} == {"d.jpg"}


def test_crops_do_not_depend_on_the_batch(folder):
    def crops(batch_size):
        loader = module_of(folder, batch_size=batch_size, num_workers=0).predict_dataloader()
        return np.concatenate([batch.crops.numpy() for batch in loader])

    np.testing.assert_array_equal(crops(1), crops(100))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_boxes_on_raw_pixels_show_the_same_person(folder, suffix):
    photo = Image.open(COCO / "000000000785.jpg")
    upright = (280, 44, 500, 390)
    exif = Image.Exif()
    exif[0x0112] = 6  # the viewer turns it clockwise, so it is stored turned the other way
    photo.transpose(Image.Transpose.ROTATE_90).save(folder / "images" / f"turned.{suffix}", exif=exif)
    photo.save(folder / "images" / "plain.png")
    raw = (upright[1], photo.width - upright[2], upright[3], photo.width - upright[0])

    def crop(name, box, exif):
        (folder / "one.json").write_text(json.dumps({name: [box]}))
        boxes = JsonBoxes(str(folder / "one.json"), exif=exif)
        data = ImageDataModule(str(folder / "images" / name), boxes, INPUT_HW, num_workers=0)
        data.setup()
        return next(iter(data.predict_dataloader()))

    plain, turned = crop("plain.png", upright, "upright"), crop(f"turned.{suffix}", raw, "raw")
    np.testing.assert_array_equal(plain.crops, turned.crops)
    np.testing.assert_array_equal(plain.bboxes_xyxy, turned.bboxes_xyxy)


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 0}, {"batch_size": 2.5}, {"batch_size": True}, {"num_workers": -1}, {"max_megapixels": 0}],
)
def test_settings_that_cannot_work_are_named(folder, options):
    with pytest.raises(ConfigError, match=rf"^{next(iter(options))}="):
        module_of(folder, **options)


@pytest.mark.slow
def test_small_batches_do_not_wait_for_one_answer_after_the_other(s3_server, monkeypatch, tmp_path):
    s3_server.lead(monkeypatch, XDG_CACHE_HOME=str(tmp_path))
    picture = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    for number in range(20):
        remote.put(f"s3://bucket/many/{number:02}.png", picture)
    data = ImageDataModule("s3://bucket/many/", WholeImage(), INPUT_HW, batch_size=1, num_workers=0)
    data.setup()
    asked, many = [], threading.Event()

    def hold(number: int, method: str, path: str) -> None:
        if path.endswith("png"):
            asked.append(path)
            if len(asked) >= 16:
                many.set()
            many.wait(10)

    s3_server.spoil = hold
    batches = iter(data.predict_dataloader())
    assert len(next(batches).crops) == 1
    assert many.is_set()  # as many were asked for before the first answer
    assert sum(1 for _ in batches) == 19
