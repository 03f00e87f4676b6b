"""What do tars and tables cost against files? `python benchmarks/shards.py [--pictures 10000] [--tars 10] [--rounds 5]`

The same small JPEGs as files, in tars and in a Parquet table; each is listed, and all pictures are read in their order
in one process (medians; the page cache is warm). Then the peak of a process that lists and reads tars, with so many
tars and with ten times as many of the same size. Linux only.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sapiens_pl.core.devices import host_peak_gib
from sapiens_pl.pictures.sources import open_source

SIDE = 128
"""Px of each picture."""
_ROWS_A_GROUP = 1000
_BLOCK = 100
"""Pictures that are read of one kind before it is the next one's turn."""


def pictures(count: int) -> dict[str, bytes]:
    """JPEGs by their names: few different ones, as only reading is measured."""
    rng = np.random.default_rng(0)
    different = [
        cv2.imencode(".jpg", cv2.resize(rng.integers(0, 255, (16, 16, 3), np.uint8), (SIDE, SIDE)))[1].tobytes()
        for _ in range(50)
    ]
    return {f"{index:06d}.jpg": different[index % len(different)] for index in range(count)}


def write_files(folder: Path, given: dict[str, bytes]) -> None:
    folder.mkdir()
    for name, data in given.items():
        (folder / name).write_bytes(data)


def write_tars(folder: Path, given: dict[str, bytes], num_tars: int) -> None:
    folder.mkdir()
    names = list(given)
    for number in range(num_tars):
        with tarfile.open(folder / f"{number:05d}.tar", "w") as tar:
            for name in names[number * len(names) // num_tars : (number + 1) * len(names) // num_tars]:
                info = tarfile.TarInfo(name)
                info.size = len(given[name])
                tar.addfile(info, io.BytesIO(given[name]))


def write_table(folder: Path, given: dict[str, bytes]) -> None:
    folder.mkdir()
    table = pa.table({"image": list(given.values()), "key": list(given)})
    pq.write_table(table, folder / "all.parquet", row_group_size=_ROWS_A_GROUP, use_dictionary=False)


def seconds_to_list(images: Path) -> float:
    begin = time.perf_counter()
    open_source(str(images)).pictures()
    return time.perf_counter() - begin


def pictures_a_second(kinds: dict[str, Path]) -> dict[str, float]:
    """Of each kind, by this process's time on a core, a block by turns: a busy machine slows all of them alike."""
    sources = {name: open_source(str(path)) for name, path in kinds.items()}
    count = len(sources["files"].pictures().names)
    spent = dict.fromkeys(sources, 0.0)
    for start in range(0, count, _BLOCK):
        for name, source in sources.items():
            begin = time.process_time()
            for index in range(start, min(start + _BLOCK, count)):
                source.read(index)
            spent[name] += time.process_time() - begin
    return {name: count / seconds for name, seconds in spent.items()}


def peak_mib(images: Path) -> float:
    answer = subprocess.run(
        [sys.executable, __file__, "--peak", str(images)], check=True, capture_output=True, text=True
    ).stdout
    return float(answer)


def own_peak_mib(images: str) -> float:
    source = open_source(images)
    for index in range(len(source.pictures().names)):
        source.read(index)
    return 1024 * host_peak_gib()


def measure(folder: Path, num_pictures: int, num_tars: int, rounds: int) -> None:
    given = pictures(num_pictures)
    kinds = {name: folder / name for name in ("files", "tars", "table")}
    write_files(kinds["files"], given)
    write_tars(kinds["tars"], given, num_tars)
    write_table(kinds["table"], given)
    first = {name: seconds_to_list(path) for name, path in kinds.items()}
    again = {name: seconds_to_list(path) for name, path in kinds.items()}
    speeds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, speed in pictures_a_second(kinds).items():
            speeds[name].append(speed)
    of_files = statistics.median(speeds["files"])
    for name in kinds:
        speed = statistics.median(speeds[name])
        print(
            f"{name}: listed in {first[name]:.2f} s, again in {again[name]:.2f} s; {speed:.0f} pictures/s read, "
            f"{speed / of_files:.2f} of files",
            flush=True,
        )
    write_tars(folder / "more", pictures(10 * num_pictures), 10 * num_tars)
    few, many = peak_mib(kinds["tars"]), peak_mib(folder / "more")
    print(f"peak with {num_tars} tars {few:.0f} MiB, with {10 * num_tars} tars {many:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--tars", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(own_peak_mib(options.peak))
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder, "cache"))
        measure(Path(folder), options.pictures, options.tars, options.rounds)


if __name__ == "__main__":
    main()
