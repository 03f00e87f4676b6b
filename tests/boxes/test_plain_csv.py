"""The rows of a CSV file that are read many at a time: whatever stands between them, the boxes are the same."""

from __future__ import annotations

import numpy as np
import pytest
from slowness import a_third

from sapiens_pl.boxes import plain_csv
from sapiens_pl.boxes.csv_boxes import CsvBoxes
from sapiens_pl.boxes.plain_csv import PlainRows
from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.plan import Pictures

NUM_IMAGES = 40
PICTURES = Pictures("/photos", Names.of([f"sub/{index:03d} ü.jpg" for index in range(NUM_IMAGES)]), True)
HEADER = "image,x1,y1,x2,y2,score,id,class"
ODD_VALUES = (
    "",
    " ",
    "abc",
    "nan",
    "inf",
    "1e400",
    "1_0",
    "+5",
    " 7.5 ",
    "0x10",
    '"12.5"',
    '"',
    "12,5",
    "1e2",
    "-0",
    "٣",
)
ODD_ROWS = [
    "",
    "  ",
    ",,,,,,,",
    ",1,2,3,4,0.5,1,person",
    "sub/001 ü.jpg,,,,,,,",
    "sub/002 ü.jpg,1,2,3",
    "sub/003 ü.jpg,1,2,3,4",
    '"sub/004 ü.jpg",1,2,30,40,0.5,1,person',
    "sub/005 ü.jpg,10,20,5,40,0.5,1,person",
    " sub/006 ü.jpg ,1,2,30,40,0.5,1,person",
    "sub/007 ü.jpg,1,2,30,40,0.5,1,person,more",
    "sub/008 ü.jpg,1,2,30,40,,3.0,person",
    "/photos/sub/009 ü.jpg,1,2,30,40,0.5,9223372036854775808,car",
    "sub/010 ü.jpg,1,2,1,2,0.5,1,person",
    "\u3000sub/011 ü.jpg,1,2,9,9,1,,",
    "no such.jpg,1,2,3,4,0.5,,",
]


def outcome(path, **options):
    """Boxes, scores and ids by image, and the failures; or the sentence."""
    try:
        tasks, failures, _ = CsvBoxes(str(path), **options)(PICTURES)
    except ConfigError as error:
        return str(error)
    return [[each.tolist() for each in task[2:5]] for task in tasks], failures


def plain_row(rng, number):
    x, y, w, h = rng.uniform(1, 90, 4).round(3)
    score = "" if rng.random() < 0.1 else f"{rng.random():.4f}"
    return [f"sub/{rng.integers(NUM_IMAGES):03d} ü.jpg", x, y, x + w, y + h, score, number, "person"]


def file_of(rng, num_rows, odd_share):
    rows = []
    for number in range(num_rows):
        row = [str(value) for value in plain_row(rng, number)]
        if rng.random() < odd_share:
            row[rng.integers(8)] = str(rng.choice(ODD_VALUES))
        rows.append(str(rng.choice(ODD_ROWS)) if rng.random() < odd_share else ",".join(row))
    return "\n".join([HEADER, *rows]) + ("\n" if rng.random() < 0.5 else "")


@pytest.mark.parametrize("seed", a_third(range(20)))
def test_rows_read_many_at_a_time_are_those_read_one_by_one(seed, tmp_path, monkeypatch):
    rng = np.random.default_rng(seed)
    text = file_of(rng, int(rng.integers(1, 800)), (0, 0.003, 0.02, 0.2, 0.9)[seed % 5])
    text = text.replace('"', "") if seed % 2 else text  # a lone quote makes the whole file odd
    text = text.replace("\n", "\r\n") if seed % 3 == 0 else text
    path = tmp_path / "boxes.csv"
    path.write_text(text, "utf-8-sig" if seed % 7 == 0 else "utf-8")
    monkeypatch.setattr(plain_csv, "_PART_BYTES", int(rng.choice([100, 1000, 1 << 20])))
    found = outcome(path)
    monkeypatch.setattr(PlainRows, "_all_plain", lambda *given: False)
    assert found == outcome(path)


@pytest.mark.parametrize("delimiter, point", [(",", "."), (";", "."), (";", ","), ("\t", ",")])
def test_plain_rows_are_not_walked_one_by_one(delimiter, point, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    rows = [[str(value) for value in plain_row(rng, number)] for number in range(3000)]
    rows = [[row[0], *(value.replace(".", point) for value in row[1:])] for row in rows]
    rows[1234][3] = "none"
    lines = [delimiter.join([f'"{row[0]}"', *row[1:]]) for row in rows]
    (tmp_path / "boxes.csv").write_text("\n".join([HEADER.replace(",", delimiter), *lines]))
    walked = []
    walk = CsvBoxes._one_by_one
    monkeypatch.setattr(
        CsvBoxes, "_one_by_one", lambda self, *given: walked.append(len((p := walk(self, *given))[1])) or p
    )
    tasks, failures, _ = CsvBoxes(str(tmp_path / "boxes.csv"))(PICTURES)
    assert tasks.num_boxes.sum() == 2999 and 1 <= sum(walked) <= 24
    (failure,) = failures
    assert "boxes.csv, line 1236)" in failure.message and failure.message.endswith("correct it in the box file.")


def test_what_a_second_line_of_a_field_holds_is_no_row(tmp_path):
    text = 'image,x1,y1,x2,y2,note\nsub/001 ü.jpg,1,2,3,4,"two\nsub/002 ü.jpg,1,2,3,4,lines"\nsub/003 ü.jpg,1,2,3,9,\n'
    (tmp_path / "boxes.csv").write_text(text)
    (boxes, failures) = outcome(tmp_path / "boxes.csv")
    assert [index for index, of_image in enumerate(boxes) if of_image[0]] == [1, 3] and not failures
