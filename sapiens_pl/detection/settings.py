"""What the settings of the detection pass may be (conf/boxes/detector.yaml)."""

from __future__ import annotations

from sapiens_pl.core.settings import either, number, whole_number

DETECTING = {
    "images_per_batch": either(whole_number(1), None),
    "score_threshold": number(least=0),
    "nms_threshold": either(number(least=0), None),
    "largest_n": either(whole_number(1), None),
    "min_size": number(least=0),
    "every": whole_number(1),
}
