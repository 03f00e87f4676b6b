"""What people have corrected, as a printed table and as `corrections.csv`."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable
from statistics import median

from sapiens_pl.accuracy.corrections import Correction, Corrections
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.products.csv_table import FORMULA_SIGNS

_NUM_NAMED = 5
_DECIMALS = {"pixels": 2, "score": 6}


def with_scores(corrections: Corrections, results: Iterable[PoseResult], keypoint_set: KeypointSet) -> Corrections:
    """The same with the scores that the run gave to these keypoints.

    Args:
        corrections: of a run.
        results: of their images, as far as there are any.
        keypoint_set: what the keypoints of the results are.
    """
    columns = {name: column for column, name in enumerate(keypoint_set.names)}
    scores = {
        (result.name, identity): result.keypoint_scores[row]
        for result in results
        for row, identity in enumerate(result.instance_ids.tolist())
    }

    def scored(row: Correction) -> Correction:
        of_person = None if row.instance_id is None else scores.get((row.image, row.instance_id))
        column = columns.get(row.keypoint)
        return row if of_person is None or column is None else row._replace(score=float(of_person[column]))

    return corrections._replace(rows=[scored(row) for row in corrections.rows])


def corrections_csv(corrections: Corrections) -> bytes:
    """A row a change, in the order of the images; the columns are `Correction`'s."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Correction._fields)
    for row in corrections.rows:
        image = f"./{row.image}" if row.image.startswith(FORMULA_SIGNS) else row.image
        writer.writerow([image, *(_cell(*each) for each in zip(row._fields[1:], row[1:]))])
    return text.getvalue().encode("utf-8", "surrogateescape")


def _cell(name: str, value: object) -> object:
    return round(value, _DECIMALS.get(name, 3)) if isinstance(value, float) else value


def corrections_table(corrections: Corrections) -> str:
    """How many people and keypoints, and which keypoints were moved most often."""
    changes = Counter(row.change for row in corrections.rows)
    moved: dict[str, list[float]] = {}
    for row in corrections.rows:
        if row.pixels is not None:
            moved.setdefault(row.keypoint, []).append(row.pixels)
    ways = [way for of_keypoint in moved.values() for way in of_keypoint]
    far = f" (half of them by {median(ways):.1f} px or more, at most {max(ways):.1f})" if ways else ""
    num_corrected = corrections.num_people - corrections.num_kept
    lines = [
        f"  {'images':<14}{corrections.num_images} in both files",
        f"  {'people':<14}{corrections.num_kept} as they were, {num_corrected} corrected, "
        f"{changes['person_added']} added, {changes['person_removed']} removed",
        f"  {'keypoints':<14}{changes['moved']} moved{far}, {changes['added']} added, {changes['removed']} removed, "
        f"{changes['hidden']} hidden, {changes['shown']} shown",
    ]
    most = sorted(moved.items(), key=lambda each: (-len(each[1]), -median(each[1]), each[0]))[:_NUM_NAMED]
    named = ", ".join(f"{name} {len(of)} times (by {median(of):.1f} px)" for name, of in most)
    return "\n".join([*lines, f"  {'most often':<14}{named}"] if named else lines)
