"""The pictures of a run and their boxes, as columns that are read one picture at a time.

Legend: P pictures, T tasks.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol, overload

import numpy as np

from sapiens_pl.core.columns import NO_IMAGE_ID, BoxColumns, Names
from sapiens_pl.core.left_out import LeftOut
from sapiens_pl.core.structures import Failure, ImageTask, ShardMember, VideoFrame


class FrameColumns(NamedTuple):
    """Which of a source's pictures are frames of videos.

    `videos` are the videos' names; `video` (P,) int64 says whose frame a picture is, -1 for a photograph; `frame_index`
    and `pts` (P,) int64 and `seconds` (P,) float64 are as in `VideoFrame`. A video's frames stand together, in their
    order. `num_frames` (V,) int64 are the frames that a player can show of each video, of which the pictures may be
    some only (`data.video`), 0 for what is not a video; None: they are all pictures.
    """

    videos: Names
    video: np.ndarray
    frame_index: np.ndarray
    pts: np.ndarray
    seconds: np.ndarray
    num_frames: np.ndarray | None = None

    def frame(self, picture: int) -> VideoFrame | None:
        """None for a photograph."""
        video = int(self.video[picture])
        if video < 0:
            return None
        index, pts, seconds = self.frame_index[picture], self.pts[picture], self.seconds[picture]
        return VideoFrame(self.videos[video], int(index), int(pts), float(seconds))


class ShardColumns(NamedTuple):
    """From which tar or table each of a source's pictures is.

    `names` are the shards' names, which with a slash begin the names of their pictures; `begins` (H + 1,)
    int64 is where each shard's pictures begin, and the end. `has_suffixes`: a picture's name ends with that of a file,
    which is not part of its key.
    """

    names: Names
    begins: np.ndarray
    has_suffixes: bool

    def shard_of(self, picture: int) -> int:
        """The number of a picture's shard."""
        return int(self.begins.searchsorted(picture, side="right")) - 1

    def member(self, picture: int, name: str) -> ShardMember:
        """Which sample the picture of that name is."""
        shard = self.names[self.shard_of(picture)]
        inside = name[len(shard) + 1 :]
        return ShardMember(shard, key_of(inside)[0] if self.has_suffixes else inside)


def key_of(member: str) -> tuple[str, str]:
    """WebDataset's key of a tar's member, its path up to the first dot of the base name; and what follows that dot, in
    small letters.
    """
    folder, slash, base = member.rpartition("/")
    stem, _, suffix = base.partition(".")
    return f"{folder}{slash}{stem}", suffix.lower()


class Samples(Protocol):
    """What stands beside a source's pictures: the `.json` of a tar's sample, the other columns of a table's row.

    Where not all that is there comes without being asked for, a method `columns` may give the names of all.
    """

    def values(self, columns: Collection[str]) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
        """Pictures beside which something stands, ascending, and that; or why it cannot be read, a sentence's end.

        Args:
            columns: those that are looked for; others may be there as well.
        """
        ...


class Pictures(NamedTuple):
    """What a source holds: `names` in a fixed order without repetitions, each a picture's identity in the outputs.

    `root` is the folder (or the file, the address) that the names are relative to; `paths` says where pictures are that
    do not lie at root/name. `complete`: these are all pictures below the root, not a choice from them. `failures` has
    the folders that could not be listed, `left_out` what else lies there and is not a picture of the run. `stretches`,
    where reading in order is cheaper, are (S + 1,) int64: pictures `stretches[i]` to `stretches[i + 1]` belong together
    and are dealt to one process: frames of a video from one keyframe to the next. `frames` is set where any picture is
    the frame of a video; its name is then that of the video, a slash, the video's name without folder and suffix, and
    the frame's index in twelve digits (`a/walk.mp4/walk_000000000012`). `dealt_whole` (D + 1,) int64 are where
    the tars, or the tables' row groups, begin, and the end: dealt whole where there are enough of them. `shards` says
    from which tar or table each picture is. `samples` has what stands beside pictures.
    """

    root: str
    names: Names
    complete: bool = True
    failures: tuple[Failure, ...] = ()
    left_out: LeftOut = LeftOut()  # nothing; a search makes its own
    paths: Names | None = None
    stretches: np.ndarray | None = None
    frames: FrameColumns | None = None
    dealt_whole: np.ndarray | None = None
    shards: ShardColumns | None = None
    samples: Samples | None = None

    def path(self, index: int) -> str:
        """Where a picture is, to be shown and to find it again; "" for pixels from memory."""
        return os.path.join(self.root, self.names[index]) if self.paths is None else self.paths[index]

    def member(self, index: int) -> ShardMember | None:
        """Which sample of which tar or table a picture is."""
        return None if self.shards is None else self.shards.member(index, self.names[index])

    def why_left_out(self, key: str) -> str | None:
        """Why a requested picture, by name or path, is not among these, to complete "KEY ...".

        None if nothing is known about it.
        """
        return self.left_out.why(key, self.root)


class Tasks(Sequence[ImageTask]):
    """Pictures with their boxes; item i is made when it is asked for.

    Args:
        pictures: all of a source's.
        boxes: of all of them.
        indices: (T,) int64, those that these tasks are about; None for all.
    """

    def __init__(self, pictures: Pictures, boxes: BoxColumns, indices: np.ndarray | None = None) -> None:
        assert boxes.num_pictures == len(pictures.names)
        self.pictures, self.boxes = pictures, boxes
        self.indices = np.arange(len(pictures.names)) if indices is None else indices

    @classmethod
    def of(cls, tasks: Iterable[ImageTask]) -> Tasks:
        """From single ones; the pictures are theirs."""
        tasks = list(tasks)
        names, paths = Names.of(task.name for task in tasks), Names.of(task.path for task in tasks)
        return cls(Pictures("", names, paths=paths), box_columns(tasks))

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> ImageTask: ...

    @overload
    def __getitem__(self, index: slice) -> Tasks: ...

    def __getitem__(self, index: int | slice) -> ImageTask | Tasks:
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        picture, boxes = int(self.indices[index]), self.boxes
        rows = slice(int(boxes.offsets[picture]), int(boxes.offsets[picture + 1]))
        bboxes_xyxy: np.ndarray | None = boxes.bboxes_xyxy[rows]
        if bboxes_xyxy is not None and len(bboxes_xyxy) == 1 and np.isnan(bboxes_xyxy).all():
            bboxes_xyxy = None
        image_id = int(boxes.image_ids[picture])
        return ImageTask(
            name=self.pictures.names[picture],
            path=self.pictures.path(picture),
            bboxes_xyxy=bboxes_xyxy,
            bbox_scores=boxes.bbox_scores[rows],
            instance_ids=boxes.instance_ids[rows],
            raw_exif=boxes.raw_exif,
            normalised=boxes.normalised,
            image_id=None if image_id == NO_IMAGE_ID else image_id,
            frame=None if self.pictures.frames is None else self.pictures.frames.frame(picture),
            has_given_id=None if boxes.has_given_id is None else boxes.has_given_id[rows],
            member=self.pictures.member(picture),
        )

    @cached_property
    def num_boxes(self) -> np.ndarray:
        """(T,) int64: how many crops each picture gives."""
        return self.boxes.num_boxes[self.indices]

    @cached_property
    def names(self) -> Names:
        """The pictures' names."""
        whole = len(self.indices) == len(self.pictures.names) and bool((np.diff(self.indices) == 1).all())
        return self.pictures.names if whole else self.pictures.names.select(self.indices)

    def select(self, positions: np.ndarray) -> Tasks:
        """The tasks at the (n,) positions, in their order; nothing is copied but these numbers."""
        return Tasks(self.pictures, self.boxes, self.indices[positions])


def box_columns(tasks: Sequence[ImageTask]) -> BoxColumns:
    """The boxes of single tasks, which are all meant in the same way."""
    offsets = np.zeros(len(tasks) + 1, np.int64)
    np.cumsum([task.num_boxes for task in tasks], out=offsets[1:])
    whole = np.full((1, 4), np.nan)
    boxes = [whole if task.bboxes_xyxy is None else task.bboxes_xyxy for task in tasks]
    ids = [NO_IMAGE_ID if task.image_id is None else task.image_id for task in tasks]
    return BoxColumns(
        offsets,
        np.concatenate([np.zeros((0, 4)), *boxes]),
        np.concatenate([np.zeros(0), *(task.bbox_scores for task in tasks)]),
        np.concatenate([np.zeros(0, np.int64), *(task.instance_ids for task in tasks)]),
        np.array(ids, np.int64),
        any(task.raw_exif for task in tasks),
        any(task.normalised for task in tasks),
    )
