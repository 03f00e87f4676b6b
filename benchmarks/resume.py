"""How long does a resumed run look for what is done? `python benchmarks/resume.py [--images 1000000]`

Makes a run folder with records of so many pictures, then measures what a resume does before the first batch: the look
for parts that are no longer whole (a first one reads all, a later one what has changed since), the reading of names and
digests, and the comparison with those of the plan.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import numpy as np

from sapiens_pl.core.columns import Names
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.models.keypoint_sets import set_of_network
from sapiens_pl.records.recorder import Recorder
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.records.store import make_store
from sapiens_pl.run.redo import Redo
from sapiens_pl.run.resume import finished_pictures, settle_records

_A_FRAME = 500


def record(folder: RunFolder, names: list[str], digests: np.ndarray) -> None:
    """One person with 17 keypoints each."""
    recorder = Recorder(folder.records, make_store(folder.records, set_of_network("It", 17), {}))
    keypoints, scores = np.zeros((1, 17, 2), np.float32), np.ones((1, 17), np.float32)
    box, one, first = np.array([[10.0, 20.0, 30.0, 40.0]]), np.ones(1), np.zeros(1, np.int64)
    for start in range(0, len(names), _A_FRAME):
        frame = names[start : start + _A_FRAME]
        results = [PoseResult(f"/p/{n}", keypoints, scores, box, one, first, (640, 480), n, ()) for n in frame]
        recorder.append(results, digests[start : start + _A_FRAME])
    recorder.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    args = parser.parse_args()
    names = [f"{index // 1000:04d}/photograph_{index:07d}.jpg" for index in range(args.images)]
    digests = np.random.default_rng(0).integers(0, 2**63, args.images).astype(np.uint64)
    with tempfile.TemporaryDirectory() as temporary:
        folder = RunFolder(temporary)
        folder.open()
        record(folder, names, digests)
        looks = []
        for _ in range(2):
            time.sleep(3)  # what has changed in the last two seconds is read again
            start = time.process_time()
            settle_records(folder)
            looks.append(time.process_time() - start)
        planned = Names.of(names)
        start = time.process_time()
        assert len(folder.read_records()) == args.images
        listing = time.process_time() - start
        start = time.process_time()
        done, failed, *_ = finished_pictures(folder, planned, digests, Redo())
        compared = time.process_time() - start
        assert done.all() and not failed.any()
    print(
        f"{args.images} done pictures, CPU time: names and digests read in {listing:.2f} s; read and compared with the "
        f"plan's in {compared:.2f} s;\nthe look for parts that are no longer whole takes {looks[0]:.2f} s once, "
        f"{looks[1]:.2f} s where nothing has changed."
    )


if __name__ == "__main__":
    main()
