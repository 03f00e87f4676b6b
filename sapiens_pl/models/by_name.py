"""Published models by the names that `model=` takes."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path

from sapiens_pl.core.configs import published_models
from sapiens_pl.core.errors import CheckpointError
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.models.checkpoints import SapiensNetwork, load_network
from sapiens_pl.models.hub import find_weights


def load_named(
    checkpoint: str | Path,
    num_heads: int | None = None,
    input_hw: tuple[int, int] | None = None,
    keypoint_set: str | Path | KeypointSet | None = None,
) -> SapiensNetwork:
    """`load_network`, where a published name is taken as well: its weights come from the hub's cache, or by download.

    Args:
        checkpoint: a name from `conf/model/` (`sapiens_1b_308`), unless there is a file of that name; else as for
            `load_network`.
        num_heads, input_hw, keypoint_set: as for `load_network`.

    Raises:
        CheckpointError: as `load_network` and `find_weights`; or there is no such file, and the name resembles a
        published one.
    """
    name = str(checkpoint)
    if not isinstance(checkpoint, str) or os.path.lexists(os.path.expanduser(name)):
        return load_network(checkpoint, num_heads, input_hw, dtype=None, keypoint_set=keypoint_set)
    models = dict(published_models())
    if name in models:
        cfg = models[name]
        weights = find_weights(cfg.hub.repository, cfg.hub.file, cfg.licence)
        keypoint_set = cfg.keypoint_set if keypoint_set is None else keypoint_set
        return load_network(weights, num_heads, input_hw, None, cfg.keypoints, keypoint_set=keypoint_set)
    alike = get_close_matches(name, models, 1)
    if alike and not Path(name).suffix and os.sep not in name:
        raise CheckpointError(
            f"{name} is neither a file nor a published model; did you mean {alike[0]}? There are {', '.join(models)}."
        )
    return load_network(checkpoint, num_heads, input_hw, dtype=None, keypoint_set=keypoint_set)
