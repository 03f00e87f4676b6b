"""The poses of a frame are those of the same pixels as a picture file."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from sapiens_pl import demo
from sapiens_pl.pictures.sources import open_source
from sapiens_pl.records.reading import Records

pytest.importorskip("av")

NUM_FRAMES = 12


def test_poses_of_a_frame_are_those_of_its_pixels_as_a_png(predict, tmp_path):
    film, people = open_source(str(demo.FILM)), json.loads(demo.FILM_PEOPLE.read_text())
    names = list(film.pictures().names)[:NUM_FRAMES]
    (tmp_path / "pngs").mkdir()
    for index in range(NUM_FRAMES):
        cv2.imwrite(str(tmp_path / "pngs" / f"{index:03}.png"), film.read(index).pixels)
    boxes = {name: row["bboxes"] for name, row in zip(names, people)}
    boxes |= {f"{index:03}.png": row["bboxes"] for index, row in enumerate(people[:NUM_FRAMES])}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    settings = ["model=demo", "boxes=json", f"boxes.file={tmp_path / 'boxes.json'}", "data.batch_size=4"]
    settings += ["trainer.accelerator=cpu", "trainer.precision=32-true"]
    of_film = predict(*settings, f"data.images={demo.FILM}", "data.video.end=0.7", folder="film")
    of_pngs = predict(*settings, f"data.images={tmp_path / 'pngs'}", folder="pngs")
    assert of_film.code == of_pngs.code == 0, of_film.err + of_pngs.err
    frames = list(Records.read(of_film.folder).frames_of(demo.FILM.name))
    pictures = list(Records.read(of_pngs.folder).results())
    assert len(pictures) == NUM_FRAMES and len(frames) >= NUM_FRAMES
    assert sum(map(len, (picture.keypoints for picture in pictures))) >= NUM_FRAMES
    for frame, picture in zip(frames, pictures):
        np.testing.assert_allclose(frame.keypoints, picture.keypoints, rtol=0, atol=0.01)
        np.testing.assert_allclose(frame.keypoint_scores, picture.keypoint_scores, rtol=0, atol=1e-4)
