"""Numbers among the settings of several products."""

from __future__ import annotations

import math
from typing import Any

from sapiens_pl.core.settings import check, number


def checked_threshold(key: str, value: Any) -> float:
    """The value, if it is a number; raises SettingError naming the key if not."""
    check({key: number()}, {key: value}, "")
    return float(value)


def checked_positive(key: str, value: Any) -> float:
    """The value, if it is a number above 0 and finite; raises SettingError naming the key if not."""
    check({key: number(above=0, below=math.inf)}, {key: value}, "")
    return float(value)
