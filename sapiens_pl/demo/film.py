"""Draws the demo's film with its boxes and keypoints: `python -m sapiens_pl.demo.film FOLDER` (needs PyAV).

Calibration figures walk: two cross each other, a third comes later and crosses one of them. Frames have the uneven
times of a telephone's camera: 25 a second with some jitter, fewer in poor light, and one gap.

Legend: T frames, K keypoints; coordinates in image px.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from sapiens_pl.demo.figures import Posture, Scene, draw_figures, pose_of

NAME = "crossing.mp4"
WIDTH, HEIGHT = 640, 360
TIME_BASE = Fraction(1, 90000)
SHOWN_PART = 0.4
"""Figures with less than this fraction of their keypoints visible have no box, as if they were not found."""
_SEED = 18
_CRF, _FRAMES_BETWEEN_KEYFRAMES = 23, 50


class Walker(NamedTuple):
    """A figure that walks on a straight line and then stands and waves.

    Attributes:
        torso: px.
        start_x, foot_y: where the hips are at the beginning, and the ground.
        speed: px a second; below 0 to the left.
        begin: seconds, before which it stands outside of the picture.
        halt: seconds, after which it stands and waves.
        facing: as in `Posture`.
    """

    torso: float
    start_x: float
    foot_y: float
    speed: float
    begin: float
    halt: float
    facing: float

    def pose(self, seconds: float) -> np.ndarray:
        """(K, 2) keypoints, image px."""
        walked = np.clip(seconds, self.begin, self.halt) - self.begin
        phase = 2 * np.pi * walked * abs(self.speed) / (2.2 * self.torso)
        stride, bend = np.sin(phase), np.cos(phase)
        raised = np.clip((seconds - self.halt) / 0.6, 0, 1)
        wave = raised * (2.1 + 0.35 * np.sin(5 * (seconds - self.halt)))
        posture = Posture(
            turn=0.06 * np.sign(self.speed) * (1 - raised) + 0.03 * np.sin(phase),
            facing=self.facing,
            arms=(0.3 + 0.3 * stride * (1 - raised) + wave, 0.5, 0.3 - 0.3 * stride * (1 - raised), 0.4),
            legs=(0.18 + 0.4 * stride, 0.25 + 0.25 * bend, 0.18 + 0.4 * stride, 0.25 - 0.25 * bend),
            tilt=0.08 * np.sin(0.7 * seconds),
            look=0.05 * np.sign(self.speed),
            stretch=1.0,
        )
        pose = pose_of(posture) * self.torso
        return pose + (self.start_x + self.speed * walked, self.foot_y - pose[15:17, 1].max())


# The farthest first.
WALKERS = (
    Walker(torso=58, start_x=75, foot_y=312, speed=105, begin=0.0, halt=4.6, facing=0.75),
    Walker(torso=64, start_x=570, foot_y=330, speed=-95, begin=0.0, halt=9.0, facing=0.65),
    Walker(torso=70, start_x=-70, foot_y=346, speed=115, begin=2.4, halt=5.4, facing=0.8),
)


class FilmFrame(NamedTuple):
    """A drawn frame: `figures` (N,) says who of `WALKERS` each of the scene's figures is."""

    pts: int
    scene: Scene
    figures: np.ndarray

    @property
    def seconds(self) -> float:
        return float(self.pts * TIME_BASE)


def frame_times() -> list[int]:
    """pts of each frame, in `TIME_BASE`."""
    rng = np.random.default_rng(_SEED)
    pts, seconds = [0], 0.0
    while True:
        seconds += 1 / 15 if 2.0 <= seconds < 3.2 else 1 / 25
        if 5.0 <= seconds < 5.0 + 1 / 25:
            seconds += 0.2  # the camera missed some
        if seconds >= 6.8:
            return pts
        pts.append(round((seconds + rng.uniform(-0.003, 0.003)) / TIME_BASE))


def frames() -> Iterator[FilmFrame]:
    """The film, drawn."""
    backdrop = _hall()
    for pts in frame_times():
        poses = np.array([walker.pose(float(pts * TIME_BASE)) for walker in WALKERS])
        inside = ((poses >= 0) & (poses <= (WIDTH - 1, HEIGHT - 1))).all(axis=2)
        present = np.flatnonzero(inside.sum(axis=1))
        yield FilmFrame(pts, draw_figures(backdrop.copy(), list(poses[present])), present)


def _hall() -> np.ndarray:
    """(H, W, 3) uint8 BGR: a wall with a window, and the floor."""
    corners = np.array([[(196, 188, 172), (170, 176, 186)], [(150, 150, 150), (128, 138, 152)]], np.uint8)
    image: np.ndarray = cv2.resize(corners, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    cv2.rectangle(image, (380, 40), (540, 150), (226, 206, 168), -1)
    cv2.rectangle(image, (380, 40), (540, 150), (96, 110, 124), 4)
    cv2.rectangle(image, (0, 288), (WIDTH, HEIGHT), (104, 118, 132), -1)
    return image


def people() -> list[dict]:
    """An entry a frame: boxes in the form of `boxes=json`, and beside them the drawn keypoints as [x, y, visible], and
    who each is. Neighbouring frames list them in other orders, since detectors do not know who is who.
    """
    rng, stem, entries = np.random.default_rng(_SEED), Path(NAME).stem, []
    for index, (_, scene, figures) in enumerate(frames()):
        rows = rng.permutation(np.flatnonzero(scene.visible.mean(axis=1) >= SHOWN_PART))
        triples = np.concatenate([scene.keypoints, scene.visible[..., None]], axis=2)[rows]
        entries.append(
            {
                "image": f"{NAME}/{stem}_{index:012d}",
                "bboxes": np.round(scene.bboxes_xyxy[rows], 2).tolist(),
                "keypoints": [[[round(x, 1), round(y, 1), int(v)] for x, y, v in pose] for pose in triples.tolist()],
                "figures": figures[rows].tolist(),
            }
        )
    return entries


def write_film(target: Path) -> None:
    """H.264, with B-frames, keyframes two seconds apart, and its index in front."""
    import av

    options = {"crf": str(_CRF), "preset": "slow", "threads": "1", "g": str(_FRAMES_BETWEEN_KEYFRAMES)}
    times = frame_times()
    with av.open(str(target), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = stream.codec_context.time_base = TIME_BASE
        for pts, scene, _ in frames():
            frame = av.VideoFrame.from_ndarray(scene.image, format="bgr24")
            frame.pts, frame.time_base = pts, TIME_BASE
            frame.duration = next((later - pts for later in times if later > pts), round(1 / 25 / TIME_BASE))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    write_film(folder / NAME)
    rows = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in people())
    (folder / "people.json").write_text(f"[\n{rows}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
