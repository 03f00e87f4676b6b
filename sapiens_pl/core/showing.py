"""How a result is shown: in words, as a picture, as a table.

Drawing belongs to a room above: the package sets the function when it is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.keypoints import numbered_set
from sapiens_pl.core.wording import counted, one_line

if TYPE_CHECKING:
    from sapiens_pl.core.structures import PoseResult

_SHOWN_PX = 900
"""Longer side of the picture that a notebook shows."""
Draw = Callable[..., Any]
_load: Callable[[], Draw] | None = None


def drawn_by(load: Callable[[], Draw]) -> None:
    """Sets what returns the drawing function; it is called when the first result is drawn."""
    global _load
    _load = load


def drawing() -> Draw:
    """The function that draws a result (`products.shown.draw_result`)."""
    assert _load is not None, "sapiens_pl says it when it is imported"
    return _load()


def in_words(result: PoseResult) -> str:
    """The few of a result's hundreds of numbers that a person wants to see first."""
    if result.image_failed:
        return f"PoseResult({result.name}: {one_line(result.error)})"
    people = counted(len(result.instance_ids), "person", "people") if len(result.instance_ids) else "nobody"
    size = "" if result.image_wh is None else f", {result.image_wh[0]}x{result.image_wh[1]} px"
    failed = f", {counted(len(result.failures), 'box', 'boxes')} failed" if result.failures else ""
    return f"PoseResult({result.name}: {people} of {result.keypoints.shape[1]} keypoints{size}{failed})"


def jpeg(result: PoseResult) -> bytes | None:
    """The picture with its poses, for notebooks, if it is a file of its own that can be read."""
    if result.path and result.frame is None and result.member is None and not result.image_failed:
        with suppress(Exception):  # then there are the words
            import cv2

            return cv2.imencode(".jpg", drawing()(result, max_side=_SHOWN_PX))[1].tobytes()
    return None


def data_frame(result: PoseResult) -> Any:
    """As `PoseResult.dataframe` tells."""
    try:
        import pandas
    except ImportError:
        raise ConfigError("A data frame needs pandas: pip install 'sapiens_pl[pandas]'.") from None
    columns: dict[str, Any] = {"instance_id": result.instance_ids}
    columns |= dict(zip(("x1", "y1", "x2", "y2"), result.bboxes.T)) | {"bbox_score": result.bbox_scores}
    keypoint_set = result.keypoint_set or numbered_set(result.keypoints.shape[1])
    for index, name in enumerate(keypoint_set.names):
        columns[f"{name}_x"], columns[f"{name}_y"] = result.keypoints[:, index].T
        columns[f"{name}_score"] = result.keypoint_scores[:, index]
    return pandas.DataFrame(columns)
