"""Who may know whom (the rooms of the package), kept true."""

from __future__ import annotations

import ast
from pathlib import Path

import sapiens_pl

ROOT = Path(sapiens_pl.__file__).parent
COMMON = {"structures", "geometry", "keypoints", "errors", "images", "memory", "terminal", "folders"}
MAY_KNOW = {
    "interrupts": set(),
    "opencv": {"interrupts"},
    **{room: {"errors", "structures"} for room in COMMON},
    "structures": {"errors", "keypoints"},
    "terminal": set(),
    "folders": set(),
    "batch_size": {"memory"},
    "data": COMMON | {"batch_size"},
    "configs": set(),
    "models": COMMON | {"configs", "interrupts"},
    "loading": COMMON | {"models"},
    "convert": COMMON | {"interrupts", "models"},
    "decoding": COMMON | {"weak_maps"},
    "weak_maps": set(),
    "scoring": {"errors", "structures"},
    "writers": COMMON | {"scoring", "transfer"},
    "module": COMMON | {"compiling", "models", "decoding", "transfer"},
    "compiling": {"errors"},
    "transfer": {"geometry", "structures"},
    "detection": COMMON | {"data", "models", "writers"},
    "progress": COMMON | {"writers"},
}


def imported_rooms(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("sapiens_pl.")}


def test_rooms_know_only_whom_they_may():
    for file in ROOT.rglob("*.py"):
        room = file.relative_to(ROOT).parts[0].removesuffix(".py")
        known = imported_rooms(file) - {room}
        if room in MAY_KNOW:
            assert known <= MAY_KNOW[room], f"{file.name} knows {known - MAY_KNOW[room]}"
        assert "predict" not in known, f"{file.name} imports the command"


def test_files_stay_short():
    long = {file.name: count for file in ROOT.rglob("*.py") if (count := len(file.read_text().splitlines())) > 320}
    assert not long
