"""`docs/troubleshooting.md` has every sentence of the code's errors and warnings, and no other."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from sentences import sentences

import sapiens_pl
from sapiens_pl.core import errors

PACKAGE = Path(sapiens_pl.__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "troubleshooting.md"
ENTRY = re.compile(r"^- (`+)(.+?)\1(?= |$)", re.MULTILINE)


@pytest.fixture(scope="module")
def told() -> dict[str, str]:
    return sentences(PACKAGE)


def test_the_page_has_every_sentence(told: dict[str, str]):
    page = {entry.group(2) for entry in ENTRY.finditer(PAGE.read_text("utf-8"))}
    missing = [f"- `{sentence}`   ({place})" for sentence, place in told.items() if sentence not in page]
    assert not missing, f"add these lines to {PAGE.name}, each with its cause and cure:\n" + "\n".join(missing)


def test_the_page_has_no_sentence_that_no_code_tells(told: dict[str, str]):
    page = [entry.group(2) for entry in ENTRY.finditer(PAGE.read_text("utf-8"))]
    assert not [sentence for sentence in page if sentence not in told], f"remove these lines from {PAGE.name}"
    assert not {sentence for sentence in page if page.count(sentence) > 1}, f"{PAGE.name} has these twice"


def test_the_page_explains_every_kind_of_failure():
    kinds = {name for name, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__}
    assert set(re.findall(r"^\| `(\w+Error)` \|", PAGE.read_text("utf-8"), re.MULTILINE)) == kinds


def test_sentences_are_found_wherever_they_are_made(tmp_path: Path):
    (tmp_path / "some.py").write_text(SOME_CODE, "utf-8")
    assert set(sentences(tmp_path)) == {
        "… is not a box file; give another",
        "it ends after … of … lines",
        "The first line of … is empty.",
        "a warning that … is slow",
        "is hidden, so it is not read; rename it",
        "the last of two reasons",
    }


SOME_CODE = '''
"""A docstring that nobody is told; it has a remedy."""
REASONS = {"a": "is hidden, so it is not read; rename it", "b": "short; one"}

class OwnError(Exception):
    pass

def why(seen, total):
    return f"it ends after {seen} of {total} lines"

def read(path, name):
    log.info("%s is being read now; it takes time", path)
    if not path:
        raise OwnError(f"{path} is not a box file; " + "give another")
    empty = f"The first line of {path} is empty."
    complain(empty if name else "the last of two reasons", 2)
    log.warning("a warning that %s is slow", path)
    assert name, "a sentence for us alone, not for people"
    raise ValueError(why(1, 2))
'''
