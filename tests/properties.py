"""What the property tests share. The examples are the same in each run, so that no run fails by chance.

`HYPOTHESIS_PROFILE=explore pytest tests -k properties` tries other ones, and many more.
"""

from __future__ import annotations

import os

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is missing (pip install -e '.[dev]')")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

_CALM = {
    "deadline": None,
    "database": None,
    # A folder is used again by each example, which writes its own files.
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}
settings.register_profile("fixed", derandomize=True, max_examples=30, **_CALM)
settings.register_profile("explore", max_examples=3000, **_CALM)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

__all__ = ["any_text", "given", "positions", "st"]

any_text = st.text(
    st.characters(exclude_categories=["Cs"]) | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF), min_size=1
).filter(lambda text: text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") == text)
"""Whatever a file can be called: all of Unicode, and bytes that are not UTF-8, as `os.fsdecode` gives them (never
bytes that together would be UTF-8).
"""


def positions(farthest: float = 1e7) -> st.SearchStrategy[float]:
    """Coordinates, px: in pictures and far outside, whole and fractional."""
    return st.one_of(
        st.integers(-100, 5000).map(float),
        st.floats(-100, 5000),
        st.floats(-farthest, farthest, allow_subnormal=True),
    )
