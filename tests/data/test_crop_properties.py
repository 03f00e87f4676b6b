"""Whatever box the rules let through: a crop that can be mapped back, or a sentence."""

from __future__ import annotations

import numpy as np
from properties import given, positions, st

from sapiens_pl.boxes.rules import BoxRules
from sapiens_pl.boxes.table import table_of_arrays
from sapiens_pl.core.columns import Names
from sapiens_pl.core.plan import Pictures, Tasks
from sapiens_pl.core.structures import CropSpan, LoadedImage
from sapiens_pl.data.crops import CropCutter

PIXELS = np.full((30, 40, 3), 200, np.uint8)
TINY = st.floats(1e-12, 1e-5)
SIDES = st.one_of(TINY, st.floats(0, 100), st.floats(-1e7, 1e7), st.just(float("nan")))
BOXES = st.one_of(
    st.tuples(positions(), positions(), SIDES, SIDES),
    st.tuples(st.floats(1, 25), st.floats(1, 25), TINY, TINY),
    st.tuples(st.floats(0.2, 0.9), st.floats(0.2, 0.9), st.floats(0, 2), st.floats(0, 2)),  # parts
)


@given(
    st.lists(BOXES, min_size=1, max_size=4),
    st.sampled_from(["xywh", "cxcywh", "cxcywhn"]),
    st.integers(1, 8),
)
def test_every_box_gives_a_crop_that_maps_back_or_a_sentence(boxes, format, orientation):
    rules = BoxRules(format, exif="raw")
    rows, pictures = np.array(boxes), Pictures("", Names.of(["a.jpg"]), True)
    ruled = rules.apply(pictures, np.zeros(len(rows), np.int64), table_of_arrays(rows))
    task = Tasks(pictures, ruled.boxes)[0]
    cut = CropCutter((64, 48)).cut(LoadedImage(PIXELS, orientation), task, CropSpan(0, 0, task.num_boxes))
    assert len(ruled.failures) + len(cut.failures) + len(cut.crops) == len(rows)
    told = {failure.instance_id for failure in (*ruled.failures, *cut.failures)}
    assert told | set(task.instance_ids[cut.box_indices].tolist()) == set(range(len(rows)))
    assert all(failure.message.strip() and "\n" not in failure.message for failure in cut.failures)
    assert np.isfinite(cut.centers).all() and (cut.scales > 0).all() and np.isfinite(cut.scales).all()
