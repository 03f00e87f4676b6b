"""Computes the accuracy of a whole run, and what people have corrected in it, and writes them into its folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from sapiens_pl.accuracy.annotations import Annotations, read_annotations
from sapiens_pl.accuracy.average_precision import OKS_NMS_THRESHOLD, accuracy_of, table
from sapiens_pl.accuracy.corrections import MOVED_PIXELS, Corrections, corrections_of
from sapiens_pl.accuracy.corrections_table import corrections_csv, corrections_table, with_scores
from sapiens_pl.core.bar import Bar
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.core.terminal import printable
from sapiens_pl.records.reading import Records
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.records.schema import DONE, FAILED

HANDED_OUT = "coco_annotations.json"
"""The product that annotators are given."""


def evaluate_run(
    folder: RunFolder,
    annotations: Annotations,
    oks_nms_threshold: float = OKS_NMS_THRESHOLD,
    handed_out: str | Path | None = None,
    moved_pixels: float = MOVED_PIXELS,
    bar: Bar | None = None,
) -> None:
    """Evaluates all results of a folder, prints the table, and leaves it there as `evaluation.json`.

    If the annotations are a corrected file of the run, the changes are printed too, and written to
    `corrections.csv`; only the people who were handed out count then.

    Args:
        folder: a run's, open for writing.
        annotations: what `annotations.read_annotations` gave.
        oks_nms_threshold: as in `instance_scores.oks_nms`.
        handed_out: the file as people were given it; None: the `coco_annotations.json` in the folder, if there is one.
        moved_pixels: as in `corrections.corrections_of`.
        bar: shows how far that is.

    Raises:
        ConfigError: pycocotools is missing, a result or the file is damaged, nothing is in common, or the annotations
            were not made of the file given.
        WriteError: a file could not be written.
    """
    records = folder.read_records()
    given = _handed_out(folder, handed_out)
    corrections = None if given is None else corrections_of(given, annotations, moved_pixels)
    if corrections is None and handed_out is not None:
        raise ConfigError(f"{annotations.path} was not made of handed_out={handed_out}; give the file that it was.")
    results: Iterable[PoseResult] = records.results()
    if given is not None and corrections is not None:
        _tell_corrections(folder, records, corrections, given.path)
        results = _of_the_handed_out(records, given)
    names = [*records.names(DONE), *records.names(FAILED)]
    if bar is not None:
        bar.show(0, records.count(DONE))
        results = _counted(results, bar)
    found = accuracy_of(results, records.keypoint_set, annotations, names, oks_nms_threshold)
    content = {"annotations": annotations.path, "oks_nms_threshold": oks_nms_threshold, **found._asdict()}
    folder.write(folder.evaluation_file, (json.dumps(content, indent=2) + "\n").encode())
    file = printable(str(annotations.path))
    print(
        f"\nAgainst {file} ({found.num_images} of its {found.num_annotated} images, {found.num_poses} "
        f"poses after OKS suppression):\n{table(found)}",
        *(printable(note) for note in found.notes),
        sep="\n",
    )


def _counted(results: Iterable[PoseResult], bar: Bar) -> Iterator[PoseResult]:
    for result in results:
        yield result
        bar.step()


def _handed_out(folder: RunFolder, given: str | Path | None) -> Annotations | None:
    """Raises ConfigError if the given file cannot be read; the folder's own may have no people."""
    if given is not None:
        return read_annotations(given, "handed_out")
    try:
        return read_annotations(folder.path / HANDED_OUT)
    except ConfigError:
        return None


def _tell_corrections(folder: RunFolder, records: Records, corrections: Corrections, path: str) -> None:
    changed = {row.image for row in corrections.rows}
    corrections = with_scores(corrections, records.results(changed), records.keypoint_set)
    folder.write(folder.corrections_file, corrections_csv(corrections))
    print(f"\nCorrected since {printable(path)}:\n{corrections_table(corrections)}")
    print(printable(f"  {'each change':<14}{folder.corrections_file}"))


def _of_the_handed_out(records: Records, handed_out: Annotations) -> Iterator[PoseResult]:
    """The results with those people alone who were handed out: the worst of a run, perhaps."""
    names = {image.id: name for name, image in handed_out.images.items()}
    people: dict[str, set[int | None]] = {}
    for person in handed_out.people:
        people.setdefault(names.get(person["image_id"], ""), set()).add(person["posed_id"])
    for result in records.results():
        ids = people.get(result.name, set())
        rows = [row for row, identity in enumerate(result.instance_ids.tolist()) if identity in ids]
        yield result._replace(
            keypoints=result.keypoints[rows],
            keypoint_scores=result.keypoint_scores[rows],
            bboxes=result.bboxes[rows],
            bbox_scores=result.bbox_scores[rows],
            instance_ids=result.instance_ids[rows],
            track_ids=None if result.track_ids is None else result.track_ids[rows],
        )
