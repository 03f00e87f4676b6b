"""Whatever a result says, in any numbers and any writing: it comes back from the records as it was."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from properties import any_text, given, st
from records.made_up import check_all_equal, make_records, pose_result

from sapiens_pl.core.columns import Names
from sapiens_pl.core.structures import NO_TRACK_ID, Failure, ShardMember, VideoFrame
from sapiens_pl.records.reading import Records

WHOLE = st.integers(-(2**63) + 1, 2**63 - 1)
K = 3


def any_bits(draw, dtype, *shape):
    """Numbers of any kind: small and large, NaN and infinite."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(draw(st.binary(min_size=size, max_size=size)), dtype).reshape(shape)


@st.composite
def results(draw):
    name, count = draw(any_text), draw(st.integers(0, 2))
    frame = draw(st.none() | st.builds(VideoFrame, any_text, st.integers(0, 2**40), WHOLE, st.floats(allow_nan=False)))
    tracks = None
    if frame is not None:
        tracks = np.where(any_bits(draw, np.int8, count) > 0, any_bits(draw, np.int64, count), NO_TRACK_ID)
    failures = st.builds(Failure, st.just(name), WHOLE, st.just("BoxError"), any_text, st.none())
    return pose_result(
        name,
        count,
        K,
        path=draw(any_text),
        keypoints=any_bits(draw, np.float32, count, K, 2),
        keypoint_scores=any_bits(draw, np.float32, count, K),
        bboxes=any_bits(draw, np.float64, count, 4),
        bbox_scores=any_bits(draw, np.float64, count),
        instance_ids=any_bits(draw, np.int64, count),
        image_wh=draw(st.tuples(st.integers(1, 2**31), st.integers(1, 2**31))),
        failures=tuple(draw(st.lists(failures, max_size=2))),
        image_id=draw(st.none() | st.integers()),
        frame=frame,
        track_ids=tracks,
        member=draw(st.none() | st.builds(ShardMember, any_text, any_text)),
    )


@pytest.mark.slow
@given(st.lists(results(), min_size=1, max_size=3, unique_by=lambda result: result.name))
def test_what_is_recorded_is_read_back_bit_for_bit(made):
    with tempfile.TemporaryDirectory() as folder:
        make_records(Path(folder), made, K, a_frame=2)
        check_all_equal(Records.read(Path(folder)).results(), made)


@given(st.lists(any_text, max_size=20), st.data())
def test_names_come_back_from_their_column(texts, data):
    names = Names.of(texts)
    assert list(names) == texts and [names[place] for place in range(len(texts))] == texts
    places = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=5) if texts else st.just([]))
    chosen = names.select(np.array(places, np.int64))
    assert list(chosen) == [texts[place] for place in places]
    assert names.positions(chosen).tolist() == [texts.index(texts[place]) for place in places]
