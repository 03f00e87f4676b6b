"""Which of many like cases the fast tests (`pytest -m "not slow"`) try."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def a_third(cases: Iterable[Any]) -> list[Any]:
    """All cases, of which each third is fast: those that cost little alone, and much together."""
    return [slow(case) if at % 3 else case for at, case in enumerate(cases)]


def slow(case: Any) -> Any:
    """A case that the fast tests leave out."""
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
