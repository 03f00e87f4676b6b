"""The accuracy of a whole run, told and left in its folder."""

from __future__ import annotations

import json

from sapiens_pl.accuracy.annotations import Annotations
from sapiens_pl.accuracy.average_precision import OKS_NMS_THRESHOLD, accuracy_of, table
from sapiens_pl.core.terminal import printable
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.records.schema import DONE, FAILED


def evaluate_run(folder: RunFolder, annotations: Annotations, oks_nms_threshold: float = OKS_NMS_THRESHOLD) -> None:
    """Evaluates all results of a folder, prints the table, and leaves it there as `evaluation.json`.

    Args:
        folder: a run's, open for writing.

    Raises:
        ConfigError: pycocotools is missing, a result is damaged, or run and annotations have nothing in common.
        WriteError: the file could not be written.
    """
    records = folder.read_records()
    names = [*records.names(DONE), *records.names(FAILED)]
    found = accuracy_of(records.results(), records.keypoint_set, annotations, names, oks_nms_threshold)
    content = {"annotations": annotations.path, "oks_nms_threshold": oks_nms_threshold, **found._asdict()}
    folder.write(folder.evaluation_file, (json.dumps(content, indent=2) + "\n").encode())
    file = printable(str(annotations.path))
    print(
        f"\nAgainst {file} ({found.num_images} of its {found.num_annotated} images, {found.num_poses} "
        f"poses after OKS suppression):\n{table(found)}",
        *(printable(note) for note in found.notes),
        sep="\n",
    )
