"""The examples of `docs/extending.md`: written to a folder as a user would, and run by the commands of the page."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import sapiens_pl
from sapiens_pl import demo
from sapiens_pl.models.keypoint_sets import named_set

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text("utf-8")
FILES = dict(re.findall(r'^```\w+ title="(.+?)"\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL))
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]
RED, BLUE = (100, 200), (500, 300)
"""Middles of the squares in `photos/spots.png`, xy."""
PIXEL = 800 / 48
"""One px of the heatmaps there: the crop is 1.25 times as wide as the picture."""


@pytest.fixture
def page(tmp_path, predict, forked):
    """Runs those commands of the page that have a word in them, in a folder with its files; gives their outputs."""
    folder = tmp_path / "elsewhere"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    shutil.copytree(demo.IMAGES, folder / "photos")
    spots = np.full((480, 640, 3), 127, np.uint8)
    for (x, y), colour in ((RED, (0, 0, 255)), (BLUE, (255, 0, 0))):
        spots[y - 20 : y + 20, x - 20 : x + 20] = colour
    cv2.imwrite(str(folder / "photos" / "spots.png"), spots)

    def page(word: str) -> Path:
        chosen = [words for words in COMMANDS if any(word in each for each in words)]
        for words in chosen:
            if words[1:3] == ["-m", "sapiens_pl.predict"]:
                # `python -m` puts the folder where it runs on the path, which a fork has to do by itself.
                run = predict(*words[3:], inject="import sys; sys.path.insert(0, '')")
                assert run.code == 0, run.err
            else:
                shell(forked, folder, *words[1:])
        (output,) = {text.partition("=")[2] for words in chosen for text in words if text.startswith("output.dir=")}
        return folder / output

    return page


def shell(forked, folder: Path, *words: str) -> str:
    """`python WORDS` as somebody who has installed the package would type it."""
    if words[0] == "-m" and words[1].startswith("sapiens_pl."):
        inject = "import sys; sys.path.insert(0, '')"  # as `python -m` does
        run = forked(words[1].removeprefix("sapiens_pl."), *words[2:], working=folder, inject=inject)
        assert run.code == 0, run.out + run.err
        return run.out
    path = os.environ | {"PYTHONPATH": str(Path(sapiens_pl.__file__).parents[1])}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def hands(output: Path) -> dict[tuple[str, int], list[str]]:
    with open(output / "raised_hands.csv", newline="") as file:
        return {(row["image"], int(row["instance_id"])): [row["left"], row["right"]] for row in csv.DictReader(file)}


def drawn_hands() -> dict[tuple[str, int], list[str]]:
    """What the demo's figures do."""
    names = named_set("coco_17").names
    truth = {}
    for picture in json.loads(demo.PEOPLE.read_text()):
        for person, points in enumerate(picture["keypoints"]):
            y = {name: point[1] for name, point in zip(names, points)}
            raised = [y[f"{side}_wrist"] < y[f"{side}_shoulder"] for side in ("left", "right")]
            truth[picture["image"], person] = ["raised" if each else "down" for each in raised]
    return truth


def surely_seen(output: Path, least: float) -> dict[tuple[str, int], list[bool]]:
    """Whether a hand's wrist and shoulder have that score, in what the format json says."""
    names, seen = named_set("coco_17").names, {}
    for file in (output / "predictions").rglob("*.json"):
        content = json.loads(file.read_text())
        for person in content["instance_info"]:
            scores = dict(zip(names, person["keypoint_scores"]))
            hands = [min(scores[f"{side}_wrist"], scores[f"{side}_shoulder"]) >= least for side in ("left", "right")]
            seen[content["image"]["path"], person["instance_id"]] = hands
    return seen


def test_a_format_is_made_during_the_run_and_again_with_other_settings(page):
    output = page("hands")
    found, drawn, seen = hands(output), drawn_hands(), surely_seen(output, 0.8)
    assert {key: [hand != "unseen" for hand in both] for key, both in found.items()} == seen
    told = [(hand, true) for key in drawn for hand, true in zip(found[key], drawn[key]) if hand != "unseen"]
    assert len(told) >= 5 and all(hand == true for hand, true in told)
    command = json.loads((output / "run.json").read_text())["command"]
    assert f"--config-dir={output.parents[1] / 'my_conf'}" in command and "+products" not in command


def test_a_source_reads_pictures_during_the_run_and_for_overlays_later(page, forked):
    output = page("zip")
    names = [path.relative_to(output / "predictions").as_posix() for path in (output / "predictions").rglob("*.json")]
    pictures = [path for path in demo.IMAGES.rglob("*") if path.is_file()]
    expected = [f"photos/{path.relative_to(demo.IMAGES).as_posix()}.json" for path in pictures]
    assert sorted(names) == sorted([*expected, "photos/spots.png.json"])
    drawn = cv2.imread(str(output / "overlays" / "photos" / "one.jpg.jpg"))
    assert drawn.shape == cv2.imread(str(demo.IMAGES / "one.jpg")).shape
    shutil.rmtree(output / "overlays")
    assert "7 made" in shell(forked, output.parents[1], "-m", "sapiens_pl.make", str(output), "formats=[overlay]")


def test_a_network_runs_by_the_command_and_in_python(page, monkeypatch, capsys):
    output = page("spots")
    result = json.loads((output / "predictions" / "spots.png.json").read_text())
    assert result["meta_info"]["keypoint_names"] == ["red", "blue"]
    np.testing.assert_allclose(result["instance_info"][0]["keypoints"], [RED, BLUE], atol=PIXEL)
    drawn = cv2.imread(str(output / "overlays" / "spots.png.jpg"))
    assert np.abs(drawn.astype(int) - cv2.imread(str(output.parents[1] / "photos" / "spots.png"))).max() > 100
    monkeypatch.chdir(output.parents[1])
    monkeypatch.syspath_prepend(output.parents[1])
    exec(compile(FILES["in Python"], "docs/extending.md", "exec"), {})
    numbers = np.array(re.findall(r"\d+\.\d*", capsys.readouterr().out), float)
    np.testing.assert_allclose(numbers[:4].reshape(2, 2), [RED, BLUE], atol=PIXEL)
