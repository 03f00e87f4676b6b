"""The tables of docs/outputs.md and docs/report.md have the columns, and their types, that the files really have."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa

from sapiens_pl.accuracy.corrections import Correction
from sapiens_pl.core.keypoints import numbered_set
from sapiens_pl.core.structures import Failure, PoseResult, ShardMember, SmoothedPoses, VideoFrame
from sapiens_pl.products import csv_table, worst
from sapiens_pl.products.frame_columns import OfVideos
from sapiens_pl.products.parquet_table import pose_table
from sapiens_pl.records.schema import PICTURES, people_schema
from sapiens_pl.run.account import Account, Counts, FolderCounts, Progress, Terms, Work
from sapiens_pl.run.sweep_report import SweepRow

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "outputs.md").read_text("utf-8")
K = 5


def rows(text: str, number: int = 0) -> list[tuple[list[str], list[str]]]:
    """Of each row of a table: the names in its first cell, and the other cells."""
    table = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)[number]
    cells = [line.strip("|\n").split(" | ") for line in table.splitlines()[2:]]
    return [(re.findall(r"`(\w+)`", first), [cell.strip(" |") for cell in rest]) for first, *rest in cells]


def names(text: str, number: int = 0) -> list[str]:
    return [name for each, _ in rows(text, number) for name in each]


def section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def typed(text: str, number: int = 0) -> dict[str, str]:
    return {name: rest[0] for each, rest in rows(text, number) for name in each}


def said(schema: pa.Schema) -> dict[str, str]:
    def word(kind: pa.DataType) -> str:
        if pa.types.is_fixed_size_list(kind):
            return f"list of {kind.list_size} {kind.value_type}".replace(f"of {K} ", "of K ")
        if pa.types.is_struct(kind):
            return "struct"
        return f"list of {word(kind.value_type)}" if pa.types.is_list(kind) else str(kind)

    return {field.name: word(field.type) for field in schema}


def test_parts_of_the_records():
    assert typed(section("records/")) == said(PICTURES)
    assert typed(section("records/"), 1) == said(people_schema(K))


def test_parquet():
    none, keypoints = np.empty(0), np.empty((0, K, 2), np.float32)
    smoothed = SmoothedPoses(keypoints, keypoints[..., 0], np.empty((0, 4)), np.empty(0, np.int64))
    result = PoseResult(
        path="", keypoints=keypoints, keypoint_scores=keypoints[..., 0], bboxes=np.empty((0, 4)), bbox_scores=none,
        instance_ids=np.empty(0, np.int64), image_wh=(9, 9), name="a", failures=(), smoothed=smoothed,
        frame=VideoFrame("a.mp4", 0, 0, 0.0), track_ids=np.empty(0, np.int64), member=ShardMember("0.tar", "a"),
    )  # fmt: skip
    schema = pose_table([result], numbered_set(K), OfVideos(True, True)).schema
    raw = said(pose_table([result], numbered_set(K), OfVideos(True, False)).schema)
    told = typed(section("parquet"))
    assert told.keys() == said(schema).keys() and {name: told[name] for name in raw} == raw
    # The page says so below the table: smoothed poses make lists null, which then have no fixed length.
    for name, kind in said(schema).items():
        assert kind in (told[name], told[name].replace("of 4 ", "of ").replace("of K ", "of ")), name
    assert {key.decode() for key in schema.metadata} == {"dataset_name", "keypoint_names", "images"}


def test_tables_of_text():
    columns = (*csv_table.COLUMNS, *csv_table.FRAME_COLUMNS, *csv_table.SMOOTHED_COLUMNS, "shard", "__key__")
    assert sorted(names(section("csv"))) == sorted(columns)
    report = (DOCS / "report.md").read_text("utf-8")
    assert sorted(names(report)) == sorted(worst.COLUMNS)
    assert names(section("evaluation.json and corrections.csv")) == list(Correction._fields)
    assert names(section("Of a sweep")) == list(SweepRow._fields)
    assert names(section("failures.jsonl")) == list(Failure._fields)


def test_run_json():
    said = section("run.json")
    top = [name for name in Account._fields if name not in ("terms", "work")]
    assert sorted(names(said)) == sorted([*top, *Work._fields, *Terms._fields])
    for field in (*Counts._fields, *FolderCounts._fields, *Progress._fields):
        assert f"`{field}`" in said, field
