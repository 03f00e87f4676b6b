"""Are poses the same from files, tars and tables? `python -m benchmarks.three_sources [--pictures 100000] [--tars 100]`

The same small pictures, with no, one or two people each, as plain files (boxes in one JSON Lines file), in tars (boxes
in each sample's `.json`) and in Parquet tables (boxes in a column); the real command over each, with a network of next
to no cost. The people's rows must be equal in all columns but those that name the source. Linux only.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.shard_memory import Watch, described, save_tiny_network, watch

_SIDE = 64
"""Px of each picture."""
_OF_SOURCE = ("name", "__key__")


def pictures(count: int) -> list[tuple[str, bytes, list[list[float]], list[float]]]:
    """Key, JPEG, boxes and scores of each."""
    rng = np.random.default_rng(0)
    noise = (rng.integers(0, 255, (12, 12, 3), np.uint8) for _ in range(500))
    different = [cv2.imencode(".jpg", cv2.resize(small, (_SIDE, _SIDE)))[1].tobytes() for small in noise]
    given = []
    for index in range(count):
        corners = rng.integers(0, _SIDE // 2, (index % 3, 2))
        boxes = np.hstack([corners, corners + rng.integers(8, _SIDE // 2, (index % 3, 2))]).astype(float).tolist()
        given.append((f"{index:08d}", different[index % 500], boxes, rng.random(index % 3).round(4).tolist()))
    return given


def write(folder: Path, count: int, num_tars: int) -> None:
    given, notes = pictures(count), []
    for kind in ("files", "tars", "tables"):
        (folder / kind).mkdir()
    for number in range(num_tars):
        some = given[number * count // num_tars : (number + 1) * count // num_tars]
        (folder / "files" / f"{number:05d}").mkdir()
        with tarfile.open(folder / "tars" / f"{number:05d}.tar", "w") as tar:
            for key, jpeg, boxes, scores in some:
                note = {"bboxes": boxes, "scores": scores}
                (folder / "files" / f"{number:05d}" / f"{key}.jpg").write_bytes(jpeg)
                notes.append(json.dumps({"image": f"{number:05d}/{key}.jpg", **note}))
                for suffix, data in {"jpg": jpeg, "json": json.dumps(note).encode()}.items():
                    info = tarfile.TarInfo(f"{key}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        columns = dict(zip(("id", "image", "bboxes", "scores"), map(list, zip(*some))))
        pq.write_table(pa.table(columns), folder / "tables" / f"{number:05d}.parquet", row_group_size=500)
    (folder / "people.jsonl").write_text("\n".join(notes))


def people(run: Path) -> pa.Table:
    """Sorted by the picture's key and the person; the key in place of the columns of the source."""
    table = pa.concat_tables([pq.read_table(part) for part in sorted((run / "records").rglob("people-*.parquet"))])
    keys = pa.array([Path(name.decode()).stem for name in table["name"].to_pylist()])
    table = table.drop_columns([name for name in _OF_SOURCE if name in table.column_names])
    return table.append_column("key", keys).sort_by([("key", "ascending"), ("instance_id", "ascending")])


def same(one: pa.Table, other: pa.Table) -> str:
    if one.column_names != other.column_names or one.num_rows != other.num_rows:
        return f"OTHERS: {one.num_rows} and {other.num_rows} rows of {one.column_names} and {other.column_names}"
    wrong = [name for name in one.column_names if not one[name].equals(other[name])]
    return f"OTHER VALUES in {wrong}" if wrong else f"{one.num_rows} rows equal in {', '.join(one.column_names)}"


def measure(folder: Path, options: argparse.Namespace) -> None:
    write(folder, options.pictures, options.tars)
    save_tiny_network(folder / "n.safetensors")
    of_kinds: dict[str, tuple[Any, ...]] = {
        "files": ("boxes=json", f"boxes.file={folder / 'people.jsonl'}"),
        "tars": ("boxes=sample",),
        "tables": ("boxes=sample", "data.columns.key=id"),
    }
    tables = {}
    for kind, boxes in of_kinds.items():
        run = folder / f"run_{kind}"
        command = [sys.executable, "-m", "sapiens_pl.predict", f"data.images={folder / kind}", *boxes]
        command += [f"model.checkpoint={folder / 'n.safetensors'}", "model.num_heads=2", "data.batch_size=64"]
        command += ["data.num_workers=1", "trainer.accelerator=cpu", "output.formats=[]", f"hydra.run.dir={run}"]
        found = watch(command, run, Watch())
        counts = json.loads((run / "run.json").read_text())["folder"]
        tables[kind] = people(run)
        in_records = sum(1 for path in (run / "records").rglob("*") if path.is_file())
        print(f"{kind}: {counts['done']} done, {described(found)}; {found.seconds:.0f} s")
        print(f"  {found.num_files} files, {in_records} in records/; {same(tables['files'], tables[kind])}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--tars", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder, "cache"))
        measure(Path(folder), options)


if __name__ == "__main__":
    main()
