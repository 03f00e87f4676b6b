"""What an installation is made of: `constraints.txt` fits `pyproject.toml`, and the image is made of what is here."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

tomllib = pytest.importorskip("tomllib")  # of Python 3.11

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
INSTRUCTIONS = {"FROM", "RUN", "ARG", "ENV", "WORKDIR", "COPY", "USER", "ENTRYPOINT"}


def pinned() -> dict[str, Version]:
    lines = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9A-Za-z.]*", line) for line in lines)  # no address, no hash
    return {canonicalize_name(name): Version(version) for name, version in (line.split("==") for line in lines)}


def test_the_constraints_have_every_dependency_in_a_version_that_is_allowed():
    versions, extras = pinned(), PROJECT["optional-dependencies"]
    wanted = [
        *PROJECT["dependencies"],
        *(each for name, of in extras.items() if name not in ("dev", "test", "benchmark", "docs") for each in of),
    ]
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), str(requirement)


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def test_the_image_is_made_of_what_is_here_and_runs_as_nobody_special():
    found = instructions()
    assert {name for name, _ in found} == INSTRUCTIONS and found[0][0] == "FROM"
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    for name, rest in found:
        if name == "COPY":
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists() and f"!{source}" in ignored, source
    assert not any(fnmatch("constraints.txt", pattern[1:]) for pattern in ignored if pattern.startswith("!*"))
    (extras,) = [rest.partition("=")[2] for name, rest in found if name == "ARG"]
    assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()
    users = [rest for name, rest in found if name == "USER"]
    assert users and users[-1] not in ("root", "0")
    ((_, entry),) = [each for each in found if each[0] == "ENTRYPOINT"]
    assert json.loads(entry) == ["python", "-m", "sapiens_pl.predict"]
    assert "--shm-size" in (ROOT / "Dockerfile").read_text("utf-8")
