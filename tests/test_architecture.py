"""Who may know whom (the rooms of the package), kept true for every file."""

from __future__ import annotations

import ast
from pathlib import Path

import sapiens_pl

ROOT = Path(sapiens_pl.__file__).parent
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
    "accuracy",
    "run",
    "demo",
)
"""From the ground up: a room knows only rooms that stand before it."""
NOT_YET = {("records", "products")}
"""The writer still makes the products itself."""
MAX_LINES = 300


def imported(file: Path) -> set[str]:
    """Dotted names below `sapiens_pl` that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.removeprefix("sapiens_pl.") for name in names if name.startswith("sapiens_pl.")}


def test_rooms_know_only_rooms_below_them():
    for file in ROOT.rglob("*.py"):
        room = file.relative_to(ROOT).parts[0]
        if room not in ROOMS:
            continue
        known = {name.split(".")[0] for name in imported(file)} & set(ROOMS) - {room}
        above = {other for other in known if ROOMS.index(other) > ROOMS.index(room) and (room, other) not in NOT_YET}
        assert not above, f"{file.relative_to(ROOT)} knows {above}"


def test_every_folder_is_a_room():
    folders = {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()}
    assert folders <= set(ROOMS)


def test_nobody_imports_the_command():
    for file in ROOT.rglob("*.py"):
        assert not any(name.split(".")[0] == "predict" for name in imported(file)), file.name


def test_files_stay_short():
    long = {
        file.name: count for file in ROOT.rglob("*.py") if (count := len(file.read_text().splitlines())) > MAX_LINES
    }
    assert not long
