"""Datasets of pictures that lie in memory."""

from __future__ import annotations

import numpy as np

from sapiens_pl.core.plan import Tasks, box_columns
from sapiens_pl.core.structures import ImageTask
from sapiens_pl.data.dataset import PictureDataset
from sapiens_pl.data.python_inputs import PythonImages


def dataset_of_arrays(arrays, boxes, batches, cutter, kind=PictureDataset):
    """(H, W, 3) pixels, and the (N, 4) boxes of each or None for the whole of it."""
    source = PythonImages(arrays)
    tasks = []
    for name, of_image in zip(source.pictures().names, boxes):
        count = 1 if of_image is None else len(of_image)
        tasks.append(ImageTask(name, "", of_image, np.ones(count), np.arange(count)))
    return kind(source, Tasks(source.pictures(), box_columns(tasks)), batches, cutter)
