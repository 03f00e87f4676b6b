"""docs/configuration.md is what conf/ says, every setting is on it with an explanation, and docs name no others."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from sapiens_pl.core.configs import config_folder
from sapiens_pl.run.overrides import options_last

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGE = (DOCS / "configuration.md").read_text("utf-8")
NAMED = re.compile(r"^\| `([a-z][\w.]*)` \|", re.MULTILINE)
NAMES = set(NAMED.findall(PAGE))
"""Every setting on the page."""
FILES = [path for group in ("boxes", "model", "smoothing", "tracking") for path in sorted(ROOT.glob(f"conf/{group}/*"))]
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


def test_every_setting_that_a_command_has_is_on_the_page():
    with initialize_config_dir(config_folder(), version_base="1.3"):
        cfg = compose("predict", ["boxes=coco", "smoothing=one_euro", "output.dir=outputs/run"])
    del cfg.products
    assert set(leaves(cfg)) <= NAMES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_setting_of_every_choice_is_on_the_page(path):
    choice = OmegaConf.load(path)
    choice.pop("defaults", None)
    assert set(leaves(choice, path.parent.name)) <= NAMES


@pytest.mark.parametrize("page", sorted(path.name for path in [ROOT / "README.md", *DOCS.glob("*.md")]))
def test_settings_that_docs_name_exist(page):
    text = (DOCS / page if page != "README.md" else ROOT / page).read_text("utf-8")
    for name in SETTING.findall(text):
        whole = any(each == name or each.startswith(f"{name}.") for each in NAMES)
        assert whole or name.endswith((".yaml", ".csv", ".txt")), f"{page} names {name}"


def commands(page):
    """Program and words of each command of ours in a page's blocks, without the dots that stand for more."""
    for block in re.findall(r"^```bash\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.search(r"(?:-m sapiens_pl\.|\bsapiens-pl )(predict|make|report|evaluate)\b(.*)", line)
            if found and "--config-dir" not in line:  # settings of one's own; another test runs these
                yield found[1], [word for word in shlex.split(found[2], comments=True) if word != "..."]


def check_override(word, is_sweep, of_output=False):
    override = OverridesParser.create().parse_override(word)
    key, value = override.key_or_group, word.partition("=")[2]
    folder = ROOT / "conf" / key
    if folder.is_dir():
        assert (folder / f"{value}.yaml").is_file(), word
    else:
        assert key in NAMES or (of_output and f"output.{key}" in NAMES), word
    assert is_sweep or not override.is_sweep_override(), word


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name)
def test_commands_that_docs_show_name_settings_and_choices_that_there_are(page):
    for program, words in commands(page):
        words = options_last([word.replace("$SLURM_ARRAY_TASK_ID", "7") for word in words])
        for word in words:
            if "=" in word and not word.startswith("-"):
                check_override(word, "-m" in words, program in ("make", "report"))
