"""Boxes from COCO's annotation files and detection results."""

from __future__ import annotations

import logging
import os
from typing import Any

from sapiens_pl.data.box_files import existing_file, load_json, shortened
from sapiens_pl.data.box_rules import BoxRow, BoxRules
from sapiens_pl.data.boxes import BoxedImages, BoxListing, assign_boxes
from sapiens_pl.data.image_finder import names_by_number
from sapiens_pl.data.sources import ImageSource
from sapiens_pl.errors import ConfigError

log = logging.getLogger(__name__)


class CocoBoxes:
    """Boxes from a COCO annotation file or a COCO detection-results file (`boxes=coco`).

    Of an annotation file, crowd regions and people without a single labelled keypoint are left
    out (as COCO's keypoint evaluation does), of both kinds the categories other than `category_id`.

    Args:
        file: the box file.
        images_file: for detection results, a COCO file whose `images` list tells the image ids;
            without it, an id is looked for in the file names (785 in `000000000785.jpg`).
        category_id: the person category's id.
        rules: as in `BoxRules`; the thresholds touch only boxes that have a score.
    """

    def __init__(
        self,
        file: str | None,
        images_file: str | None = None,
        *,
        category_id: int = 1,
        format: str = "xywh",
        score_threshold: float | None = 0.3,
        nms_threshold: float | None = 0.3,
        **rules: Any,
    ) -> None:
        self.file = existing_file(file)
        self.images_file = existing_file(images_file, "boxes.images_file") if images_file else None
        self.category_id = category_id
        self.rules = BoxRules(format, score_threshold, nms_threshold, **rules)

    def __call__(self, source: ImageSource) -> BoxedImages:
        data = load_json(self.file)
        annotations = data if isinstance(data, list) else data.get("annotations") if isinstance(data, dict) else None
        if not isinstance(annotations, list):
            raise ConfigError(
                f"{self.file} is neither a COCO annotation file nor a COCO detection-results list; "
                "for boxes by path use boxes=json."
            )
        listing = data if isinstance(data, dict) else load_json(self.images_file) if self.images_file else {}
        listed = _coco_images(listing, self.images_file or self.file)
        names = {str(image_id): name for name, image_id in listed} or names_by_number(source)
        rows: list[BoxRow] = []
        bad_rows: list[tuple[int, str]] = []
        left_out = 0
        for number, row in enumerate(annotations, 1):
            if not isinstance(row, dict) or "image_id" not in row:
                bad_rows.append((number, f"{shortened(row)} does not say which image it belongs to (image_id)"))
            elif row.get("category_id", self.category_id) == self.category_id:
                if row.get("iscrowd") or row.get("num_keypoints", 1) == 0:
                    left_out += 1
                else:
                    name = str(row["image_id"])
                    rows.append(BoxRow(names.get(name, name), row.get("bbox"), row.get("score"), row.get("id"), number))
        if left_out:
            log.info("%s: left out %d crowds or people without keypoints.", self.file, left_out)
        images = {name: image_id if type(image_id) is int else None for name, image_id in listed}
        if isinstance(data, list):  # other images of the list are not meant
            here = {os.path.basename(file.name) for file in source.files}
            images = {name: image_id for name, image_id in images.items() if os.path.basename(name) in here}
        return assign_boxes(source, BoxListing(self.file, "entry", rows, images, bad_rows), self.rules)


def _coco_images(listing: Any, path: str) -> list[tuple[str, Any]]:
    """File name and id of each image that a COCO file lists."""
    images = listing.get("images", []) if isinstance(listing, dict) else []
    try:
        return [(str(image["file_name"]), image["id"]) for image in images]
    except (TypeError, KeyError):
        raise ConfigError(f"{path} has an entry under 'images' without id and file_name; correct it.") from None
