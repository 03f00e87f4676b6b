"""What the tests of box files share: a file is written, and read as boxes of the images named."""

from __future__ import annotations

import json

from sapiens_pl.core.columns import Names
from sapiens_pl.core.plan import Pictures

BOX = [10, 20, 30, 60]
DOG = [40, 50, 70, 80]


def boxes_of(kind, tmp_path, content, *names, complete=True, **options):
    """Each image's boxes, and the failures."""
    path = tmp_path / "boxes.txt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    tasks, failures, _ = kind(str(path), **options)(Pictures("/photos", Names.of(names or ("a.jpg",)), complete))
    return {task.name: task.bboxes_xyxy.tolist() for task in tasks}, failures


def coco_of(*kinds, categories=None, **extra):
    """An annotation file of one image, with a box of its own for each category given."""
    rows = [{"id": n, "image_id": 1, "category_id": kind, "bbox": [n, 0, 9, 9]} for n, kind in enumerate(kinds)]
    listing = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": rows, **extra}
    return listing if categories is None else {**listing, "categories": categories}
