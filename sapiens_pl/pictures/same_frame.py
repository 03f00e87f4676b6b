"""Whether a frame that is read again is the one in which poses were found, or the video has been replaced."""

from __future__ import annotations

from sapiens_pl.core.errors import UnreadableImageError
from sapiens_pl.core.structures import LoadedImage


def check_same_time(image: LoadedImage, path: str, name: str, pts: int | None) -> None:
    """Only the time of a frame is recorded: another video of the same rate and size is not noticed.

    Args:
        image: as it was read now.
        path: the video's.
        name: the frame's.
        pts: the frame's time when its poses were found; None where it is not a frame.

    Raises:
        UnreadableImageError: it has another time now.
    """
    if None not in (image.pts, pts) and image.pts != pts:
        raise UnreadableImageError(
            f"{path} is another video now: {name} has another time than the frame in which its poses were found; put "
            "the video back as it was."
        )
