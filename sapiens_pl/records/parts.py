"""Collects finished images into Parquet parts while a run goes on."""

from __future__ import annotations

import io
import itertools
import time
from threading import Lock

from sapiens_pl.core.keypoints import KeypointSpec
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.products.parquet_parts import pyarrow, write_part
from sapiens_pl.products.parquet_table import MAX_IMAGES, MAX_KEYPOINTS
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.records.wholeness import digest_of


class PartWriter:
    """Writes a part whenever there are enough images for one; several threads may add.

    An image's JSON file is its record until a part holds it, so what waits here survives a kill.

    Args:
        folder: the run's.
        spec: the network's keypoints.
        replace_json: once an image is in a part, remove its JSON file.

    Raises:
        ConfigError: pyarrow is not installed.
    """

    def __init__(self, folder: RunFolder, spec: KeypointSpec, replace_json: bool) -> None:
        pyarrow()
        self._folder, self._spec, self._replace_json = folder, spec, replace_json
        self._waiting: list[PoseResult] = []
        self._num_keypoints = 0
        self._lock = Lock()
        # No two processes and no two runs give a part the same name.
        stem = f"poses-{folder.shard}-{folder.rank}-{time.time_ns():x}"
        self._stems = (f"{stem}-{number:04}" for number in itertools.count())

    def add(self, result: PoseResult) -> None:
        """Takes over one image, whose JSON file is written.

        Raises:
            WriteError: a part was due and could not be written.
        """
        with self._lock:
            self._waiting.append(result)
            self._num_keypoints += result.keypoint_scores.size
            if self._num_keypoints < MAX_KEYPOINTS and len(self._waiting) < MAX_IMAGES:
                return
            results = self._take()
        self._write(results)

    def close(self) -> None:
        """Writes what is left."""
        with self._lock:
            results = self._take()
        if results:
            self._write(results)

    def _take(self) -> list[PoseResult]:
        results, self._waiting, self._num_keypoints = self._waiting, [], 0
        return results

    def _write(self, results: list[PoseResult]) -> None:
        part = io.BytesIO()
        write_part(results, self._spec, part)
        content = part.getvalue()
        name = f"{next(self._stems)}-{digest_of(content)}.parquet"  # so that a changed byte is noticed
        self._folder.write(self._folder.parquet / name, content)
        if self._replace_json:
            for result in results:
                self._folder.remove_json(result.name)
