"""A video that has been replaced is not drawn on."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
from clips import make_clip
from records.made_up import pose_result

from sapiens_pl.core.errors import UnreadableImageError
from sapiens_pl.pictures.sources import open_source
from sapiens_pl.products.in_turn import Turns
from sapiens_pl.products.picture_files import read_again
from sapiens_pl.products.second_read import PictureReader

pytest.importorskip("av")


@pytest.mark.slow
def test_frames_of_another_rate_are_not_taken_for_those_in_which_poses_were_found(tmp_path):
    path = tmp_path / "walk.mp4"
    make_clip(path, 8, fps=25)
    pictures = open_source(str(tmp_path)).pictures()
    assert pictures.frames is not None
    found = pose_result("", 1)._replace(
        name=pictures.names[3], path=str(path), frame=pictures.frames.frame(3), image_wh=None
    )
    with closing(PictureReader(60, 178, lambda: False, str(tmp_path))) as reader:
        before = read_again(Turns(reader).next(), found)
    make_clip(path, 8, fps=20)
    with closing(PictureReader(60, 178, lambda: False, str(tmp_path))) as reader:
        with pytest.raises(UnreadableImageError, match="is another video now: walk.mp4/walk_000000000003 has another"):
            read_again(Turns(reader).next(), found)
        nobody_knows = reader.read(str(path), found.name)
    assert nobody_knows.shape == before.shape and before.dtype == np.uint8
