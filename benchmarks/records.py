"""How fast are records written and read? On one core, through the journal and into parts, and back."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.report import Result, Row
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.models.keypoint_sets import set_of_network
from sapiens_pl.products.json_files import result_json
from sapiens_pl.records.reading import Records
from sapiens_pl.records.recorder import Recorder
from sapiens_pl.records.store import FOLDER, make_store, store_files

_PEOPLE_A_PICTURE = 2
_PICTURES_A_BATCH = 16


def run(quick: bool) -> Result:
    sizes = {17: 200, 308: 50} if quick else {17: 20_000, 308: 3_000}
    rows = [_row(num_keypoints, num_pictures, 1 if quick else 3) for num_keypoints, num_pictures in sizes.items()]
    notes = [
        f"{_PEOPLE_A_PICTURE} people a picture, batches of {_PICTURES_A_BATCH} pictures; CPU time of one process, the "
        "median of three rounds.",
        "Written: through the journal, sorted and into the two Parquet parts. Read: from the folder to results.",
        "JSON: a file a picture, as the first edition kept its records; not brought to the disk here.",
    ]
    return Result("records", "How fast are records written and read?", rows, notes)


def _row(num_keypoints: int, num_pictures: int, rounds: int) -> Row:
    results = [_result(index, num_keypoints) for index in range(num_pictures)]
    people = num_pictures * _PEOPLE_A_PICTURE
    written, read, as_json, size = [], [], [], 0
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            begin = time.process_time()
            _write(folder / FOLDER, results, num_keypoints)
            written.append(people / (time.process_time() - begin))
            size = sum(file.path.stat().st_size for file in store_files(folder / FOLDER))
            begin = time.process_time()
            assert sum(1 for _ in Records.read(folder).results()) == num_pictures
            read.append(people / (time.process_time() - begin))
            keypoint_set = set_of_network("It", num_keypoints)
            begin = time.process_time()
            for result in results[: num_pictures // 10]:
                (folder / f"{result.path}.json").write_bytes(result_json(result, keypoint_set))
            as_json.append(people / 10 / (time.process_time() - begin))
    return {
        "keypoints": num_keypoints,
        "people": people,
        "written, people/s": round(statistics.median(written)),
        "read, people/s": round(statistics.median(read)),
        "JSON written, people/s": round(statistics.median(as_json)),
        "bytes a person": round(size / people),
    }


def _write(records: Path, results: list[PoseResult], num_keypoints: int) -> None:
    recorder = Recorder(records, make_store(records, set_of_network("It", num_keypoints), {}))
    for start in range(0, len(results), _PICTURES_A_BATCH):
        recorder.append(results[start : start + _PICTURES_A_BATCH])
    recorder.close()


def _result(index: int, num_keypoints: int) -> PoseResult:
    rng = np.random.default_rng(index)
    count = _PEOPLE_A_PICTURE
    keypoints = rng.uniform(0, 4000, (count, num_keypoints, 2)).astype(np.float32)
    scores = rng.random((count, num_keypoints), np.float32)
    name = f"{index * 7919 % 100_003:06}.jpg"
    boxes = rng.uniform(0, 4000, (count, 4))
    return PoseResult(name, keypoints, scores, boxes, np.ones(count), np.arange(count), (4000, 3000), name, ())
