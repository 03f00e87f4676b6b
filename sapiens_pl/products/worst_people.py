"""The first people of `worst.csv`, by the places of pictures and people in the records."""

from __future__ import annotations

import numpy as np

from sapiens_pl.core.protocols import Records
from sapiens_pl.products.suspicions import judged, low_excesses, low_limit, severities


def worst_people(records: Records, count: int, threshold: float) -> dict[int, list[int]]:
    """The worst people: by the number of their picture in `records.results()`, their rows in it, ascending.

    Args:
        records: of a run, with tracks where there are videos.
        count: how many.
        threshold: keypoints with a lower score raise no suspicion.
    """
    pictures, rows, scores, suspicions = [], [], [], []
    num_pictures = 0
    for people in judged(records.results(), records.keypoint_set, threshold):
        pictures.append(people.pictures + num_pictures)
        rows.append(people.rows)
        scores.append(people.scores)
        suspicions.append(severities(people.excesses).sum(axis=1))
        num_pictures += len(people.results)
    if not pictures:
        return {}
    of_all = np.concatenate(scores)
    suspicion = np.concatenate(suspicions) + severities(low_excesses(of_all, low_limit(of_all)))
    first = np.sort(np.lexsort((of_all, -np.round(suspicion, 6)))[:count])  # as in `worst.WorstTable`
    chosen: dict[int, list[int]] = {}
    for picture, row in zip(np.concatenate(pictures)[first].tolist(), np.concatenate(rows)[first].tolist()):
        chosen.setdefault(picture, []).append(row)
    return chosen
