"""docs/configuration.md is what conf/ says, every setting is on it with an explanation, and docs name no others."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from sapiens_pl.core.configs import config_folder

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGE = (DOCS / "configuration.md").read_text("utf-8")
NAMED = re.compile(r"^\| `([a-z][\w.]*)` \|", re.MULTILINE)
CHOICES = [f"boxes={path.stem}" for path in sorted((ROOT / "conf" / "boxes").glob("[!_]*.yaml"))]
CHOICES += ["model=demo", "model=sapiens2_1b", "smoothing=one_euro", "smoothing=savitzky_golay", "tracking=none"]
SETTING = re.compile(r"`(?:\+)?((?:data|boxes|model|trainer|output|tracking|smoothing)\.[a-z_.]+[a-z])(?:=[^`]*)?`")


@pytest.fixture(scope="module")
def writer():
    spec = importlib.util.spec_from_file_location("write_configuration", DOCS / "write_configuration.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_setting_is_without_an_explanation(writer):
    assert writer.unexplained() == []


def test_the_page_is_what_conf_says(writer):
    assert writer.page() == PAGE, "run `python docs/write_configuration.py`"


def leaves(node, within=""):
    for key in node:
        name = f"{within}.{key}".lstrip(".")
        if OmegaConf.is_interpolation(node, key) and ":" not in str(OmegaConf.to_container(node)[key]):
            continue  # another setting, handed on
        if not OmegaConf.is_missing(node, key) and isinstance(node[key], DictConfig):
            yield from leaves(node[key], name)
        elif not str(key).startswith("_"):
            yield name


@pytest.mark.parametrize("choice", CHOICES)
def test_every_setting_that_a_command_could_have_is_on_the_page(choice):
    named = set(NAMED.findall(PAGE))
    with initialize_config_dir(config_folder(), version_base="1.3"):
        cfg = compose("predict", [choice])
    del cfg.products
    OmegaConf.update(cfg, "output.dir", "outputs/run")
    assert set(leaves(cfg)) <= named


@pytest.mark.parametrize("page", sorted(path.name for path in [ROOT / "README.md", *DOCS.glob("*.md")]))
def test_settings_that_docs_name_exist(page):
    named = set(NAMED.findall(PAGE))
    text = (DOCS / page if page != "README.md" else ROOT / page).read_text("utf-8")
    for name in SETTING.findall(text):
        whole = any(each == name or each.startswith(f"{name}.") for each in named)
        assert whole or name.endswith((".yaml", ".csv", ".txt")), f"{page} names {name}"
