"""DeepLabCut's form: read as its readers do, with pandas (`movement` does no more)."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
from products.made import film_of, smoothed
from records.made_up import frame_result

from sapiens_pl.core.errors import ConfigError, SapiensError
from sapiens_pl.core.protocols import MakingStopped
from sapiens_pl.core.structures import NO_TRACK_ID
from sapiens_pl.products import dlc
from sapiens_pl.products.dlc import Dlc

WALK = "a/walk.mp4"


def written(tmp_path, results, min_frames: int = 1, **options) -> pandas.DataFrame:
    Dlc(min_frames).write(film_of(results, **options), tmp_path / "film.csv")
    table = pandas.read_csv(tmp_path / "film.csv", header=[0, 1, 2, 3])
    table = table.set_index(table.columns[0])  # as index_col, pandas would take an empty first row for its name
    assert table.index.name == ("scorer", "individuals", "bodyparts", "coords")
    return table["sapiens_pl"]


def pose(table: pandas.DataFrame, frame: int, track: int) -> np.ndarray:
    """(K, 3): x, y, likelihood."""
    return table.loc[frame, f"track_{track}"].to_numpy().reshape(-1, 3)


def test_each_track_is_an_individual_in_the_frames_that_it_is_in(tmp_path):
    results = [frame_result(WALK, 0, 2), frame_result(WALK, 1, 0), frame_result(WALK, 2, 3), frame_result(WALK, 3, 2)]
    results[3] = results[3]._replace(track_ids=np.array([11, NO_TRACK_ID]))
    table = written(tmp_path, results)
    assert table.index.tolist() == [0, 1, 2, 3] and table.shape == (4, 4 * 17 * 3)
    individuals, bodyparts, coords = (table.columns.get_level_values(level).unique().tolist() for level in range(3))
    assert individuals == ["track_1", "track_2", "track_3", "track_11"]
    assert bodyparts == list(results[0].keypoint_set.names) and coords == ["x", "y", "likelihood"]
    present = 0
    for result in results:
        for row, track in enumerate(result.track_ids.tolist()):
            if track != NO_TRACK_ID:
                found = pose(table, result.frame.frame_index, track)
                np.testing.assert_allclose(found[:, :2], result.keypoints[row], atol=6e-4)
                np.testing.assert_allclose(found[:, 2], result.keypoint_scores[row], atol=1e-6)
                present += 1
    assert table.notna().to_numpy().sum() == present * 17 * 3 == 6 * 17 * 3


def test_a_frame_that_could_not_be_read_has_an_empty_row_so_that_rows_count_frames(tmp_path):
    assert written(tmp_path, [frame_result(WALK, index) for index in (0, 1, 3)]).index.tolist() == [0, 1, 2, 3]
    table = written(tmp_path, [frame_result(WALK, index) for index in (6, 9, 15)])
    assert table.index.tolist() == [6, 9, 12, 15] and table.loc[12].isna().all() and not table.loc[15].isna().any()
    assert written(tmp_path, [frame_result(WALK, 5)]).index.tolist() == [5]
    with_nobody_first = [frame_result(WALK, 0, 0), frame_result(WALK, 1, 1)]
    assert written(tmp_path, with_nobody_first).index.tolist() == [0, 1]


def test_smoothed_poses_stand_for_the_raw_ones_and_who_is_bridged_is_there(tmp_path):
    results = [
        smoothed(frame_result(WALK, 0, 2)),
        smoothed(frame_result(WALK, 1, 1), 2),
        smoothed(frame_result(WALK, 2, 2)),
    ]
    table = written(tmp_path, results)
    for result in results:
        for row, track in enumerate(result.smoothed.track_ids.tolist()):
            found = pose(table, result.frame.frame_index, track)[:, :2]
            np.testing.assert_allclose(found, result.smoothed.keypoints[row], atol=6e-4)
    assert not table.isna().to_numpy().any()


def test_short_tracks_can_be_left_out_and_must_be_where_there_are_too_many(tmp_path, monkeypatch):
    results = [frame_result(WALK, index, 1 + index % 2) for index in range(5)]
    assert {column[0] for column in written(tmp_path, results, 3)} == {"track_1"}
    with pytest.raises(SapiensError, match="no track of 6 frames or more in it"):
        written(tmp_path, results, 6)
    monkeypatch.setattr(dlc, "MAX_VALUES", 5 * 17 * 3)
    with pytest.raises(
        SapiensError, match="5 frames with 2 tracks of 17 keypoints are more than 255 values; set output.d"
    ):
        written(tmp_path, results)
    assert written(tmp_path, results, 3).shape == (5, 17 * 3)
    with pytest.raises(SapiensError, match="there is no track in it"):
        written(tmp_path, [frame_result(WALK, 0, 1, track_ids=np.array([NO_TRACK_ID]))])
    with pytest.raises(ConfigError, match="output.dlc_min_frames=0"):
        Dlc(0)


def test_a_stop_is_a_stop(tmp_path):
    with pytest.raises(MakingStopped):
        written(tmp_path, [frame_result(WALK, 0)], stopped=lambda: True)
