"""The video with its poses drawn on it: H.264 that browsers play, at the source's own times, with its sound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import Film, MakingStopped, VideoProduct
from sapiens_pl.core.settings import check, either, number, whole_number
from sapiens_pl.core.structures import NO_TRACK_ID, PoseResult, SmoothedPoses
from sapiens_pl.pictures.left_out import why_no_videos
from sapiens_pl.products.drawing import Pen, draw_box, draw_skeleton, line_width, track_colour
from sapiens_pl.products.film_source import FilmSource
from sapiens_pl.products.h264 import H264Stream
from sapiens_pl.products.labels import Labels

_SETTINGS = {
    "overlay_score_threshold": number(),
    "video_crf": number(least=0, below=52),
    "video_max_side": either(whole_number(16), None),
}
_GAP_SECONDS = 0.1
"""Before the first frame that was posed the film is black, as players would otherwise end it early."""


class AnnotatedVideo(VideoProduct):
    """`videos/a/walk.mp4.mp4`: each frame that was posed, from its time until that of the next one.

    Args:
        score_threshold: keypoints with a lower score are not drawn.
        crf: of the encoder, from 0 (large) to 51 (coarse).
        max_side: px; larger videos become smaller. None: they stay as they are.

    Raises:
        ConfigError: a setting that cannot be used.
    """

    folder, suffix = "videos", ".mp4"

    def __init__(self, score_threshold: float, crf: float, max_side: int | None) -> None:
        given = {"overlay_score_threshold": score_threshold, "video_crf": crf, "video_max_side": max_side}
        check(_SETTINGS, given, "output")
        self._score_threshold, self._crf, self._max_side = score_threshold, crf, max_side

    def write(self, film: Film, target: Path) -> None:
        if why := why_no_videos():
            raise ConfigError(f"{why}.")
        import av

        first = next(film.results())
        assert first.image_wh is not None, "a frame that could not be read has no poses"
        wh = self._size(first.image_wh)
        with (
            FilmSource(film.path, film.name) as source,
            av.open(str(target), "w", options=source.mp4_options) as output,
        ):
            stream = H264Stream(output, wh, source.unit, source.rate, self._crf)
            source.copy_sound_to(output)
            begin = source.time_of(first)
            if not source.pass_on_sound(0) and begin > _GAP_SECONDS / source.unit:
                stream.add(np.zeros((wh[1], wh[0], 3), np.uint8), 0, begin)
            for result, begin, end in _shown(film, source):
                if film.stopped():
                    raise MakingStopped
                canvas = _copied(film.photograph(result), wh)
                draw_people(canvas, result, film.keypoint_set, self._score_threshold)
                stream.add(canvas, begin, end)
            stream.close()

    def _size(self, image_wh: tuple[int, int]) -> tuple[int, int]:
        scale = min(1.0, (self._max_side or np.inf) / max(image_wh))
        return max(1, round(image_wh[0] * scale)), max(1, round(image_wh[1] * scale))


def _copied(pixels: np.ndarray, wh: tuple[int, int]) -> np.ndarray:
    if pixels.shape[1::-1] == wh:
        return pixels.copy()
    return cv2.resize(pixels, wh, interpolation=cv2.INTER_AREA)  # a video's size may change; players stretch it


def _shown(film: Film, source: FilmSource) -> Iterator[tuple[PoseResult, int, int]]:
    """Each result with the times from which and until which its frame is shown; the sound keeps pace."""
    results = film.results()
    result = next(results)
    begin = source.time_of(result)
    for later in results:
        end = max(source.time_of(later), begin + 1)  # a clock that was set back within the recording
        source.pass_on_sound(begin)
        yield result, begin, end
        result, begin = later, end
    source.pass_on_sound(None)
    yield result, begin, max(source.end(), begin + 1)


def draw_people(canvas: np.ndarray, result: PoseResult, keypoint_set: KeypointSet, score_threshold: float) -> None:
    """Boxes, skeletons and ids; smoothed poses where there are any, with the ids of people who are bridged there in
    brackets. Each person has the colour of the id.

    Args:
        canvas: (H, W, 3) uint8 BGR, of any size.
        result: of a frame that was read.
    """
    poses, num_found = _poses(result), len(result.instance_ids)
    assert result.image_wh is not None
    wh = canvas.shape[1], canvas.shape[0]
    scale = np.array(wh) / result.image_wh
    labels = []
    for row, track_id in enumerate(poses.track_ids.tolist()):
        bbox, keypoints = poses.bboxes[row] * np.tile(scale, 2), poses.keypoints[row] * scale
        colour = None if track_id == NO_TRACK_ID else track_colour(track_id)
        pen = Pen(line_width(wh, bbox), score_threshold, colour)
        draw_box(canvas, bbox, pen)
        draw_skeleton(canvas, keypoints, poses.keypoint_scores[row], keypoint_set, pen)
        if colour is not None:
            labels.append((str(track_id) if row < num_found else f"({track_id})", bbox, colour))
    texts = Labels(canvas)
    for text, bbox, colour in labels:
        texts.draw([text], bbox, colour)


def _poses(result: PoseResult) -> SmoothedPoses:
    if result.smoothed is not None:
        return result.smoothed
    ids = result.track_ids
    ids = np.full(len(result.instance_ids), NO_TRACK_ID) if ids is None else ids
    return SmoothedPoses(result.keypoints, result.keypoint_scores, result.bboxes, ids)
