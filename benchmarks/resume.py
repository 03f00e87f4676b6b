"""How long does a resumed run look for what is done? `python benchmarks/resume.py [--images 1000000]`

Makes a run folder with so many results, then measures what a resume does before the first batch: the look for files
that are no longer whole (the first opens all, a later one what has changed since), the listing, and the comparison of
boxes. And how much longer it would take to read every result (extrapolated from one in a hundred).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from sapiens_pl.records.wholeness import set_damaged_aside

from sapiens_pl.core.columns import Names, whole_pictures
from sapiens_pl.data.digests import digests
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.run.resume import finished_names


def make_folder(folder: RunFolder, names: list[str]) -> np.ndarray:
    for name in names:
        path = folder.prediction_path(name)
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
        path.write_bytes(b"{}\n")
    folder.open()
    boxes = whole_pictures(len(names))
    boxes.bboxes_xyxy[:] = np.arange(4 * len(names)).reshape(-1, 4)
    of_boxes = digests(boxes)
    folder.write_inputs((name, f"{digest:016x}") for name, digest in zip(names, of_boxes.tolist()))
    return of_boxes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    args = parser.parse_args()
    names = [f"{index // 1000:04d}/photograph_{index:07d}.jpg" for index in range(args.images)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = RunFolder(temporary)
        of_boxes = make_folder(folder, names)
        looks = []
        for _ in range(2):
            start = time.perf_counter()
            set_damaged_aside(folder)
            looks.append(time.perf_counter() - start)
            time.sleep(3)  # what has changed in the last two seconds is opened again
        start = time.perf_counter()
        assert len(folder.done()) == args.images
        listing = time.perf_counter() - start
        start = time.perf_counter()
        done, failed = finished_names(folder, Names.of(names), of_boxes)
        whole = time.perf_counter() - start
        assert done.all() and not failed.any()
        start = time.perf_counter()
        for name in names[::100]:
            Path(folder.prediction_path(name)).read_bytes()
        opening = (time.perf_counter() - start) * 100
    print(
        f"{args.images} results: listed in {listing:.2f} s; with the comparison of every image's boxes {whole:.2f} s;"
    )
    print(
        f"the look for what is no longer whole takes {looks[0]:.2f} s once, {looks[1]:.2f} s where nothing has changed;"
    )
    print(f"reading each would take {opening:.1f} s ({opening / listing:.1f} times the listing), without parsing it.")


if __name__ == "__main__":
    main()
