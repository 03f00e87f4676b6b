"""What the settings of the data module may be (conf/data/)."""

from __future__ import annotations

from sapiens_pl.core.settings import either, number, whole_number

AUTO = "auto"
"""The batch size that is found by trying."""
LOADING = {
    "batch_size": either(whole_number(1), AUTO),
    "max_memory_gib": either(number(above=0), None),
    "num_workers": either(whole_number(0), None),
    "prefetch_factor": whole_number(1),
    "max_megapixels": number(above=0),
    "read_timeout": number(above=0),
    "scratch_gib": either(number(0), None),
}
PREDICTING = {"batch_size": whole_number(1), "num_workers": whole_number(0)}
"""Of `PoseEstimator.predict`."""
