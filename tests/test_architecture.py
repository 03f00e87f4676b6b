"""Who may know whom (the rooms of the package), kept true for every file."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import sapiens_pl
from sapiens_pl.core import plan, structures

ROOT = Path(sapiens_pl.__file__).parent
DOCS = Path(__file__).parents[1] / "docs"
ROOMS = (
    "core",
    "pictures",
    "models",
    "inference",
    "boxes",
    "data",
    "records",
    "products",
    "detection",
    "tracking",
    "accuracy",
    "run",
    "opened_run",
    "estimator",
    "ray_actor",
    "demo",
)
"""From the ground up: a room knows only rooms that stand before it."""
COMMANDS = {"predict", "make", "report", "evaluate", "collect", "convert", "doctor", "cli"}
"""They may know every room, and nobody knows them."""
FACE = "__init__"
MAX_LINES = 300
IMPORT = re.compile(r"^ *((?:from (?:sapiens_pl|\.)|import sapiens_pl)(?:[^(\n]*|[^(\n]*\([^)]*\)))$", re.MULTILINE)
"""A statement that imports from the package; to parse all of each file would take seconds."""


@cache
def imported(file: Path) -> set[str]:
    """The rooms and commands that a file imports from, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse("\n".join(IMPORT.findall(file.read_text("utf-8"))))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file.name} imports from where it stands; write the whole name"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("sapiens_pl.")} - {"__version__"}


def room_of(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def test_every_file_has_its_place():
    assert {room_of(file) for file in ROOT.rglob("*.py")} == {*ROOMS, *COMMANDS, FACE}


def test_rooms_know_only_rooms_below_them():
    for file in ROOT.rglob("*.py"):
        room, where = room_of(file), file.relative_to(ROOT)
        known = imported(file) - {room}
        assert known <= set(ROOMS), f"{where} knows {known - set(ROOMS)}"
        if room in ROOMS:
            above = {other for other in known if ROOMS.index(other) > ROOMS.index(room)}
            assert not above, f"{where} knows {above}"


def test_every_room_says_what_it_is():
    for folder in {ROOT / room for room in ROOMS if (ROOT / room).is_dir()}:
        sentence = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""
        assert sentence.endswith(".") and "\n" not in sentence, folder.name


def test_the_page_lists_the_rooms_and_the_commands_as_they_are():
    page = (DOCS / "architecture.md").read_text("utf-8")
    assert tuple(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == ROOMS
    assert set(re.findall(r"`(\w+)\.py`", page)) == COMMANDS


def test_the_drawing_names_every_room_and_command_and_tuples_that_pass():
    said = " ".join(re.findall(r"<text[^>]*>([^<]*)", (DOCS / "rooms.svg").read_text("utf-8")))
    words = set(re.findall(r"\w+", said.replace("Pose- Prediction", "PosePrediction")))
    assert words >= {*ROOMS, *COMMANDS}
    passing = {word for word in words if re.fullmatch(r"([A-Z][a-z]+){2,}|Tasks|Pictures", word)} - {"OpenPose"}
    assert len(passing) >= 6 and passing <= {*vars(structures), *vars(plan)}


def test_what_the_page_says_of_single_rooms():
    known = {
        room: set().union(*(imported(file) for file in ROOT.rglob("*.py") if room_of(file) == room)) for room in ROOMS
    }
    assert not known["core"] - {"core"} and all("core" in known[room] for room in ROOMS[1:])
    assert "tracking" not in known["products"] and "demo" not in known["run"]
    assert not known["data"] & {"inference", "run"} and known["tracking"] <= {"core", "tracking"}


def test_no_file_hides_a_module_of_the_standard_library():
    standard = {"csv", "json", "html", "io", "types", "copy", "queue", "signal", "tarfile", "logging"}
    assert not {file.stem for file in ROOT.rglob("*.py")} & standard


def test_files_stay_short():
    counts = {file.name: len(file.read_text().splitlines()) for file in ROOT.rglob("*.py")}
    assert not {name: count for name, count in counts.items() if count > MAX_LINES}


def test_no_two_test_files_have_one_name():
    """pytest imports them by their bare names."""
    names = [file.name for file in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)
