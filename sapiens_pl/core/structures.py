"""The named tuples that pass between the rooms.

They are NamedTuples because Lightning moves batches by rebuilding their containers, which frozen
dataclasses refuse. Geometry stays in numpy: half precision would round a tensor's 1921.3 to 1920.

Legend: B crops, K keypoints, N instances of one image, H W crop px.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sapiens_pl.core import showing
from sapiens_pl.core.keypoints import KeypointSet

if TYPE_CHECKING:  # commands that load no network start without torch
    from torch import Tensor


NO_TRACK_ID = -(2**63)
"""The track id of a person who is in no track."""


class Failure(NamedTuple):
    """One image or one box that gives no result, or one product of an image that could not be made, and why.

    `instance_id` is None where the whole image failed; `error` is the error's class name and
    `message` a sentence. With `product`, the name of an output format, the image itself is done.
    """

    image: str
    instance_id: int | None
    error: str
    message: str
    product: str | None = None

    def row(self) -> dict[str, Any]:
        """As it stands in `failures.jsonl`; only lines of products have a key `product`."""
        return {key: value for key, value in self._asdict().items() if key != "product" or value is not None}


class VideoFrame(NamedTuple):
    """Which frame of which video a picture is.

    Attributes:
        video: the video's name in the outputs.
        frame_index: counts the frames that a player can show, from 0, whichever of them are posed.
        pts: its time as the file says it, in units of the stream's time base.
        seconds: the same in seconds from the beginning of the video, as a player counts.
    """

    video: str
    frame_index: int
    pts: int
    seconds: float


_FRAME_NAME = re.compile(r"(.+)/[^/]*_\d{12}", re.DOTALL)


def video_of(name: str) -> str | None:
    """The video of which a picture is a frame, by the picture's name alone; None for a photograph's name."""
    match = _FRAME_NAME.fullmatch(name)
    return match and match[1]


class ShardMember(NamedTuple):
    """Which sample of which tar or table a picture is.

    Attributes:
        shard: the tar's or table's name in the outputs: `00000.tar`.
        key: what the sample is called inside: WebDataset's `__key__`, the path up to the first dot of the base name
            (`a/0` of `a/0.jpg`); of a table the row's key, or its number in nine digits.
    """

    shard: str
    key: str


class LoadedImage(NamedTuple):
    """`pixels` (H, W, 3) uint8 BGR, upright; `orientation` is the EXIF value (1 to 8) that was undone.

    `carried` are the values that stand beside the picture, one for each column of `data.carry`; None where there is no
    such value. `pts` is set for frames of videos, as in `VideoFrame`.
    """

    pixels: np.ndarray
    orientation: int
    carried: tuple[str | None, ...] = ()
    pts: int | None = None


class ImageTask(NamedTuple):
    """One image and its usable boxes.

    `path` says where it is, for people; "" for pixels from memory. `bboxes_xyxy` is (N, 4) float64, image
    px, or None for the whole image; `bbox_scores` (N,) float64; `instance_ids` (N,) int64.
    `raw_exif` says that the boxes live in the file's pixels before its EXIF orientation, `normalised` that they
    are parts of the image's width and height. `image_id` is the number by which a box file names the image. `frame` is
    set for frames of videos; `has_given_id` (N,) bool says which of the instance ids a box file has given; None: none.
    `member` is set for pictures from tars and tables.
    """

    name: str
    path: str
    bboxes_xyxy: np.ndarray | None
    bbox_scores: np.ndarray
    instance_ids: np.ndarray
    raw_exif: bool = False
    normalised: bool = False
    image_id: int | None = None
    frame: VideoFrame | None = None
    has_given_id: np.ndarray | None = None
    member: ShardMember | None = None

    @property
    def num_boxes(self) -> int:
        """N; 1 for the whole image."""
        return 1 if self.bboxes_xyxy is None else len(self.bboxes_xyxy)


class CropSpan(NamedTuple):
    """Boxes `start` to `stop` (exclusive) of one image, as planned into one batch."""

    image_index: int
    start: int
    stop: int


class ImageCrops(NamedTuple):
    """What a loader worker makes of one `CropSpan`.

    `crops` holds one (H, W, 3) uint8 BGR array for each box that could be cropped, `box_indices`
    their positions in the image's boxes; `image_wh` is None where the image could not be read. `carried` as in
    `LoadedImage`.
    """

    span: CropSpan
    image_wh: tuple[int, int] | None
    crops: list[np.ndarray]
    box_indices: list[int]
    bboxes_xyxy: np.ndarray
    centers: np.ndarray
    scales: np.ndarray
    failures: list[Failure]
    carried: tuple[str | None, ...] = ()


class ImagePart(NamedTuple):
    """What a batch knows of one of its images, besides the crops; `carried` as in `LoadedImage`."""

    span: CropSpan
    image_wh: tuple[int, int] | None
    failures: list[Failure]
    carried: tuple[str | None, ...] = ()


class CropBatch(NamedTuple):
    """One batch: `crops` (B, 3, H, W) uint8 BGR and whose they are.

    `image_indices`, `box_indices` (B,) int64; `bboxes_xyxy` (B, 4), `centers` and `scales` (B, 2)
    float64, image px. `parts` names every image of the batch, those without a crop too.
    """

    crops: Tensor
    image_indices: np.ndarray
    box_indices: np.ndarray
    bboxes_xyxy: np.ndarray
    centers: np.ndarray
    scales: np.ndarray
    parts: list[ImagePart]


class PosePrediction(NamedTuple):
    """`keypoints` (B, K, 2) float32, image px, xy, always finite; `keypoint_scores` (B, K) float32."""

    keypoints: np.ndarray
    keypoint_scores: np.ndarray

    @property
    def is_ready(self) -> bool:
        """True: there is nothing to wait for, other than with a `transfer.PendingPrediction`."""
        return True

    def result(self) -> PosePrediction:
        """Itself."""
        return self


class ListedImage(NamedTuple):
    """An image as the files that hold a whole run list it."""

    name: str
    width: int | None
    height: int | None
    image_id: int | None


class SmoothedPoses(NamedTuple):
    """The smoothed poses of one frame: those of its N people, then M who stand in frames before and after it only.

    `keypoints` (N + M, K, 2) float32, image px, xy; `keypoint_scores` (N + M, K) float32, of bridged people those
    between which they were found; `bboxes` (N + M, 4) float64 xyxy; `track_ids` (N + M,) int64.
    """

    keypoints: np.ndarray
    keypoint_scores: np.ndarray
    bboxes: np.ndarray
    track_ids: np.ndarray


class PoseResult(NamedTuple):
    """The poses of one image, or of one frame of a video.

    Attributes:
        path: the image's file, or "" for pixels that came from memory.
        keypoints: (N, K, 2) float32, image px, xy.
        keypoint_scores: (N, K) float32, the heatmaps' maxima (no probabilities).
        bboxes: (N, 4) float64 xyxy, image px.
        bbox_scores: (N,) float64.
        instance_ids: (N,) int64: which of the boxes given each row is (boxes that failed are absent).
        image_wh: width and height, or None if the image could not be read.
        name: the image's name in the outputs.
        failures: why the image, or some of its boxes, gave nothing.
        image_id: the number by which the box file names the image, if it does.
        keypoint_set: what the K keypoints are; None if that is unknown.
        frame: for frames of videos, which.
        track_ids: for frames of videos (N,) int64: who each person is over all frames, or `NO_TRACK_ID`. As recorded,
            these are the ids that a box file has given.
        smoothed: for frames of videos, where it was asked for.
        member: for pictures from tars and tables, which sample.
        carried: of such pictures, the values that `data.carry` asks for, by its columns.
    """

    path: str
    keypoints: np.ndarray
    keypoint_scores: np.ndarray
    bboxes: np.ndarray
    bbox_scores: np.ndarray
    instance_ids: np.ndarray
    image_wh: tuple[int, int] | None
    name: str
    failures: tuple[Failure, ...]
    image_id: int | None = None
    keypoint_set: KeypointSet | None = None
    frame: VideoFrame | None = None
    track_ids: np.ndarray | None = None
    smoothed: SmoothedPoses | None = None
    member: ShardMember | None = None
    carried: Mapping[str, str | None] = {}  # not a proxy: results are pickled

    def __repr__(self) -> str:
        return showing.in_words(self)

    def _repr_jpeg_(self) -> bytes | None:
        return showing.jpeg(self)

    def draw(self, image: Any = None, **options: Any) -> np.ndarray:
        """The image with boxes and skeletons on it, as overlays have them: (H, W, 3) uint8 BGR.

        Args:
            image: of any kind that `PoseEstimator.predict` takes; None: it is read from `path` again.
            **options: `score_threshold` (0.3); `labels` (True), id and score at each box; `parts`, of the body, that
                are drawn (`KeypointSet.parts`; None: all); `max_side`, px, to which a larger picture is reduced.

        Raises:
            ValueError: the image is of another size, or is needed: frames, members of tars, pixels from memory.
            SapiensError: the file cannot be read.
        """
        return showing.drawing()(self, image, **options)

    def dataframe(self) -> Any:
        """A pandas data frame with a row a person (`sapiens_pl.results_table` makes one of many results).

        Columns: `instance_id`, `x1`, `y1`, `x2`, `y2`, `bbox_score`, then `NAME_x`, `NAME_y` (image px) and
        `NAME_score` for each keypoint by its name in the keypoint set. Raises ConfigError without pandas.
        """
        return showing.data_frame(self)

    @property
    def listing(self) -> ListedImage:
        """The image without its poses."""
        width, height = self.image_wh or (None, None)
        return ListedImage(self.name, width, height, self.image_id)

    @property
    def error(self) -> str | None:
        """None, or what went wrong, in a sentence or two."""
        return " ".join(failure.message for failure in self.failures) or None

    @property
    def image_failed(self) -> bool:
        """True if nothing of the image could be used, not just some of its boxes."""
        return any(failure.instance_id is None for failure in self.failures)
