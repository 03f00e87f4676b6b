"""The parts that can be exchanged, and what each of them must provide. Newcomers read this file first.

A new part is one file with a class that does what is said here, one YAML in `conf/` that names the class with
`_target_`, and one test file. There is no registry, and nothing else is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from sapiens_pl.core.geometry import CropSettings
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.not_counted import RowsNotCounted
from sapiens_pl.core.plan import Pictures, Tasks
from sapiens_pl.core.structures import Failure, LoadedImage, PoseResult

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class PictureSource(Protocol):
    """Where pictures are: files of a disk, members of an archive, frames of a video (`conf/sources`).

    Its class is called with `images`, what `data.images` says, and `max_megapixels`, above which a picture is refused;
    it goes to the loader's processes, which only read.

    Overlays are drawn on pictures that are read again, in a process of its own, during the run and on other days. It
    makes the source once more, looks for the picture's name in `pictures()`, and takes it if its path is as it was; a
    root that is a file is therefore absolute. All of that is a part of the first read (`data.read_timeout`). A class
    whose pictures take long to list may have a static method `read_path(path, max_megapixels) -> LoadedImage`; then
    that is called, and no source is made. Where a path alone does not say which picture is meant, or something is to be
    kept open, it may have `open_again(max_megapixels)` instead, which gives what reads by name and path. A class that
    takes `video` is told which frames of videos are wanted (`data.video`).
    """

    def pictures(self) -> Pictures:
        """All of them; each call gives the same.

        Raises:
            ConfigError: there are none.
        """
        ...

    def read(self, index: int) -> LoadedImage:
        """The pixels of one; called in a loader process, and tried again in another if that one dies.

        Raises:
            SapiensError: with a sentence that names the picture; it costs only this one.
        """
        ...


@runtime_checkable
class ShardedSource(PictureSource, Protocol):
    """A source of many tars or tables that can be opened some at a time, so that the others take no memory."""

    def shard_names(self) -> Sequence[str]:
        """What the shards are called in the outputs, in a fixed order; none of them is opened."""
        ...

    def shard_stamp(self, number: int) -> str | None:
        """A string that changes when the shard changes, found without opening it; None: unknown."""
        ...

    def some_shards(self, numbers: Sequence[int]) -> PictureSource:
        """A source of these alone, which are looked at only when it is asked for pictures; there may be none."""
        ...


class BoxedImages(NamedTuple):
    """The pictures with their usable boxes, and the boxes and pictures that cannot be used, and why.

    `not_counted` says what became of a box file's rows; None where there is nothing of the kind.
    """

    tasks: Tasks
    failures: list[Failure]
    not_counted: RowsNotCounted | None = None


@runtime_checkable
class BoxSource(Protocol):
    """Says who is in the pictures: a box file of some format, or the whole picture (`conf/boxes`).

    A class may have an attribute `of_each_picture`; True says that the boxes of a picture depend on nothing but that
    picture and what stands beside it, so that pictures may be asked for some at a time. Such a class may have an
    attribute `is_tried`, which is set to True where an earlier run has found its boxes in the same way. One that looks
    at the pictures themselves has `of_shards` besides (`data.handed_in.LooksAtShards`).
    """

    def __call__(self, pictures: Pictures) -> BoxedImages:
        """The boxes of all pictures, in their order.

        Raises:
            ConfigError: the boxes are of other pictures, or of another form than the settings say.
        """
        ...


class PoseNetwork(Protocol):
    """A `torch.nn.Module` that makes heatmaps of crops; `model.network._target_` names what builds it.

    Its parameters may be on the meta device or memory-mapped when it is built: the run brings them to the device and
    to the dtype that `trainer.precision` asks for. In eval mode, a crop's heatmaps must not depend on the crops beside
    it. Two more attributes are looked at where they are there: `watch` and `numerics` (`models/pose_network.py`).

    Legend: B crops, K keypoints, H W crop px, h w heatmap px.
    """

    @property
    def input_hw(self) -> tuple[int, int]:
        """H and W of the crops that it takes."""
        ...

    @property
    def crop_settings(self) -> CropSettings:
        """How crops are cut, and how their pixels are normalised."""
        ...

    @property
    def keypoint_set(self) -> KeypointSet:
        """What its K keypoints are, in the order of the heatmaps."""
        ...

    @property
    def identity(self) -> str:
        """Which weights it has: another string means other results, so that a run is not continued with it.

        It may be slow, and is asked for once a run.
        """
        ...

    def __call__(self, crops: Tensor) -> Tensor:
        """(B, 3, H, W) normalised RGB, in the weights' dtype -> (B, K, h, w) float32 heatmaps.

        Heatmap px (0, 0) and (w - 1, h - 1) lie on the crop's first and last px; the highest value is the score.
        """
        ...


class Records(Protocol):
    """What a run has found, read back from its folder."""

    @property
    def keypoint_set(self) -> KeypointSet:
        """What the keypoints of all results are."""
        ...

    def results(self, names: Collection[str] | None = None) -> Iterator[PoseResult]:
        """The poses of each picture that is done, sorted by name, in bounded memory; `names`: only of these."""
        ...

    def videos(self) -> list[str]:
        """The names of the videos of which a frame is done, sorted."""
        ...

    def frames_of(self, video: str) -> Iterator[PoseResult]:
        """The poses of each frame of a video that is done, in their order, in bounded memory."""
        ...


class Tracking(Protocol):
    """Says who is who over the frames of videos, and how they moved: handed to what makes products (`tracking/`).

    Attributes:
        settings: what decides the ids and the smoothed poses; products that were made with others are made again.
    """

    settings: dict[str, Any]

    def __call__(self, records: Records) -> Records:
        """The same records with `track_ids` and, where that was asked for, `smoothed` filled in for frames of videos.

        All videos are worked on when they are first asked for, each on its own and in the order of its frames.
        """
        ...


@runtime_checkable
class PictureProduct(Protocol):
    """One file for each picture that is done: FOLDER/NAME OF THE PICTURE + SUFFIX, in the folder of the run.

    It is made while the run goes on, or later from the records: with the same bytes. Files of frames of videos wait for
    the end of the run, when it is known who is who in the whole video. Which files are missing, were made with other
    settings, or could not be made, does not concern the class (`products/making.py`).

    Attributes:
        folder: for instance `overlays`.
        suffix: follows the picture's whole name: `.jpg` turns `a.png` into `a.png.jpg`.
        ending: the bytes with which a complete file of the kind ends; blanks may follow.
        needs: parts of the body that the keypoint set must know (`KeypointSet.parts`); else the run is refused.
        of_frames: False: only photographs have such a file, frames of videos have none.
    """

    folder: str
    suffix: str
    ending: bytes
    needs: tuple[str, ...] = ()
    of_frames: bool = True

    def content(self, result: PoseResult, keypoint_set: KeypointSet, photograph: Callable[[], np.ndarray]) -> bytes:
        """The bytes of the file; several threads may ask at a time.

        Args:
            result: the poses of one picture.
            keypoint_set: what their keypoints are.
            photograph: reads the picture again: (H, W, 3) uint8 BGR, upright, not to be written to.

        Raises:
            Exception: any costs this one file; its text is noted in `failures.jsonl`.
        """
        ...


class Film(NamedTuple):
    """A video of a run, as its products see it.

    Attributes:
        name: in the outputs.
        path: where its file was read from.
        keypoint_set: what the keypoints of all results are.
        results: gives the poses of each frame that is done, in their order, in bounded memory, with track ids (and
            smoothed, if that was asked for); each call starts from the first frame.
        photograph: reads the pixels of a result's frame again, (H, W, 3) uint8 BGR, upright, not to be written to; fast
            if frames are asked for in their order.
        stopped: True as soon as the run is to stop; what takes long then raises `MakingStopped`.
    """

    name: str
    path: str
    keypoint_set: KeypointSet
    results: Callable[[], Iterator[PoseResult]]
    photograph: Callable[[PoseResult], np.ndarray]
    stopped: Callable[[], bool]


class MakingStopped(Exception):
    """The run is to stop, and the product is not made yet; it stays missing."""


@runtime_checkable
class VideoProduct(Protocol):
    """One file for each video: FOLDER/NAME OF THE VIDEO + SUFFIX, in the folder of the run.

    It is made when the run has ended, and again when the records of that video, its tracks or the product's settings
    have changed since.

    Attributes:
        folder: for instance `videos`.
        suffix: follows the video's whole name: `.json` turns `a/walk.mp4` into `a/walk.mp4.json`.
        needs: as for `PictureProduct`.
    """

    folder: str
    suffix: str
    needs: tuple[str, ...] = ()

    def write(self, film: Film, target: Path) -> None:
        """Writes the file; it is moved to its place when it is whole. The same records give the same bytes.

        Raises:
            Exception: any costs this one file; its text is noted in `failures.jsonl`.
        """
        ...


@runtime_checkable
class RunProduct(Protocol):
    """Files that hold a whole run, made when it has ended, and again when the records have changed since.

    Attributes:
        outputs: files in the folder of the run, and folders, which end with a slash (`parquet/`).
        needs: as for `PictureProduct`.

    A class that shows pictures has a further attribute `photograph`: before `write` is called, it is set to what reads
    the pixels of a result again, as `Film.photograph` does. One that tells of more than the records has `facts`, which
    is set to `core.run_facts.RunFacts`, and may have a method `facts_state`: a text that differs where those facts do
    that it tells, so that it is made anew then too.
    """

    outputs: tuple[str, ...]
    needs: tuple[str, ...] = ()

    def write(self, records: Records, folder: Path) -> None:
        """Writes all `outputs` into an empty folder, from which they are moved when they are whole.

        The same records give the same bytes, whichever process wrote them.
        """
        ...
