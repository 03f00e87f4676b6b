"""Pictures that lie behind URLs one by one: below a folder of a bucket, in a list file of addresses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.left_out import Kind, LeftOut
from sapiens_pl.core.plan import Pictures
from sapiens_pl.core.remote import hidden, reading
from sapiens_pl.core.structures import LoadedImage
from sapiens_pl.pictures import MAX_MEGAPIXELS
from sapiens_pl.pictures.addresses import LISTS, Addresses, list_addresses
from sapiens_pl.pictures.ahead import Ahead, Request
from sapiens_pl.pictures.left_out import is_video, looks_like_picture, not_read_here
from sapiens_pl.pictures.looks import known_size
from sapiens_pl.pictures.reading import check_num_bytes, image_of

_LIKELY_BYTES = 2 << 20
"""Bytes: assumed for a picture of unknown size."""
_VIDEO = Kind("video", "is a video, and videos are not read from URLs; fetch them to a disk, and give their folder")


class UrlPictures:
    """Pictures behind URLs (`conf/sources/urls.yaml`).

    Those of a folder or a glob are called by their path below it, those of a list by server or bucket and path.

    Args:
        images: as for `list_addresses`.
        max_megapixels: larger pictures are refused.

    Raises:
        ConfigError: there are none, or the store refuses access.
    """

    def __init__(self, images: str, max_megapixels: float = MAX_MEGAPIXELS) -> None:
        self._images, self._max_megapixels = images, max_megapixels
        self._left_out: list[str] = []
        self._found = list_addresses(images, self._is_picture, "pictures")
        only = self._found.urls[0]
        if len(self._found.urls) == 1 and is_video(_bare(only)):
            raise ConfigError(f"data.images={hidden(only)} {_VIDEO.why}.")
        if len(self._found.urls) == 1 and _bare(only).lower().endswith(LISTS):
            raise ConfigError(
                f"data.images={hidden(only)} is a list, and lists are not read from URLs; fetch it to a disk, and give "
                "its path."
            )
        self._urls = Names.of(self._found.urls)
        self._ahead = Ahead()
        self._pictures = _pictures(self._found, self._left_out)
        del self._found

    def pictures(self) -> Pictures:
        """The pictures at the time when the source was opened."""
        return self._pictures

    def read(self, index: int) -> LoadedImage:
        """The picture at this position; SapiensError with a sentence if it cannot be read."""
        coming = self._ahead.take(index) or reading(self._urls[index])
        return _image(coming.result, hidden(self._urls[index]), self._max_megapixels)

    def ahead(self, indices: Sequence[int]) -> None:
        """Starts to read pictures that will be asked for; all others are dropped."""
        self._ahead.want({index: self._request(self._urls[index]) for index in indices})

    @staticmethod
    def read_path(path: str, max_megapixels: float) -> LoadedImage:
        """The picture at this path, a URL."""
        return _image(reading(path).result, path, max_megapixels)

    def _request(self, url: str) -> Request:
        return Request(known_size(url) or _LIKELY_BYTES, lambda: reading(url))

    def _is_picture(self, url: str) -> bool:
        name = _bare(url)
        if looks_like_picture(name) and not is_video(name):
            return True
        if not_read_here(name) is not None or is_video(name):
            self._left_out.append(url)
        return False


def _pictures(found: Addresses, left_out_urls: list[str]) -> Pictures:
    left_out = LeftOut()
    left_out.run_folders |= dict.fromkeys(found.run_folders)
    for url in left_out_urls:
        name = url[len(found.root) :]
        left_out.files[name] = _VIDEO if is_video(name) else not_read_here(name) or _VIDEO
    return Pictures(
        found.root.rstrip("/"),
        Names.of(found.names),
        found.complete,
        left_out=left_out,
        paths=Names.of(map(hidden, found.urls)),
    )


def _image(read: Callable[[], bytes], path: str, max_megapixels: float) -> LoadedImage:
    def data() -> bytes:
        found = read()
        check_num_bytes(len(found), max_megapixels)
        return found

    return image_of(data, path, max_megapixels)


def _bare(url: str) -> str:
    return hidden(url).removesuffix("?...")
