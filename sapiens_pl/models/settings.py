"""What the settings of a network may be (conf/model/)."""

from __future__ import annotations

from typing import Any

from sapiens_pl.core.settings import SWITCH, Kind, either, is_list, is_whole, number, numbers, one_of, whole_number

PATCH_SIZE = 16
"""px, of both generations: crops are whole patches."""
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


def _is_input_hw(value: Any) -> bool:
    sides = list(value) if is_list(value) else []
    return len(sides) == 2 and all(is_whole(side) and side > 0 and side % PATCH_SIZE == 0 for side in sides)


NETWORK = {
    "num_heads": either(whole_number(1), None),
    "input_hw": either(Kind(f"multiples of {PATCH_SIZE} px, [height,width]", _is_input_hw), None),
}
INFERENCE = {"flip_test": SWITCH, "compile": SWITCH, "compile_mode": one_of(*COMPILE_MODES)}
MODEL = NETWORK | INFERENCE | {"keypoints": either(whole_number(1), None)}
CROP = {
    "enlarging": one_of("bilinear", "bicubic"),
    "box_padding": number(above=0, below=10),
    "pixel_mean_rgb": numbers(3, "three numbers"),
    "pixel_std_rgb": numbers(3, "three numbers"),
}
