"""Numbers among the settings of several products."""

from __future__ import annotations

import math
from typing import Any

from sapiens_pl.core.errors import ConfigError


def checked_threshold(key: str, value: Any) -> float:
    """The value, if it is a number; raises ConfigError naming the key if not."""
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ConfigError(f"{key}={value} must be a number.")
    return float(value)


def checked_positive(key: str, value: Any) -> float:
    """The value, if it is a number above 0; raises ConfigError naming the key if not."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(f"{key}={value} must be a number above 0.")
    return float(value)
