from __future__ import annotations

import subprocess

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.run.overrides import no_text, options_last, quoted, unreadable_override

NAMES = ["été", "фото", "写真", "photos (1)", "epoch=3", "a#b", "a&b", "it's", "a,b", "~x", "[x]", "{x}", " a b", "a;b"]
NAMES += ["a$b", '"', "a!b", "`ls`", "$(ls)", "${x}", "a\\b", "x\\", "x\\\\", "\\'", "''", "null", "12", "[a,b]", "*?"]


@pytest.mark.parametrize("name", NAMES)
def test_a_quoted_name_goes_through_the_shell_and_through_hydra(name):
    command = ["bash", "-c", f"printf %s {quoted('data.images', name)}"]
    argument = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    value = OverridesParser.create().parse_override(argument).value()
    assert OmegaConf.create({"images": value}).images == name


@pytest.mark.parametrize(
    "argument, words",
    [
        ("data.images=in/été", "quote the value for Hydra too: \"data.images='in/été'\""),
        ("data.images=it's", "\"data.images='it\\'s'\""),
        ("boxes.file=a&b (2).json", "\"boxes.file='a&b (2).json'\""),
        ("photos/", "photos/ is not a setting; write KEY=VALUE"),
        ("dâta.images=x", "dâta.images is not a name of a setting"),
        ("data.batch_size=1,2", None),
        ("data.images=photos", None),
        ("--info", None),
    ],
)
def test_what_hydra_cannot_read_is_told_with_the_value_filled_in(argument, words):
    found = unreadable_override(["model=sapiens", argument])
    assert found is None if words is None else words in found


def test_of_a_setting_given_twice_the_one_that_counts_is_shown(monkeypatch):
    monkeypatch.setattr("sys.argv", ["predict", "data.images=photos", "data.images=2024", "boxes=auto"])
    assert no_text("data.images", 2024).startswith("data.images=2024 is not text but a number")


def test_a_choice_without_m_is_told():
    found = unreadable_override(["data.images=a,b"], choices=True)
    assert "needs -m" in found and "\"data.images='a,b'\"" in found
    found = unreadable_override(["output.formats=json,coco"], choices=True)
    assert found.endswith("and if it is a list, write 'output.formats=[json,coco]'")


@pytest.mark.parametrize(
    "given, taken",
    [
        ("data.images=x -m data.batch_size=1,2", "data.images=x data.batch_size=1,2 -m"),
        ("a.b=1 --cfg job c.d=2 -p data", "a.b=1 c.d=2 --cfg job -p data"),
        ("-m a.b=1 ~c --info", "a.b=1 ~c -m --info"),
        ("a.b=1 photos/", "a.b=1 photos/"),
        ("", ""),
    ],
)
def test_options_may_stand_anywhere(given, taken):
    assert options_last(given.split()) == taken.split()


@pytest.mark.parametrize(
    "given, words",
    [
        ("data.images=x --batch-size 4", "unrecognized arguments: --batch-size; settings have no dashes: KEY=VALUE"),
        ("-x", "unrecognized arguments: -x"),
        ("--cfg jobs", "invalid choice: 'jobs'"),
        ("a.b=1 --cfg", "expected one argument"),
    ],
)
def test_options_that_are_none_are_one_sentence(given, words):
    with pytest.raises(ConfigError, match=words):
        options_last(given.split())
