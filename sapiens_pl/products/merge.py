"""The files that hold a whole run, put together from its images' results once it has ended.

Nothing here needs the run's processes, and all of it may be repeated at any time after their end.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Collection, Iterable, Iterator
from itertools import chain, groupby

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.keypoints import KeypointSpec
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.models.keypoint_sets import keypoint_spec
from sapiens_pl.products.coco_results import write_coco
from sapiens_pl.products.csv_table import write_csv
from sapiens_pl.products.json_files import read_result, result_json
from sapiens_pl.products.parquet_parts import images_of, read_part
from sapiens_pl.records.parts import PartWriter
from sapiens_pl.records.run_folder import RunFolder

log = logging.getLogger(__name__)

_NO_RESULT = (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError)


def merge(folder: RunFolder, formats: Collection[str]) -> None:
    """Writes what `formats` asks for, sorted by the images' names; the run's processes must have ended.

    Raises:
        ConfigError: a result file is damaged.
        WriteError: no space, no permission, a vanished disk.
    """
    with folder.merging():
        if "parquet" in formats:
            _fill_parts(folder, replace_json="json" not in formats)
        if "json" in formats or "parquet" not in formats:
            _unfold_parts(folder)
        if "coco" in formats:
            with folder.writing(folder.coco_file) as people, folder.writing(folder.coco_images_file) as images:
                write_coco(*all_results(folder), people, images)
        if "csv" in formats:
            with folder.writing(folder.csv_file) as file:
                write_csv(*all_results(folder), file)


def _fill_parts(folder: RunFolder, replace_json: bool) -> None:
    """Takes into parts what a killed process had waiting, or an earlier run has written as JSON only."""
    in_parts = {image.name for part in folder.parts() for image in images_of(part)}
    writer: PartWriter | None = None
    with_json = sorted(folder.with_json())
    for result in _read_all(folder, [name for name in with_json if name not in in_parts]):
        writer = writer or PartWriter(folder, _spec_of(result), replace_json)
        writer.add(result)
    if replace_json:
        for name in with_json:
            if name in in_parts:
                folder.remove_json(name)
    if writer is not None:
        writer.close()


def _unfold_parts(folder: RunFolder) -> None:
    """Gives every image of the parts its JSON file."""
    parts = folder.parts()
    there = set(folder.with_json()) if parts else set()
    for part in parts:
        if not all(image.name in there for image in images_of(part)):
            for result in read_part(part):
                if result.name not in there:
                    folder.write(folder.prediction_path(result.name), result_json(result, _spec_of(result)))


def all_results(folder: RunFolder) -> tuple[Iterator[PoseResult], KeypointSpec]:
    """Every image's result once, sorted by name, from its JSON file or else from its part."""
    with_json = set(folder.with_json())
    parts = [part for part in folder.parts() if any(image.name not in with_json for image in images_of(part))]
    from_json = _read_all(folder, sorted(with_json))
    from_parts = [(result for result in read_part(part) if result.name not in with_json) for part in parts]
    by_name = groupby(heapq.merge(from_json, *from_parts, key=_name), key=_name)
    results = (next(same) for _, same in by_name)
    first = next(results, None)
    if first is None:
        return results, keypoint_spec(0)
    return chain([first], results), _spec_of(first)


def _read_all(folder: RunFolder, names: Iterable[str]) -> Iterator[PoseResult]:
    """Reads results from their JSON files; files that are no results, of no image of the run, are left out.

    Raises:
        ConfigError: the result of one of the run's images is damaged.
    """
    planned: Collection[str] | None = None
    for name in names:
        path, reason = folder.prediction_path(name), "it tells of another image"
        try:
            result = read_result(path.read_bytes())
            if result.name == name:
                yield result
                continue
        except _NO_RESULT as error:
            result, reason = None, f"{type(error).__name__}: {error}"
        planned = folder.read_inputs() if planned is None else planned
        if planned and name not in planned:
            log.warning("%s is no result of this run (%s); it is left out.", path, reason)
        elif result is not None:
            yield result._replace(name=name)
        else:
            raise ConfigError(
                f"{path} cannot be read ({reason}); remove it, and the same command does its image again."
            )


def _name(result: PoseResult) -> str:
    return result.name


def _spec_of(result: PoseResult) -> KeypointSpec:
    return keypoint_spec(result.keypoints.shape[1])
