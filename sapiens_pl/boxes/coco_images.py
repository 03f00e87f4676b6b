"""The images that a COCO file lists, also where they are frames of videos."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from sapiens_pl.boxes.classes import ClassId
from sapiens_pl.boxes.image_finder import NoImage, one_spelling, plain_id
from sapiens_pl.boxes.moments import BY_NAME, Moments, place
from sapiens_pl.boxes.table import LARGEST_ID, number
from sapiens_pl.boxes.video_frames import VideoFrames
from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.plan import Pictures

_COUNTS_FROM = 0
_FRAME_KEYS = ("frame_id", "frame_index", "frame")
_NUMBER_AT_END = re.compile(r"(?:.*?[^0-9])??(\d{1,12})\.[A-Za-z]\w{1,4}")
_OWN_NAME = re.compile(r".+_\d{12}\.\w+")


class ListedImages(NamedTuple):
    """A COCO file's images: the name by id, and each name's id if a table's column can hold it.

    A name of None is that of a frame that the run does not pose. `frames` are the names that are frames of videos;
    `lost` are frames and videos that are not there, and `spoken_of` is as in `BoxListing`.
    """

    names: dict[ClassId, str | None]
    ids: dict[str, int | None]
    frames: frozenset[str] = frozenset()
    lost: dict[str, NoImage] = {}
    spoken_of: np.ndarray | None = None

    def sizes(self, listing: dict[str, Any]) -> dict[str, tuple[float, float]]:
        """Width and height by name of the listed images that have them."""
        sizes = {}
        for image in listing.get("images") or []:
            width, height, name = image.get("width"), image.get("height"), self.names[plain_id(image["id"])]
            known = type(width) in (int, float) and type(height) in (int, float) and width > 0 and height > 0
            if known and name is not None:
                sizes[name] = (width, height)
        return sizes


def listed_images(listing: dict[str, Any], path: str) -> ListedImages:
    """The images that a COCO file lists.

    Raises:
        ConfigError: an entry is unusable, or one id means two images.
    """
    names: dict[ClassId, str | None] = {}
    ids: dict[str, int | None] = {}
    try:
        listed = [(_name(image), plain_id(image["id"])) for image in listing.get("images") or []]
    except (TypeError, KeyError):
        raise ConfigError(f"{path} has an entry under 'images' without id and file_name; correct it.") from None
    for name, image_id in listed:
        if names.setdefault(image_id, name) != name:
            raise ConfigError(
                f"{path} gives two images, {names[image_id]} and {name}, the same id {image_id}, so it is not clear "
                "which image the boxes belong to; give each image its own id."
            )
        fits = isinstance(image_id, int) and abs(image_id) <= LARGEST_ID
        ids.setdefault(name, image_id if fits and isinstance(image_id, int) else None)
    return ListedImages(names, ids)


def _name(image: dict[str, Any]) -> str:
    """What an image is called; a frame may have no file."""
    if "file_name" not in image and "video_id" in image:
        return f"frame {_number(image)} of the video {image['video_id']}"
    return str(image["file_name"])


def _number(image: dict[str, Any]) -> Any:
    return next((image[key] for key in _FRAME_KEYS if image.get(key) is not None), None)


def with_frames(
    source: Pictures, listed: ListedImages, listing: dict[str, Any], path: str, first_frame: int | None
) -> ListedImages:
    """The same, where images that are frames of videos have their pictures' names.

    An image is a frame by `video_id`, which the file's `videos` name, and `frame_id` (or `frame_index`); by a frame's
    name as this package writes it; or by a name such as `walk/000012.jpg`, whose folder is called as a video.

    Raises:
        ConfigError: it is not clear from which number the file counts.
    """
    frames = VideoFrames(source)
    images = {plain_id(image["id"]): image for image in listing.get("images") or []}
    videos = {plain_id(video.get("id")): _video_name(video) for video in listing.get("videos") or []}
    keys = [_video_and_number(image, videos, frames) for image in images.values()]
    places: dict[str, int] = {}
    whose = np.array([places.setdefault(name, len(places)) for name, _ in keys], np.int64)
    numbers = np.array([value for _, value in keys], np.float64)
    moments = Moments(Names.of(places), whose, numbers, np.zeros(len(keys), bool))
    placed = place(frames, path, moments, first_frame, _COUNTS_FROM, lists_all=True)
    by_name = [key for key, picture in zip(images, placed.pictures.tolist()) if picture == BY_NAME]
    named = dict(zip(by_name, frames.of_names([_name(images[key]) for key in by_name])))
    names: dict[ClassId, str | None] = {}
    of_frames = set()
    for key, image, picture in zip(images, images.values(), placed.pictures.tolist()):
        found = named[key] if picture == BY_NAME else picture
        names[key] = None if isinstance(found, int) else _name(image)
        if isinstance(found, int) and found >= 0:
            names[key] = source.names[found]
            of_frames.add(source.names[found])
    ids = {name: listed.ids.get(_name(images[key])) for key, name in names.items() if name is not None}
    return ListedImages(names, ids, frozenset(of_frames), placed.lost, placed.spoken_of)


def _video_name(video: dict[str, Any]) -> str:
    return str(video.get("file_name") or video.get("name") or video.get("id"))


def _video_and_number(image: dict[str, Any], videos: dict[ClassId, str], frames: VideoFrames) -> tuple[str, float]:
    """A listed image's video and frame number; its name and NaN if it does not say them."""
    value = number(_number(image))
    if "video_id" in image and value is not None and value.is_integer():
        video = videos.get(plain_id(image["video_id"]), str(image["video_id"]))
        if isinstance(frames.find(video), int):
            return video, value
    name = _name(image)
    folder, _, base = one_spelling(name).rpartition("/")
    match = _NUMBER_AT_END.fullmatch(base)
    if match and folder and isinstance(frames.find(folder), int) and not _OWN_NAME.fullmatch(base):
        return folder, float(match[1])
    return name, np.nan
