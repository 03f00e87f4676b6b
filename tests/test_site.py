"""The site shows every page, shows it as a code host does, and builds without a warning."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
FRONT = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]


def named(nav):
    for entry in nav:
        for value in entry.values():
            yield from named(value) if isinstance(value, list) else [value]


def test_the_navigation_has_every_page_once():
    nav = list(named(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]))
    made = {"index.md", "changelog.md", "contributing.md", "notebook.md"}
    assert sorted(nav) == sorted({path.name for path in PAGES} | made)


@pytest.mark.parametrize("path", [*PAGES, *FRONT], ids=lambda path: path.name)
def test_lists_begin_after_a_blank_line(path):
    """A code host shows others as lists too; the site would show them as lines of a paragraph."""
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    lines = text.splitlines()
    begun = re.compile(r"\s*([-*]|\d+\.) ")
    for before, line in pairwise(lines):
        if re.match(r"([-*]|\d+\.) ", line):
            assert not before or begun.match(before) or before.startswith("  "), f"{path.name}: {line}"


@pytest.mark.parametrize("path", [*PAGES, *FRONT], ids=lambda path: path.name)
def test_links_to_other_sites_are_addresses(path):
    for address in re.findall(r"\]\((\w+:[^)\s]*)\)", path.read_text("utf-8")):
        parts = urlsplit(address)
        assert parts.scheme in ("https", "mailto") and (parts.scheme == "mailto" or "." in parts.netloc), address


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("mkdocstrings"), reason="needs pip install -e '.[docs]'")
def test_the_site_builds_without_a_warning(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert "from_checkpoint" in (tmp_path / "site" / "api" / "index.html").read_text("utf-8")
