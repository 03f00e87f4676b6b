"""Results as one pandas data frame: a row a person, or a row a keypoint.

Legend: N people of all results, K keypoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from sapiens_pl.core.columns import as_unicode
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.instance_scores import instance_scores
from sapiens_pl.core.keypoints import KeypointSet, numbered_set
from sapiens_pl.core.structures import NO_TRACK_ID, PoseResult


def results_table(results: PoseResult | Iterable[PoseResult], long: bool = False) -> Any:
    """All people of some results as a pandas data frame; a result without people has no row.

    Args:
        results: of one network; a list, one result, or a stream, which is read to its end.
        long: a row a keypoint instead of a row a person.

    Returns:
        Columns `image` (the result's name), of videos `video`, `frame`, `seconds` and `track_id`; `instance_id`,
        `bbox_score` and `score` (`core.instance_scores`). Then a row a person has `x1`, `y1`, `x2`, `y2` (the box), and
        `NAME_x`, `NAME_y`, `NAME_score` for each keypoint; a row a keypoint has `keypoint` (its name), `x`, `y` and
        `keypoint_score`. Coordinates are image px.

    Raises:
        ConfigError: pandas is not installed.
        ValueError: the results have different keypoint sets.
    """
    try:
        import pandas
    except ImportError:
        raise ConfigError("A table of results needs pandas: pip install 'sapiens_pl[pandas]'.") from None
    listed = [results] if isinstance(results, PoseResult) else list(results)
    keypoint_set = _set_of(listed)
    count = keypoint_set.num_keypoints
    people = _people(listed, lambda values: pandas.array(values, dtype="Int64"))
    keypoints = _joined([result.keypoints for result in listed], count, 2).astype(np.float32)
    scores = _joined([result.keypoint_scores for result in listed], count).astype(np.float32)
    if long:
        columns = {name: values.repeat(count) for name, values in people.items() if name not in _BOX}
        columns |= {"keypoint": np.tile(np.array(keypoint_set.names, object), len(keypoints))}
        columns |= {"x": keypoints[..., 0].ravel(), "y": keypoints[..., 1].ravel(), "keypoint_score": scores.ravel()}
        return pandas.DataFrame(columns)
    for index, name in enumerate(keypoint_set.names):
        people[f"{name}_x"], people[f"{name}_y"] = keypoints[:, index].T
        people[f"{name}_score"] = scores[:, index]
    return pandas.DataFrame(people)


_BOX = ("x1", "y1", "x2", "y2")


def _people(results: Sequence[PoseResult], whole: Callable[[Any], Any]) -> dict[str, Any]:
    """(N,) columns of what is known of each person besides the keypoints.

    Args:
        whole: makes a column of whole numbers, some of which may be None.
    """
    counts = [len(result.instance_ids) for result in results]
    columns: dict[str, Any] = {"image": _repeated([as_unicode(result.name) for result in results], counts)}
    if any(result.frame is not None for result in results):
        frames = [result.frame for result in results]
        columns["video"] = _repeated([frame and as_unicode(frame.video) for frame in frames], counts)
        columns["frame"] = whole(_repeated([frame and frame.frame_index for frame in frames], counts))
        columns["seconds"] = _repeated([frame and frame.seconds for frame in frames], counts).astype(np.float64)
        tracks = [[None if one == NO_TRACK_ID else one for one in _tracks(result)] for result in results]
        columns["track_id"] = whole([one for of_result in tracks for one in of_result])
    bbox_scores = _joined([result.bbox_scores for result in results])
    columns["instance_id"] = _joined([result.instance_ids for result in results]).astype(np.int64)
    columns["bbox_score"] = bbox_scores
    scores = [instance_scores(result.bbox_scores, result.keypoint_scores) for result in results]
    columns["score"] = _joined(scores)
    return columns | dict(zip(_BOX, _joined([result.bboxes for result in results], 4).T))


def _tracks(result: PoseResult) -> list[int]:
    return [NO_TRACK_ID] * len(result.instance_ids) if result.track_ids is None else result.track_ids.tolist()


def _repeated(values: Sequence[Any], counts: Sequence[int]) -> np.ndarray:
    return np.repeat(np.array(values, object), counts)


def _joined(arrays: Sequence[np.ndarray], *shape: int) -> np.ndarray:
    return np.concatenate([np.empty((0, *shape)), *arrays])


def _set_of(results: Sequence[PoseResult]) -> KeypointSet:
    sets = [result.keypoint_set or numbered_set(result.keypoints.shape[1]) for result in results]
    other = next((one for one in sets if one != sets[0]), None)
    if other is not None:
        raise ValueError(f"The results have different keypoint sets, {sets[0]} and {other}; make a table of each.")
    return sets[0] if sets else numbered_set(0)
