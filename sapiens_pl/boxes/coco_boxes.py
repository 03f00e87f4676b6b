"""Boxes from COCO's annotation files and detection results."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from sapiens_pl.boxes.classes import COCO_PERSON, ClassId, ClassRule, Wanted, class_id
from sapiens_pl.boxes.coco_images import ListedImages, listed_images, with_frames
from sapiens_pl.boxes.files import JsonReader, RepeatedKeys, existing_file, filled_text
from sapiens_pl.boxes.image_finder import ImageNumbers, NoImage, plain_id
from sapiens_pl.boxes.matching import assign_boxes, listing_of
from sapiens_pl.boxes.posed_boxes import check_is_of_all, is_of_run, is_posed, posed_rows, rules_of_run
from sapiens_pl.boxes.rules import BoxRules
from sapiens_pl.boxes.table import BoxRow
from sapiens_pl.boxes.units import check_within
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.not_counted import RowsNotCounted
from sapiens_pl.core.plan import Pictures
from sapiens_pl.core.protocols import BoxedImages
from sapiens_pl.core.wording import shown

log = logging.getLogger(__name__)


class CocoBoxes:
    """Boxes from a COCO annotation file or a COCO detection-results file (`boxes=coco`).

    Of an annotation file, crowd regions and people without a single labelled keypoint are left
    out (as COCO's keypoint evaluation does), of both kinds the categories other than the person's. In the annotation
    file of a run, people keep the ids that they had there (`posed_boxes`).

    Args:
        file: the box file.
        images_file: for detection results, a COCO file whose `images` list tells the image ids;
            without it, an id is looked for in the file names (785 in `000000000785.jpg`). Where images are frames of
            videos, `coco_images.with_frames` says which.
        category_id: the person category's id, or its name, or several; None: found in the file's `categories`, without
            them 1.
        rules: as in `BoxRules`; the thresholds touch only boxes that have a score.
    """

    def __init__(
        self,
        file: str | None,
        images_file: str | None = None,
        *,
        category_id: Wanted = None,
        format: str = "xywh",
        score_threshold: float | None = 0.3,
        nms_threshold: float | None = 0.3,
        **rules: Any,
    ) -> None:
        self.file = existing_file(file)
        self.images_file = existing_file(images_file, "boxes.images_file") if images_file else None
        self.category_id = category_id
        self.rules = BoxRules(format, score_threshold, nms_threshold, **rules)

    def __call__(self, source: Pictures) -> BoxedImages:
        data = _load(self.file)
        annotations = data if isinstance(data, list) else data.get("annotations") if isinstance(data, dict) else None
        if not isinstance(annotations, list):
            raise ConfigError(
                f"{self.file} is neither a COCO annotation file nor a COCO detection-results list; "
                "for boxes by path use boxes=json."
            )
        listing = data if isinstance(data, dict) else _load(self.images_file) if self.images_file else {}
        listing_path = self.images_file or self.file
        given = listing if isinstance(listing, dict) else {}
        listed = listed_images(given, listing_path)
        if source.frames is not None:
            listed = with_frames(source, listed, given, listing_path, self.rules.first_frame)
        rows, bad_rows = _numbered(annotations)
        rows, not_counted = self._people(rows, given)
        not_counted = not_counted._replace(rows=len(annotations))
        rules, of_run = self.rules, self.rules.format == "xywh" and is_of_run([row.entry for row in rows])
        found, lost = _with_names(rows, listed, source, listing_path)
        if of_run:
            check_is_of_all(self.file, [row.entry for row in rows])
        if of_run and not listed.frames:
            entries = {row.number: row.entry for row in rows}
            rules = rules_of_run(rules)
            found = posed_rows([(row, entries[row.number]) for row in found])
        if listed.names and lost and not found and len(lost) == len({str(entry["image_id"]) for _, entry in rows}):
            raise ConfigError(
                f"{self.file} has boxes of the image_id {next(iter(lost))} ({len(lost)} such ids), and {listing_path} "
                f"lists no image with any of them, but one with {next(iter(listed.names))}; give files that belong "
                "together."
            )
        box_listing = listing_of(
            self.file, "entry", found, listed.ids, bad_rows, {**lost, **listed.lost}, isinstance(data, list)
        )._replace(spoken_of=listed.spoken_of, not_counted=not_counted)
        check_within(self.file, box_listing.table, listed.sizes(given), rules)
        return assign_boxes(source, box_listing, rules)

    def _people(self, rows: list[_Numbered], listing: dict[str, Any]) -> tuple[list[_Numbered], RowsNotCounted]:
        names = _category_names(listing)
        if listing.get("categories") and not names and self.category_id is None:
            raise ConfigError(
                f"{self.file}: its categories {shown(listing['categories'])} have no id and name each, so it is not "
                "clear which one is a person; correct them, or say it with boxes.category_id=."
            )
        rule = ClassRule(self.file, self.category_id, names, usual=COCO_PERSON, first=COCO_PERSON)
        kinds = [class_id(row.entry.get("category_id")) for row in rows]
        people = rule.people(kinds)
        rows = [row for row, kind in zip(rows, kinds) if kind in people.kinds]
        alone = [row for row in rows if plain_id(row.entry.get("iscrowd") or 0) in (0, "False", "false")]
        labelled = [row for row in alone if plain_id(row.entry.get("num_keypoints", 1)) != 0 or is_posed(row.entry)]
        if alone and not labelled:
            log.warning("%s has no labelled keypoints at all, so all of its people count.", self.file)
            labelled = alone
        if len(labelled) < len(rows):
            log.info("%s: left out %d crowds or people without keypoints.", self.file, len(rows) - len(labelled))
        ignored = len(rows) - len(labelled)
        return labelled, RowsNotCounted(classes=people.classes, other_classes=people.num_others, ignored=ignored)


class _Numbered(NamedTuple):
    number: int
    entry: dict[str, Any]


def _load(path: str) -> Any:
    """A COCO file's content.

    Raises:
        ConfigError: it is not JSON, or has one of its lists twice.
    """
    reader = JsonReader()
    try:
        data = reader.parse(filled_text(path))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not a JSON file ({error}); correct it.") from None
    if isinstance(data, RepeatedKeys):
        raise ConfigError(f"{path} has the key {reader.repeated!r} twice, and one would vanish; correct it.")
    if reader.repeated is not None:
        log.warning("%s has the key %r twice in one object; the last one counts.", path, reader.repeated)
    return data


def _numbered(annotations: list[Any]) -> tuple[list[_Numbered], list[tuple[int, str]]]:
    """The rows that say which image they belong to, and the others."""
    rows, bad_rows = [], []
    for number, entry in enumerate(annotations, 1):
        if isinstance(entry, dict) and "image_id" in entry:
            rows.append(_Numbered(number, entry))
        else:
            bad_rows.append((number, f"{shown(entry)} does not say which image it belongs to (image_id)"))
    return rows, bad_rows


def _category_names(listing: dict[str, Any]) -> dict[ClassId, str]:
    """The names of a file's categories; a single category with keypoints may have any name."""
    categories = listing.get("categories")
    given = [kind for kind in categories if isinstance(kind, dict)] if isinstance(categories, list) else []
    by_id = {class_id(kind.get("id")): str(kind["name"]) for kind in given if "name" in kind}
    names = {key: name for key, name in by_id.items() if key is not None}
    if len(given) == 1 and given[0].get("keypoints"):
        return dict.fromkeys(names, "person")
    return names


def _with_names(
    rows: list[_Numbered], listed: ListedImages, source: Pictures, path: str
) -> tuple[list[BoxRow], dict[str, NoImage]]:
    """The rows by their images' names, and the ids that mean no image."""
    found: list[BoxRow] = []
    lost: dict[str, NoImage] = {}
    numbers = None if listed.names else ImageNumbers(source)
    unlisted = NoImage(f"is the id of no image that {path} lists; add it there or correct the box file")
    names: dict[int | str, str | NoImage | None] = {name: name for name in listed.ids}  # some write the name for the id
    names.update(listed.names)
    for number, entry in rows:
        image_id = entry["image_id"]
        key = image_id if type(image_id) is int else str(image_id) if numbers else plain_id(image_id)
        if key not in names:
            names[key] = numbers.find(image_id) if numbers else unlisted
        name = names[key]
        if isinstance(name, NoImage):
            lost.setdefault(str(image_id), name)
        elif name is not None:
            identity = _track_id(entry) if name in listed.frames else entry.get("id")
            found.append(BoxRow(name, entry.get("bbox"), entry.get("score"), identity, number))
    return found, lost


def _track_id(entry: dict[str, Any]) -> Any:
    """The id of a person over all frames of a video; an annotation's own id differs from frame to frame."""
    return next((entry[key] for key in ("track_id", "instance_id") if entry.get(key) is not None), None)
