"""Some of the pictures of a portion, as a sample of all."""

from __future__ import annotations

import numpy as np

from sapiens_pl.core.plan import Tasks
from sapiens_pl.data.portions import Portion


def sample_of(portion: Portion, most: int) -> Tasks:
    """At most so many of this process's tasks, evenly chosen, in their order."""
    count = min(most, len(portion.share))
    places = np.unique(np.linspace(0, max(len(portion.share) - 1, 0), count).round().astype(np.int64))
    return portion.tasks.select(np.sort(portion.share[places]))
