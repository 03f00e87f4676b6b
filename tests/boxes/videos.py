"""What the tests of box files for videos share: pictures that are frames, as a source lists them."""

from __future__ import annotations

import json
import os

import numpy as np

from sapiens_pl.core.columns import Names
from sapiens_pl.core.plan import FrameColumns, Pictures

PEOPLE = {0: [(10, 20, 30, 60, 7)], 2: [(12, 20, 32, 60, 7), (50, 10, 90, 80, 9)], 3: [(14, 20, 34, 60, 7)]}
"""By frame: corners and a track id."""


def pictures_of(videos, *photographs, every=1, rate=25.0, seconds=None, complete=True, root="/clips"):
    """Pictures of a source; `videos`: frames by name, of which each n-th is one of the run's."""
    names, video, index = list(photographs), [-1] * len(photographs), [0] * len(photographs)
    paths = [os.path.join(root, name) for name in photographs]
    for number, (name, count) in enumerate(videos.items()):
        stem = os.path.splitext(os.path.basename(name))[0]
        chosen = range(0, count, every)
        names += [f"{name}/{stem}_{frame:012d}" for frame in chosen]
        video += [number] * len(chosen)
        index += chosen
        paths += [os.path.join(root, name)] * len(chosen)
    index = np.array(index, np.int64)
    seconds = index / rate if seconds is None else np.array(seconds)[index]
    columns = FrameColumns(
        Names.of(videos), np.array(video), index, index * 512, seconds, np.array(list(videos.values()))
    )
    return Pictures(root, Names.of(names), complete, paths=Names.of(paths), frames=columns)


def by_frame(boxed):
    """Corners and given ids of the people of each frame (or picture) that has any, by video and frame."""
    found = {}
    for task in boxed.tasks:
        if task.num_boxes:
            where = (task.frame.video, task.frame.frame_index) if task.frame else task.name
            ids = [int(id_) if given else None for id_, given in zip(task.instance_ids, task.has_given_id)]
            found[where] = [(*box, id_) for box, id_ in zip(task.bboxes_xyxy.tolist(), ids)]
    return found


def of_video(name, people=PEOPLE):
    """The same as `by_frame` gives of these people."""
    return {(name, frame): rows for frame, rows in people.items()}


def write(path, content):
    """Text, or JSON; with the folders above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return str(path)


def mot_text(people=PEOPLE, first=1):
    """MOTChallenge's lines, whose first pixel is 1."""
    return "".join(
        f"{frame + first},{identity},{left + 1},{top + 1},{right - left},{bottom - top},0.9,-1,-1,-1\n"
        for frame, rows in people.items()
        for left, top, right, bottom, identity in rows
    )
